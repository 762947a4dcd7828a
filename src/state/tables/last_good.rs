//! The last declaration that could be used, kept without its secrets for a start at which it is broken.

use super::super::StateError;
use super::super::statements::{Connection, Fault, Row, values};
use super::Tables;

impl Tables {
    pub(in crate::state) fn keep_declaration(&mut self, files: &[(String, String)]) -> Result<(), StateError> {
        self.change(|connection| {
            if read(connection)? == files {
                return Ok(());
            }
            connection.execute("DELETE FROM last_good", &[])?;
            for (position, (name, text)) in files.iter().enumerate() {
                connection.execute(
                    "INSERT INTO last_good (name, position, text) VALUES (?1, ?2, ?3)",
                    &values![name, position, text],
                )?;
            }
            Ok(())
        })
    }

    pub(in crate::state) fn kept_declaration(&mut self) -> Result<Vec<(String, String)>, StateError> {
        // A start that fails must leave nothing behind.
        if !self.engine.is_there() {
            return Ok(Vec::new());
        }
        self.read(read)
    }
}

fn read(connection: &mut dyn Connection) -> Result<Vec<(String, String)>, Fault> {
    let rows = connection.query("SELECT name, text FROM last_good ORDER BY position", &[])?;
    let read = |row: Row| Ok((row.get(0)?, row.get(1)?));
    rows.into_iter().map(read).collect()
}
