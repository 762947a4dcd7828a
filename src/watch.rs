//! Watches the declaration and sends the engine a reload when its content changes, and the rows that override it. The
//! only place that knows `notify`.
//!
//! Folders are watched, not files: editors, `sed -i` and Kubernetes put a new file in the old one's place.
//! What counts is the content, so that reading the file or touching it reloads nothing, and it is looked at now
//! and then in any case, for file systems that tell nothing.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};

use crate::config::sources::file::{watched, watched_folders};
use crate::config::{File, Plan};
use crate::duplistatus::settings;
use crate::engine::command::Cause;
use crate::engine::{Command, Inbox};
use crate::values::{beside, blocking, read_file, within_patience};

/// How long a burst of changes must have been over.
const QUIET: Duration = Duration::from_millis(250);
/// How long a burst is waited for: one that never ends must not keep the declaration from being read.
const LONGEST_BURST: Duration = Duration::from_secs(2);
/// How often the content is looked at where nothing is told.
const LOOK: Duration = Duration::from_secs(15);
/// How often the database's files are looked at.
const LOOK_AT_DATABASE: Duration = Duration::from_secs(10);

/// A declaration that is watched. Made before it is first read, so that no change falls in between.
#[derive(Debug)]
pub(crate) struct Watch {
    file: File,
    content: Option<u64>,
    told: mpsc::Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Begins to watch the declaration, with the files it includes.
    pub(crate) fn new(file: &File) -> Self {
        let (tell, told) = mpsc::channel(1);
        let looked_at = file.clone();
        let seen = within_patience(move || (watch_folders(&looked_at, tell), fingerprint(&looked_at)));
        let (watcher, content) = match seen {
            Ok((watcher, content)) => (watcher.map_err(|error| error.to_string()), content),
            Err(why) => (Err(why), None),
        };
        let watcher = watcher.map_err(|error| {
            tracing::warn!("changes to {file} are noticed only every {} s: {error}", LOOK.as_secs());
        });
        Self {
            file: file.clone(),
            content,
            told,
            _watcher: watcher.ok(),
        }
    }

    /// Sends a reload for every change, until the engine is gone.
    pub(crate) async fn run(mut self, engine: Inbox) {
        loop {
            tokio::select! {
                Some(()) = self.told.recv() => self.wait_for_quiet().await,
                () = tokio::time::sleep(LOOK) => {}
            }
            let file = self.file.clone();
            let looked = blocking(move || within_patience(move || fingerprint(&file)));
            let content = looked.await.unwrap_or_default();
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
        let quiet = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, self.told.recv()).await {} };
        let _ = tokio::time::timeout(LONGEST_BURST, quiet).await;
    }
}

fn watch_folders(file: &File, tell: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let name = file.path().and_then(Path::file_name).map(OsStr::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // A full channel has told already.
        if event.map_or(true, |event| concerns(&event, name.as_deref())) {
            let _ = tell.try_send(());
        }
    })?;
    for folder in watched_folders(file) {
        // A folder of included files that is not there yet is looked for now and then.
        if let Ok(folder) = folder.canonicalize() {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

/// Whether an event may mean that one of the files has another content. `..data` is what Kubernetes swaps.
fn concerns(event: &Event, name: Option<&OsStr>) -> bool {
    let is_change = !matches!(event.kind, EventKind::Access(_));
    let is_ours = |path: &PathBuf| {
        let is_toml = path.extension().is_some_and(|extension| extension == "toml");
        is_toml || path.file_name() == name || path.file_name() == Some(OsStr::new("..data"))
    };
    event.need_rescan() || (is_change && event.paths.iter().any(is_ours))
}

/// A number that differs with the content of the files; `None` when the declaration itself cannot be read.
fn fingerprint(file: &File) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    for (index, path) in watched(file).iter().enumerate() {
        let content = read_file(path).ok();
        if index == 0 && content.is_none() {
            return None;
        }
        (path, content).hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// Tells the engine what stands in the rows that override the declaration whenever the database may have changed, for
/// as long as the service runs. Nothing is read while its files stay as they are.
pub(crate) async fn watch_rows(plans: watch::Receiver<Arc<Plan>>, engine: Inbox) {
    let mut seen = None;
    loop {
        tokio::time::sleep(LOOK_AT_DATABASE).await;
        let Some(database) = plans.borrow().default_database_path() else {
            continue;
        };
        let known = seen.clone();
        let look = move || {
            let looks = looks_of(&database);
            let texts = (known.as_ref() != Some(&looks))
                .then(|| settings::overrides_now(&database))
                .flatten();
            (looks, texts)
        };
        // One that does not answer must not keep another one from being read, which a reload may name.
        let Ok((looks, texts)) = blocking(move || within_patience(look)).await else {
            continue;
        };
        // What could not be read is read at the next look.
        if let Some(texts) = texts {
            seen = Some(looks);
            if engine.send(Command::Rows { texts }).await.is_err() {
                return;
            }
        }
    }
}

/// What differs when the database has changed: of its file and its write-ahead log.
type Looks = (PathBuf, [Option<(u64, u64, SystemTime)>; 2]);

fn looks_of(database: &Path) -> Looks {
    let look = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.modified().ok()?))
    };
    (database.to_owned(), [look(database), look(&beside(database, "-wal"))])
}
