//! Programs that are known by their name only.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The first program called `name` in the folders of `path`.
pub(super) fn search(name: &str, path: &str) -> Option<PathBuf> {
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    folders
        .map(|folder| Path::new(folder).join(name))
        .find(|found| found.is_file() && access(found, Access::EXEC_OK).is_ok())
}
