//! Reads files that someone else has named: only regular ones, only as much as is good for anything, and only for as
//! long as a disk that works would take. A pipe, a device or a disk that hangs holds nobody up.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lock;

/// How much of a file is read: far more than a declaration of ten thousand jobs has.
const LARGEST: u64 = 64 * 1024 * 1024;
/// How long looking for files or reading one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many that are read at once, or hang, are enough.
const MOST_HANGING: usize = 32;

/// The file beside the one at `path` whose name is the same and `end`, such as a database's log.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Device and number of the file at `path`, which differ where another file comes in its place; none where there is none.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Puts a file with `content` in the place of the one at `path`, for good: at any moment, there is the one or the other. Its
/// owner may read it, and nobody else. Its folder is made where it is missing.
///
/// # Errors
/// Why it cannot be written.
fn replace_file(path: &Path, content: &[u8]) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let new = beside(path, ".new");
    let replace = || {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    replace().map_err(|error: io::Error| format!("{} cannot be written: {error}", path.display()))
}

/// What [`write_json`] has written to the file at `path`; none where there is no such file.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    if std::fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let text = read_file(path)?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// Keeps `content` in the file at `path`, as [`replace_file`] does.
///
/// # Errors
/// As of [`replace_file`].
pub(crate) fn write_json(path: &Path, content: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_vec_pretty(content).map_err(|error| error.to_string())?;
    replace_file(path, &text)
}

/// The whole content of the regular file at `path`. It may wait for the disk: see [`within_patience`].
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    read(path).map_err(|error| error.to_string())
}

/// The same as text, without the mark that some editors begin one with.
///
/// # Errors
/// As of [`read_file`].
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(read_file(path)?).map_err(|_| "it is not UTF-8 text".to_owned())?;
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}

/// The same, where it does not take too long.
///
/// # Errors
/// As of [`read_file`] and [`within_patience`].
pub(crate) fn read_text_in_time(path: &Path) -> Result<String, String> {
    let path = path.to_owned();
    within_patience(move || read_text(&path))?
}

/// Does `look` at files on a thread of its own, which is left to itself where it takes too long. It waits for that: not
/// to be called where others wait for the caller.
///
/// # Errors
/// That it took too long.
pub(crate) fn within_patience<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    // Each that hangs holds a clone.
    static HANGING: std::sync::LazyLock<Arc<()>> = std::sync::LazyLock::new(Arc::default);
    let slow = || format!("it could not be read within {} s", PATIENCE.as_secs());
    let held = Arc::clone(&HANGING);
    if Arc::strong_count(&held) > MOST_HANGING + 1 {
        return Err("too many files are being read that do not answer".to_owned());
    }
    let (tell, told) = channel();
    let spawned = std::thread::Builder::new().name("file".to_owned()).spawn(move || {
        let found = look();
        drop(held);
        let _ = tell.send(found);
    });
    spawned.map_err(|error| format!("no thread could be started to read it: {error}"))?;
    told.recv_timeout(PATIENCE).map_err(|error| match error {
        RecvTimeoutError::Timeout => slow(),
        RecvTimeoutError::Disconnected => "reading it failed, a bug in this program".to_owned(),
    })
}

/// The same for what stands at `path`, which is not looked at again as long as it has not answered the last time: whoever
/// asks again and again must not fill the process with threads that wait.
///
/// # Errors
/// As of [`within_patience`].
pub(crate) fn within_patience_of<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    static SLOW: Mutex<BTreeMap<PathBuf, Weak<()>>> = Mutex::new(BTreeMap::new());
    let is_slow = |looking: &Weak<()>| looking.strong_count() > 0;
    if lock(&SLOW).get(path).is_some_and(is_slow) {
        return Err("it still has not answered".to_owned());
    }
    let looking = Arc::new(());
    let seen = Arc::downgrade(&looking);
    let found = within_patience(move || {
        let found = look();
        drop(looking);
        found
    });
    if found.is_err() {
        lock(&SLOW).insert(path.to_owned(), seen);
    }
    found
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for whoever writes to it.
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(no_wait).open(path)?;
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::Error::other("it is a folder, not a file"));
    }
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::with_capacity(usize::try_from(found.len().min(LARGEST)).unwrap_or(0) + 1);
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        let megabytes = LARGEST / 1024 / 1024;
        return Err(io::Error::other(format!("it is larger than {megabytes} MB")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::write(place("text"), "\u{feff}a").unwrap();
        std::os::unix::fs::symlink("/dev/zero", place("endless")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(place("pipe"))
            .status()
            .unwrap();
        assert!(made.success());
        assert_eq!(read_text(&place("text")).unwrap(), "a");
        for (name, why) in [
            ("endless", "it is not a regular file"),
            ("pipe", "it is not a regular file"),
            (".", "it is a folder, not a file"),
        ] {
            assert_eq!(read_text(&place(name)).unwrap_err(), why, "{name}");
        }
        assert!(read_text(&place("none")).unwrap_err().contains("No such file"));
    }
}
