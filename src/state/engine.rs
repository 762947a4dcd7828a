//! The databases a state can be kept in: a closed list.

use std::path::Path;

use jiff::Timestamp;

use super::StateError;
use super::sqlite::Sqlite;
use super::statements::{Connection, Durability, Fault};

/// What keeps a state.
#[derive(Debug)]
pub(super) enum Engine {
    Sqlite(Sqlite),
}

impl Engine {
    /// The file at `path`.
    pub(super) fn at(path: &Path) -> Self {
        Self::Sqlite(Sqlite::new(path))
    }

    /// Does `work`, all or nothing.
    pub(super) fn change<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.change(durability, work),
        }
    }

    /// Does `work`, which changes nothing.
    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(work),
        }
    }

    /// Whether there is a state already.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Sqlite(sqlite) => sqlite.is_there(),
        }
    }

    /// Notes that times up to `now` are claimed.
    pub(super) fn note_claim(&mut self, now: Timestamp) {
        match self {
            Self::Sqlite(sqlite) => sqlite.note_claim(now),
        }
    }
}
