//! The databases a state can be kept in: a closed list.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::StateError;
use super::postgres::{Postgres, StateServer};
use super::sqlite::Sqlite;
use super::statements::{Connection, Durability, Fault};

/// Where a state is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// In a SQLite file, which one service has for itself.
    File(PathBuf),
    /// On a PostgreSQL server, which several replicas may share.
    Server {
        server: Arc<StateServer>,
        /// What jobs keep in folders stands beside this path, on this machine.
        path: PathBuf,
    },
}

impl Place {
    /// The path beside which folders stand.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Server { path, .. } => path,
        }
    }

    /// Where it is, without secrets.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Server { server, .. } => server.shown(),
        }
    }
}

/// What keeps a state.
#[derive(Debug)]
pub(super) enum Engine {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Engine {
    /// Does `work`, all or nothing.
    pub(super) fn change<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.change(durability, work),
            Self::Postgres(postgres) => postgres.change(durability, work),
        }
    }

    /// Does `work`, which changes nothing.
    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Connection) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(work),
            Self::Postgres(postgres) => postgres.read(work),
        }
    }

    /// Whether there is a state already.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Sqlite(sqlite) => sqlite.is_there(),
            Self::Postgres(postgres) => postgres.is_there(),
        }
    }

    /// Notes that times up to `now` are claimed.
    pub(super) fn note_claim(&mut self, now: Timestamp) {
        match self {
            Self::Sqlite(sqlite) => sqlite.note_claim(now),
            // Every row tells who has claimed it.
            Self::Postgres(_) => {}
        }
    }
}
