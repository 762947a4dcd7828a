//! The service as the first process of a container: whoever loses its parent becomes this process's child, and stays a zombie
//! unless it is waited for. So the service itself runs as a child of its own, and this process waits for whoever ends: it
//! takes no status from anybody who waits for it.

use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, FAILED};

/// What shells add to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// Whether this is the first process.
pub(super) fn is_it() -> bool {
    std::process::id() == 1
}

/// Runs this program once more, passes signals on to it, and waits for whoever ends, until it does.
pub(super) fn look_after_the_service() -> Result<(), Exit> {
    let failed = |error: std::io::Error| Exit::new(FAILED, format!("the service cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failed)?;
    let code = runtime.block_on(async {
        let mut ended = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let child = Command::new("/proc/self/exe")
            .args(std::env::args_os().skip(1))
            .spawn()?;
        let Some(service) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
            return Ok(1);
        };
        loop {
            let received = tokio::select! {
                _ = ended.recv() => None,
                _ = terminate.recv() => Some(Signal::TERM),
                _ = interrupt.recv() => Some(Signal::INT),
                _ = hangup.recv() => Some(Signal::HUP),
            };
            if let Some(received) = received {
                // One that has ended meanwhile is waited for in a moment.
                let _ = kill_process(service, received);
            } else if let Some(code) = code_of(service) {
                return Ok(code);
            }
        }
    });
    match code.map_err(failed)? {
        0 => Ok(()),
        // It has said why.
        code => Err(Exit::new(u8::try_from(code).unwrap_or(FAILED), "")),
    }
}

/// Waits for everybody who has ended; gives the code of the service, if it has.
fn code_of(service: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) {
        if process == service {
            let by_signal = || status.terminating_signal().map(|signal| SIGNALLED + signal);
            code = status.exit_status().or_else(by_signal);
        }
    }
    code
}
