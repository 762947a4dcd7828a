//! Tells the service manager that has started the process, such as systemd, how the service is: lines of `NAME=value` in a
//! datagram to its socket.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::Environment;
use crate::engine::command::{Cause, Report};
use crate::engine::{Command, Inbox};
use crate::values::{iso, plural};

/// How often it is told how the service is, where it does not ask for more; and how often at the most.
const BETWEEN_REPORTS: Duration = Duration::from_secs(30);
const LEAST_BETWEEN: Duration = Duration::from_millis(250);

/// Where it listens, if there is one.
static SOCKET: OnceLock<SocketAddr> = OnceLock::new();

/// Looks whether there is one.
pub(crate) fn look_for(environment: &Environment) -> bool {
    let Some(name) = environment.get("NOTIFY_SOCKET") else {
        return false;
    };
    // One that is in no folder begins with an `@`.
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    address.is_ok_and(|address| SOCKET.set(address).is_ok())
}

/// The service answers.
pub(crate) fn tell_ready() {
    tell("READY=1");
}

/// The service is about to end.
pub(crate) fn tell_stopping() {
    tell("STOPPING=1");
}

fn tell(lines: &str) {
    let Some(address) = SOCKET.get() else { return };
    // One that does not listen is no reason to wait, or to fail.
    let told = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to_addr(lines.as_bytes(), address)
    });
    if let Err(error) = told {
        tracing::debug!("the service manager was not told: {error}");
    }
}

/// Reads the configuration again, as the service manager asked by a signal, and tells it when that is over.
pub(crate) async fn reload(engine: Inbox) {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec / 1000);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    let (reply, answer) = oneshot::channel();
    let command = Command::Reload {
        cause: Cause::Signal,
        reply: Some(reply),
    };
    if engine.send(command).await.is_ok() {
        let _ = answer.await;
    }
    tell_ready();
}

/// Tells how the service is, again and again, and that it is alive: only an engine that answers is.
pub(crate) async fn keep_telling(engine: Inbox, watchdog: Option<Duration>) {
    let between = watchdog.map_or(BETWEEN_REPORTS, |longest| longest / 2);
    let between = between.clamp(LEAST_BETWEEN, BETWEEN_REPORTS);
    while !engine.is_closed() {
        if let Some(report) = ask(&engine, between).await {
            tell(&format!("STATUS={}\nWATCHDOG=1", in_words(&report)));
        }
        tokio::time::sleep(between).await;
    }
}

/// How long the service may be silent before its manager takes it for dead.
pub(crate) fn watchdog(environment: &Environment) -> Option<Duration> {
    let micros: u64 = environment.get("WATCHDOG_USEC")?.parse().ok()?;
    // It may be meant for another process.
    let pid = environment.get("WATCHDOG_PID");
    let is_ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
    (is_ours && micros > 0).then(|| Duration::from_micros(micros))
}

async fn ask(engine: &Inbox, patience: Duration) -> Option<Report> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        engine.send(Command::Report { reply }).await.ok()?;
        answer.await.ok()
    };
    timeout(patience, asked).await.ok().flatten()
}

fn in_words(report: &Report) -> String {
    let jobs = plural(report.jobs.len() as u64, "job");
    let running = report.jobs.iter().filter(|job| job.running).count();
    let failing = report.jobs.iter().filter(|job| job.last.error.is_some()).count();
    let next = report
        .jobs
        .iter()
        .filter_map(|job| Some((job.next_run?, &job.id)))
        .min();
    let next = next.map_or_else(
        || "none is due".to_owned(),
        |(at, job)| format!("next: {job} at {}", iso(at)),
    );
    format!("{jobs}, {running} running, {failing} failing; {next}")
}
