//! The last declaration that could be used, kept without its secrets for a start at which it is broken.

use rusqlite::{Connection, params};

use super::super::StateError;
use super::Sqlite;

impl Sqlite {
    pub(in crate::state) fn keep_declaration(&mut self, files: &[(String, String)]) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| {
            if read(transaction)? == files {
                return Ok(());
            }
            transaction.execute("DELETE FROM last_good", [])?;
            for (position, (name, text)) in files.iter().enumerate() {
                let position = i64::try_from(position).unwrap_or(i64::MAX);
                transaction.execute(
                    "INSERT INTO last_good (name, position, text) VALUES (?1, ?2, ?3)",
                    params![name, position, text],
                )?;
            }
            Ok(())
        })
    }

    pub(in crate::state) fn kept_declaration(&mut self) -> Result<Vec<(String, String)>, StateError> {
        // A start that fails must leave nothing behind.
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        self.with(|connection| read(connection))
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    connection
        .prepare("SELECT name, text FROM last_good ORDER BY position")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
