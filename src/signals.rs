//! Signals: SIGTERM and SIGINT end the service, a second one at once; SIGHUP reloads.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::engine::{Command, Inbox};
use crate::process::kill_all;
use crate::service_manager;

/// The exit code of a process that was told to end at once: 128 and the number of SIGINT.
const ENDED_AT_ONCE: i32 = 130;

/// Signals within so short a time are one: a terminal tells a script and its child, and the script its child again.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// Turns signals into commands until the engine is gone.
pub(crate) fn listen(engine: Inbox) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // A file that may not grow any more is an error to whoever writes it, not the end of the process.
    let _no_end = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    Ok(async move {
        let mut ending: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                // One that ends reads nothing any more.
                _ = hang_up.recv(), if ending.is_none() => {
                    // A reload that is slow keeps no other signal waiting.
                    tokio::spawn(service_manager::reload(engine.clone()));
                    continue;
                }
            }
            if ending.is_some_and(|since| since.elapsed() < ONE_SIGNAL) {
                continue;
            }
            if ending.is_some() {
                tracing::warn!("ended at once; runs under way are recorded as interrupted at the next start");
                kill_all();
                std::process::exit(ENDED_AT_ONCE);
            }
            ending = Some(Instant::now());
            service_manager::tell_stopping();
            if engine.is_closed() {
                return;
            }
            // One that is busy takes it later; the next signal is heard all the same.
            let engine = engine.clone();
            tokio::spawn(async move { drop(engine.send(Command::Shutdown).await) });
        }
    })
}
