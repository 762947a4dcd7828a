//! How the rows of a table are told apart, for deleting them piece by piece.

use rusqlite::{Connection, OptionalExtension};

/// How the rows of a table are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowKey {
    /// By their rowid, under a name that no column has.
    Rowid(&'static str),
    /// By the columns of the primary key, as they may stand in a statement, with the collations that the key has.
    Columns(Vec<String>),
    /// Not at all, as of a virtual table.
    None,
    /// It is a view, which has no rows of its own.
    View,
}

impl RowKey {
    /// The key of `table`; `None` where there is no such table.
    pub(crate) fn of(connection: &Connection, table: &str) -> rusqlite::Result<Option<Self>> {
        let found: Option<(String, bool)> = connection
            .prepare_cached(
                "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE",
            )?
            .query_row([table], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(match found {
            None => None,
            Some((kind, _)) if kind == "view" => Some(Self::View),
            Some((kind, _)) if kind != "table" => Some(Self::None),
            Some((_, true)) => Some(Self::Columns(key_columns(connection, table)?)),
            Some((_, false)) => {
                let taken = columns(connection, table, "true")?;
                let is_free = |name: &&&str| !taken.iter().any(|column| column.eq_ignore_ascii_case(name));
                let free = ["rowid", "_rowid_", "oid"].iter().find(is_free);
                Some(free.map_or(Self::None, |name| Self::Rowid(name)))
            }
        })
    }

    /// Whether there is a key.
    pub(crate) fn tells_rows_apart(&self) -> bool {
        matches!(self, Self::Rowid(_) | Self::Columns(_))
    }

    /// The columns that tell rows apart, quoted.
    pub(crate) fn columns(&self) -> Vec<String> {
        match self {
            Self::Rowid(name) => vec![(*name).to_owned()],
            Self::Columns(columns) => columns.clone(),
            Self::None | Self::View => Vec::new(),
        }
    }
}

/// The columns of the primary key of a table without rowid. A column may compare in another way than the key does.
fn key_columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "SELECT part.name, part.coll FROM pragma_index_list(?1) AS key, pragma_index_xinfo(key.name) AS part
             WHERE key.origin = 'pk' AND part.key = 1 ORDER BY part.seqno",
        )?
        .query_map([table], |row| {
            let (name, collation): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(format!("{} COLLATE {}", quoted(&name), quoted(&collation)))
        })?
        .collect()
}

/// A name as it may stand in a statement.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn columns(connection: &Connection, table: &str, which: &str) -> rusqlite::Result<Vec<String>> {
    // Hidden and generated columns are names as well.
    connection
        .prepare_cached(&format!("SELECT name FROM pragma_table_xinfo(?1) WHERE {which}"))?
        .query_map([table], |row| row.get(0))?
        .collect()
}
