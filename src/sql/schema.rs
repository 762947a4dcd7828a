//! What SQLite touches besides the tables that a statement names: the tables behind virtual tables, and the columns
//! that foreign keys tie together.

use std::collections::BTreeSet;

use rusqlite::Connection;

/// A foreign key, its names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignKey {
    pub child: String,
    pub parent: String,
    /// Whether children go with their parents, or forget them.
    pub follows: bool,
}

/// The names of all tables, views and kinds of virtual tables, in lower case.
pub(super) fn names(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    connection
        .prepare(
            "SELECT lower(name) FROM sqlite_schema WHERE type IN ('table', 'view')
             UNION SELECT lower(name) FROM pragma_module_list",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The tables in which the virtual ones among `tables` keep their rows.
pub(super) fn shadows(connection: &Connection, tables: &BTreeSet<String>) -> rusqlite::Result<BTreeSet<String>> {
    let found: Vec<(String, String)> = connection
        .prepare(
            "SELECT lower(name), type FROM pragma_table_list WHERE type IN ('virtual', 'shadow') AND schema = 'main'",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let of = |kind: &'static str| found.iter().filter(move |(_, found)| found == kind);
    let owner = |shadow: &str| -> Option<String> {
        let owners = of("virtual").filter(|(name, _)| shadow.starts_with(&format!("{name}_")));
        owners.max_by_key(|(name, _)| name.len()).map(|(name, _)| name.clone())
    };
    Ok(of("shadow")
        .filter(|(shadow, _)| owner(shadow).is_some_and(|owner| tables.contains(&owner)))
        .map(|(shadow, _)| shadow.clone())
        .collect())
}

/// The columns of other tables that SQLite reads when it looks after the foreign keys of `tables`.
pub(super) fn key_columns(
    connection: &Connection,
    tables: &BTreeSet<String>,
) -> rusqlite::Result<BTreeSet<(String, String)>> {
    let mut columns = BTreeSet::new();
    let mut ties = connection.prepare(
        "SELECT lower(child.name), lower(tie.\"from\"), lower(tie.\"table\"), lower(tie.\"to\")
         FROM sqlite_schema AS child, pragma_foreign_key_list(child.name) AS tie WHERE child.type = 'table'",
    )?;
    let mut rows = ties.query([])?;
    while let Some(row) = rows.next()? {
        let (child, from, parent): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if tables.contains(&parent) {
            columns.extend([(child.clone(), from), (child.clone(), "rowid".to_owned())]);
        }
        if tables.contains(&child) {
            columns.insert((parent.clone(), "rowid".to_owned()));
            match row.get::<_, Option<String>>(3)? {
                Some(to) => columns.extend([(parent, to)]),
                None => columns.extend(
                    primary_key(connection, &parent)?
                        .into_iter()
                        .map(|to| (parent.clone(), to)),
                ),
            }
        }
    }
    Ok(columns)
}

fn primary_key(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT lower(name) FROM pragma_table_info(?1) WHERE pk > 0")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

/// The foreign keys of all tables.
pub(super) fn foreign_keys(connection: &Connection) -> rusqlite::Result<Vec<ForeignKey>> {
    connection
        .prepare(
            "SELECT lower(child.name), lower(tie.\"table\"), tie.on_delete IN ('CASCADE', 'SET NULL')
             FROM sqlite_schema AS child, pragma_foreign_key_list(child.name) AS tie
             WHERE child.type = 'table' AND tie.seq = 0",
        )?
        .query_map([], |row| {
            Ok(ForeignKey {
                child: row.get(0)?,
                parent: row.get(1)?,
                follows: row.get(2)?,
            })
        })?
        .collect()
}

/// The triggers, by the table they are on in lower case, with their SQL.
pub(super) fn triggers(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    connection
        .prepare("SELECT lower(tbl_name), sql FROM sqlite_schema WHERE type = 'trigger'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
