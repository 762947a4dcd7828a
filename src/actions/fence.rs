//! The fence around declared SQL: an authorizer that lets a statement touch the tables it names, and nothing else.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use super::Failure;

/// Tables without any data of their own.
const PURE: &[&str] = &["json_each", "json_tree"];

/// A connection with a fence around it. It is open, for statements of our own, but while declared ones are in it.
#[derive(Debug)]
pub struct Fenced {
    connection: Connection,
    closed: Arc<AtomicBool>,
    bounds: Arc<Mutex<Bounds>>,
}

/// What declared SQL may touch, and what was refused to it.
#[derive(Debug, Default)]
struct Bounds {
    tables: Vec<String>,
    readable: Vec<String>,
    refused: Option<String>,
}

impl Fenced {
    /// Puts a fence around `connection`; declared SQL may touch nothing until it is admitted to some tables.
    ///
    /// # Errors
    /// When SQLite cannot take it.
    pub fn around(connection: Connection) -> rusqlite::Result<Self> {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        let mut fenced = Self {
            connection,
            closed: Arc::default(),
            bounds: Arc::default(),
        };
        let (closed, bounds) = (Arc::clone(&fenced.closed), Arc::clone(&fenced.bounds));
        fenced.connection.authorizer(Some(move |context: AuthContext<'_>| {
            if !closed.load(Ordering::Relaxed) {
                return Authorization::Allow;
            }
            let mut bounds = lock(&bounds);
            match refusal(&context, &bounds) {
                None => Authorization::Allow,
                Some(why) => {
                    bounds.refused.get_or_insert(why);
                    Authorization::Deny
                }
            }
        }))?;
        Ok(fenced)
    }

    /// Lets declared SQL touch `tables`, and no others, from now on.
    pub(super) fn admit(&self, tables: &[&str]) -> rusqlite::Result<()> {
        let tables: Vec<String> = tables.iter().map(|table| table.to_lowercase()).collect();
        let readable = [tables.clone(), related(&self.connection, &tables)?].concat();
        let mut bounds = lock(&self.bounds);
        if bounds.tables != tables || bounds.readable != readable {
            // What was compiled within other bounds must not be run within these.
            self.connection.flush_prepared_statement_cache();
        }
        *bounds = Bounds {
            tables,
            readable,
            refused: None,
        };
        Ok(())
    }

    /// Prepares or runs declared SQL inside the fence.
    pub(super) fn inside<'a, T>(&'a self, work: impl FnOnce(&'a Connection) -> T) -> T {
        self.closed.store(true, Ordering::Relaxed);
        let done = work(&self.connection);
        self.closed.store(false, Ordering::Relaxed);
        done
    }

    /// What an error means, where the fence had a part in it.
    pub(super) fn explain(&self, error: rusqlite::Error) -> Failure {
        match self.refusal() {
            Some(why) => Failure::lasting(format!("the SQL was refused: {why}")),
            None => error.into(),
        }
    }

    /// Why something was refused, where it was.
    pub(super) fn refusal(&self) -> Option<String> {
        lock(&self.bounds).refused.clone()
    }
}

fn lock(bounds: &Mutex<Bounds>) -> MutexGuard<'_, Bounds> {
    bounds.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DerefMut for Fenced {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Deref for Fenced {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// The tables that foreign keys tie to `tables`: SQLite reads them when it looks after the keys.
fn related(connection: &Connection, tables: &[String]) -> rusqlite::Result<Vec<String>> {
    let mut ties = connection.prepare_cached(
        "SELECT lower(child.name), lower(tie.\"table\") FROM sqlite_schema AS child, pragma_foreign_key_list(child.name) AS tie
         WHERE child.type = 'table'",
    )?;
    let ties: Vec<(String, String)> = ties
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let other = |(child, parent): (String, String)| {
        if tables.contains(&child) {
            Some(parent)
        } else {
            tables.contains(&parent).then_some(child)
        }
    };
    Ok(ties.into_iter().filter_map(other).collect())
}

/// Why an action is not allowed, where it is not.
fn refusal(context: &AuthContext<'_>, bounds: &Bounds) -> Option<String> {
    let is_named = |table: &str| bounds.tables.contains(&table.to_lowercase());
    let writes = |verb: &str, table: &str| {
        let by = match context.accessor {
            Some(trigger) => format!(", by the trigger `{trigger}`"),
            None => String::new(),
        };
        (!is_named(table)).then(|| format!("it {verb} `{table}`{by}, which is not named in `tables`"))
    };
    match context.action {
        // What triggers and views read is the application's own doing.
        AuthAction::Read { .. } if context.accessor.is_some() => None,
        AuthAction::Read { table_name, .. } => {
            let may_read = bounds.readable.contains(&table_name.to_lowercase()) || PURE.contains(&table_name);
            (!may_read).then(|| format!("it reads `{table_name}`, which is not named in `tables`"))
        }
        AuthAction::Delete { table_name } => writes("deletes from", table_name),
        AuthAction::Insert { table_name } => writes("inserts into", table_name),
        AuthAction::Update { table_name, .. } => writes("updates", table_name),
        AuthAction::Select => None,
        AuthAction::Function { function_name } => {
            (function_name == "load_extension").then(|| "it loads an extension".to_owned())
        }
        AuthAction::Recursive => Some("it is recursive, and so may never end".to_owned()),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Some("it attaches or detaches a database".to_owned()),
        AuthAction::Pragma { pragma_name, .. } => Some(format!("it sets or reads PRAGMA {pragma_name}")),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            Some("it begins or ends a transaction, which is the service's own doing".to_owned())
        }
        _ => Some("it changes the schema".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_was_admitted_before_is_refused_within_narrower_bounds() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE a (id); CREATE TABLE b (id); INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1)",
            )
            .unwrap();
        let fenced = Fenced::around(connection).unwrap();
        let delete = || {
            fenced.inside(|connection| {
                connection
                    .prepare_cached("DELETE FROM a WHERE id IN (SELECT id FROM b)")
                    .and_then(|mut statement| statement.execute([]))
            })
        };
        fenced.admit(&["a", "b"]).unwrap();
        assert_eq!(delete().unwrap(), 1);
        fenced.admit(&["a"]).unwrap();
        let error = fenced.explain(delete().unwrap_err());
        assert!(
            error.message.contains("it reads `b`, which is not named in `tables`"),
            "{error:?}"
        );
        fenced.admit(&["a", "b"]).unwrap();
        assert_eq!((delete().unwrap(), fenced.refusal()), (0, None));
    }
}
