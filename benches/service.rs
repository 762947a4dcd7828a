//! The service as a whole: `cargo bench --bench service`.
//!
//! Prints the time from start to the first answer of /health, idle memory, size of the binary, and requests to
//! /health in a second; beside them, where Node.js is there, the same of a bare Express and node-cron service, the
//! least that one would write instead (`npm install` in benches/node first).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that fails should say so and stop"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const OURS: &str = env!("CARGO_BIN_EXE_duplistatus-cron");
const STARTS: usize = 21;
const LOAD: Duration = Duration::from_secs(3);
const CLIENTS: usize = 4;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service to measure: how it is started on a port.
struct Candidate<'a> {
    name: &'a str,
    start: &'a dyn Fn(u16) -> Command,
}

fn main() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("data")).unwrap();
    let database = rusqlite::Connection::open(place.path().join("data/backups.db")).unwrap();
    database
        .execute_batch(include_str!("../tests/fixtures/application.sql"))
        .unwrap();
    database.pragma_update(None, "journal_mode", "wal").unwrap();
    println!("binary: {:.2} MB", megabytes(std::fs::metadata(OURS).unwrap().len()));
    let ours = |port: u16| {
        let mut command = Command::new(OURS);
        command.args(["--port", &port.to_string()]).current_dir(place.path());
        command
    };
    measure(&Candidate {
        name: "duplistatus-cron",
        start: &ours,
    });
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node");
    if !node.join("node_modules").exists() {
        println!("(npm install in benches/node, and Express with node-cron is measured beside it)");
        return;
    }
    let theirs = |port: u16| {
        let mut command = Command::new("node");
        command.args(["service.mjs", &port.to_string()]).current_dir(&node);
        command
    };
    measure(&Candidate {
        name: "express + node-cron",
        start: &theirs,
    });
}

fn measure(candidate: &Candidate<'_>) {
    let mut starts: Vec<Duration> = (0..STARTS).map(|_| time_to_first_answer(candidate).0).collect();
    starts.sort();
    let (_, running, port) = time_to_first_answer(candidate);
    std::thread::sleep(Duration::from_secs(2));
    let idle = resident(running.0.id());
    let rate = requests_per_second(port);
    println!(
        "{}: first /health after {:.1} ms (median of {STARTS}, worst {:.1}), idle {:.1} MB, after load {:.1} MB, {rate:.0} requests/s",
        candidate.name,
        millis(starts[STARTS / 2]),
        millis(starts[STARTS - 1]),
        idle,
        resident(running.0.id()),
    );
}

fn time_to_first_answer(candidate: &Candidate<'_>) -> (Duration, Running, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = (candidate.start)(port);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let running = Running(command.spawn().unwrap());
    while ask(port).is_none() {
        std::thread::sleep(Duration::from_micros(200));
    }
    (began.elapsed(), running, port)
}

/// One request on a connection of its own; `None` where it is not answered.
fn ask(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(format!("GET /health HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    answer.starts_with(b"HTTP/1.1 200").then_some(())
}

fn requests_per_second(port: u16) -> f64 {
    let count = |_| {
        std::thread::spawn(move || {
            let until = Instant::now() + LOAD;
            std::iter::from_fn(|| (Instant::now() < until).then(|| ask(port)))
                .flatten()
                .count()
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(count).collect();
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    f64::from(u32::try_from(answered).unwrap()) / LOAD.as_secs_f64()
}

/// Resident memory in MB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    megabytes(line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024)
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
