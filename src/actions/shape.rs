//! How the rows of a table are told apart, for deleting them piece by piece.

use rusqlite::{Connection, OptionalExtension};

/// How the rows of a table are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// By their rowid, under a name that no column has.
    Rowid(&'static str),
    /// By the columns of the primary key.
    Key(Vec<String>),
    /// Only all at once: a virtual table.
    Whole,
    /// It is a view, which has no rows of its own.
    View,
}

impl Shape {
    /// The shape of `table`; `None` where there is no such table.
    pub(super) fn of(connection: &Connection, table: &str) -> rusqlite::Result<Option<Self>> {
        let found: Option<(String, bool)> = connection
            .prepare_cached(
                "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE",
            )?
            .query_row([table], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(match found {
            None => None,
            Some((kind, _)) if kind == "view" => Some(Self::View),
            Some((kind, _)) if kind != "table" => Some(Self::Whole),
            Some((_, true)) => Some(Self::Key(columns(connection, table, "pk > 0 ORDER BY pk")?)),
            Some((_, false)) => {
                let taken = columns(connection, table, "true")?;
                let is_free = |name: &&&str| !taken.iter().any(|column| column.eq_ignore_ascii_case(name));
                let free = ["rowid", "_rowid_", "oid"].iter().find(is_free);
                Some(free.map_or(Self::Whole, |name| Self::Rowid(name)))
            }
        })
    }

    /// The columns that tell rows apart, quoted.
    pub(super) fn columns(&self) -> Vec<String> {
        match self {
            Self::Rowid(name) => vec![(*name).to_owned()],
            Self::Key(columns) => columns
                .iter()
                .map(|column| format!("\"{}\"", column.replace('"', "\"\"")))
                .collect(),
            Self::Whole | Self::View => Vec::new(),
        }
    }
}

fn columns(connection: &Connection, table: &str, which: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(&format!("SELECT name FROM pragma_table_info(?1) WHERE {which}"))?
        .query_map([table], |row| row.get(0))?
        .collect()
}
