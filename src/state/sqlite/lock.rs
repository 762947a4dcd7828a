//! Keeps two services from sharing one state: the second would take the first one's runs for interrupted.
//!
//! What is locked is the state's own file, so that there is nothing beside it that someone may delete; SQLite locks it
//! in another way, which does not meet this one on a local disk.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held for as long as a service uses its state. Closing it takes SQLite's own locks away, so it must outlive every
/// connection.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Option<File>,
}

/// Another service uses the state.
#[derive(Debug)]
pub(crate) struct LockError(pub String);

impl Lock {
    /// Keeps other services from using the state at `path`.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
        });
        let shown = path.display();
        match made.map(|file| (file.try_lock(), file)) {
            Ok((Err(TryLockError::WouldBlock), _)) => Err(LockError(format!(
                "another duplistatus-cron is already running with {shown}; stop it, or give this one its own state.path"
            ))),
            Ok((_, file)) => Ok(Self { _file: Some(file) }),
            Err(error) => {
                tracing::warn!("{shown}: {error}; nothing keeps a second service from using the same state");
                Ok(Self { _file: None })
            }
        }
    }
}
