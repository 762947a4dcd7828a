//! How full the outbox is.

use rusqlite::Connection;

/// How many letters wait, and how many were given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Still to be sent.
    pub pending: i64,
    /// Given up.
    pub dead: i64,
}

/// How many letters wait and were given up, in an open state database.
pub(super) fn depth(connection: &Connection) -> rusqlite::Result<Depth> {
    connection
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'dead') FROM outbox",
        )?
        .query_row([], |row| {
            Ok(Depth {
                pending: row.get(0)?,
                dead: row.get(1)?,
            })
        })
}
