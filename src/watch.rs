//! Watches the declaration and sends the engine a reload when its content changes. The only place that knows
//! `notify`.
//!
//! The folder is watched, not the file: editors, `sed -i` and Kubernetes put a new file in the old one's place.
//! What counts is the content, so that reading the file or touching it reloads nothing, and it is looked at now
//! and then in any case, for file systems that tell nothing.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::engine::command::Cause;
use crate::engine::{Command, Inbox};

/// How long a burst of changes must have been over.
const QUIET: Duration = Duration::from_millis(250);
/// How often the content is looked at where nothing is told.
const LOOK: Duration = Duration::from_secs(15);

/// A declaration that is watched. Made before the file is first read, so that no change falls in between.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    content: Option<u64>,
    told: mpsc::Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins to watch the file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let (tell, told) = mpsc::channel(1);
        let watcher = watch_folder(path, tell).map_err(|error| {
            tracing::warn!(
                "changes of {} are noticed within {} s only: {error}",
                path.display(),
                LOOK.as_secs()
            );
        });
        Self {
            path: path.to_owned(),
            content: fingerprint(path),
            told,
            _watcher: watcher.ok(),
        }
    }

    /// Sends a reload for every change, until the engine is gone.
    pub async fn run(mut self, engine: Inbox) {
        loop {
            tokio::select! {
                Some(()) = self.told.recv() => self.wait_for_quiet().await,
                () = tokio::time::sleep(LOOK) => {}
            }
            let content = fingerprint(&self.path);
            // A file that is gone for the moment is being replaced.
            if content.is_none() || content == self.content {
                continue;
            }
            self.content = content;
            if engine
                .send(Command::Reload {
                    cause: Cause::File,
                    reply: None,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    }

    async fn wait_for_quiet(&mut self) {
        while let Ok(Some(())) = tokio::time::timeout(QUIET, self.told.recv()).await {}
    }
}

fn watch_folder(path: &Path, tell: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let name = path.file_name().map(OsStr::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // A full channel has told already.
        if event.map_or(true, |event| concerns(&event, name.as_deref())) {
            let _ = tell.try_send(());
        }
    })?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    watcher.watch(
        &folder.canonicalize().map_err(notify::Error::io)?,
        RecursiveMode::NonRecursive,
    )?;
    Ok(watcher)
}

/// Whether an event may mean that the file `name` has another content. `..data` is what Kubernetes swaps.
fn concerns(event: &Event, name: Option<&OsStr>) -> bool {
    let is_change = !matches!(event.kind, EventKind::Access(_));
    let is_ours = |path: &PathBuf| path.file_name() == name || path.file_name() == Some(OsStr::new("..data"));
    event.need_rescan() || (is_change && event.paths.iter().any(is_ours))
}

/// A number that differs with the content; `None` when the file cannot be read.
fn fingerprint(path: &Path) -> Option<u64> {
    // Reading a pipe would take its content from whoever loads it.
    let content = std::fs::metadata(path)
        .is_ok_and(|found| found.is_file())
        .then(|| std::fs::read(path).ok())??;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}
