//! `--dev`: the service becomes its own newer build when there is one.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::engine::{Command, Inbox};

/// How often the program's file is looked at; a build that is still being written is older than one look.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Ends the service when its program was rebuilt, and records which one is to follow.
pub(super) async fn watch(engine: Inbox, rebuilt: Arc<OnceLock<PathBuf>>) {
    let Ok(program) = std::env::current_exe() else { return };
    let started = stamp(&program);
    let mut last = started;
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let now = stamp(&program);
        if now.is_some() && now != started && now == last {
            tracing::info!("{} was rebuilt; the new build takes over", program.display());
            let _ = rebuilt.set(program);
            let _ = engine.send(Command::Shutdown).await;
            return;
        }
        last = now;
    }
}

fn stamp(program: &Path) -> Option<(u64, SystemTime)> {
    let found = std::fs::metadata(program).ok()?;
    Some((found.len(), found.modified().ok()?))
}

/// Becomes the program at `path`, with the same arguments; gives why not, where it cannot.
pub(super) fn become_it(path: &Path) -> String {
    let error = Process::new(path).args(std::env::args_os().skip(1)).exec();
    format!("{} cannot be started: {error}", path.display())
}
