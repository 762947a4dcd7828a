//! Tells the service manager that has started the process, such as systemd, how the service is.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::engine::command::{Cause, Report};
use crate::engine::{Command, Inbox};
use crate::values::{iso, plural};

/// How often it is told how the service is, where it does not ask for more.
const BETWEEN_REPORTS: Duration = Duration::from_secs(30);

/// The service answers.
pub(crate) fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// The service is about to end.
pub(crate) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(what: &[NotifyState<'_>]) {
    // Where there is none, nothing is told; one that does not listen is no reason to fail.
    let _ = sd_notify::notify(what);
}

/// Reads the configuration again, as the service manager asked by a signal, and tells it when that is over.
pub(crate) async fn reload(engine: Inbox) {
    let mut begun = vec![NotifyState::Reloading];
    begun.extend(NotifyState::monotonic_usec_now().ok());
    tell(&begun);
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
pub(crate) async fn keep_telling(engine: Inbox) {
    let watchdog = sd_notify::watchdog_enabled().map(|longest| longest / 2);
    let between = watchdog.map_or(BETWEEN_REPORTS, |half| half.min(BETWEEN_REPORTS));
    while !engine.is_closed() {
        if let Some(report) = ask(&engine, between).await {
            tell(&[NotifyState::Status(&in_words(&report)), NotifyState::Watchdog]);
        }
        tokio::time::sleep(between).await;
    }
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
