//! Databases on a PostgreSQL server: how declared SQL is checked there, what a session may take, how rows are deleted so
//! that nobody waits. There is no sandbox: what a statement may touch is what the role it runs as may.

mod access;
mod catalog;
mod check;
mod deletion;
mod role;
mod session;
mod statement;

pub(crate) use access::{Access, access};
pub(crate) use catalog::{Kind, Target, count_up_to, estimate};
pub(crate) use check::{CheckedServer, WRITING_ON_SERVER, compile_on_server};
pub(crate) use deletion::ServerDeletion;
pub(crate) use role::{Right, Rights};
pub(crate) use session::ServerSession;
pub(crate) use statement::names_of_parameters;

use std::time::Duration;

use crate::postgres::Address;
use crate::values::TimeZone;

/// A database on a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    pub address: Address,
    /// The zone that columns without one are written in, where it is declared; else UTC.
    pub time_zone: Option<TimeZone>,
    /// What tells it from other databases, roles and schemas.
    key: String,
}

impl Server {
    pub(crate) fn new(address: Address, time_zone: Option<TimeZone>) -> Self {
        let key = format!("{} {time_zone:?}", address.key());
        Self {
            address,
            time_zone,
            key,
        }
    }

    /// What tells it from other databases, roles and schemas; it is not shown.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Why it cannot be used now, if it cannot. It waits for that.
    pub(crate) fn trouble(&self) -> Option<String> {
        let patience = Duration::from_secs(2);
        let opened = ServerSession::open(self, "health", patience, patience);
        opened.err().map(|error| error.message)
    }

    /// The zone that columns without one are written in.
    pub(crate) fn zone(&self) -> TimeZone {
        self.time_zone.clone().unwrap_or_else(TimeZone::utc)
    }
}
