//! The application duplistatus, as one integration: the job that looks for overdue backups, the target that stands for
//! its channels, the rows of its settings that override the declaration, and the port it reads back. Nothing below
//! knows of it.

mod backups;
mod channels;
mod dates;
mod declared;
mod due;
mod evaluation;
mod expectation;
mod frequency;
mod interval;
mod message;
mod overdue;
mod overdue_backups;
mod rows;
mod secrets;
pub(crate) mod settings;
mod stamps;
mod target;

use std::path::{Path, PathBuf};

pub(crate) use overdue_backups::OverdueBackups;
pub(crate) use rows::{Row, read as read_rows};
pub(crate) use settings::publish_port;
pub(crate) use target::{Application, Duplistatus};

/// The application's master key, beside its database.
fn key_file(database: &Path) -> PathBuf {
    database.with_file_name(".duplistatus.key")
}
