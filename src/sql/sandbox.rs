//! The sandbox that declared SQL runs in: an authorizer that lets a statement touch the tables it names, and nothing else,
//! whatever stands between (views, CTEs, aliases, triggers). It also tells what a statement touches, as SQLite reports
//! it while compiling.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::limits::Limit;

use super::bounds::{Bounds, Touched};
use super::functions::LONGEST_VALUE;
use super::{SqlError, functions, schema};

/// The longest pattern of LIKE and GLOB, in bytes: they compare it at every place of a text.
const LONGEST_PATTERN: i32 = 250;
/// How much memory SQLite may take in all, in bytes.
const MOST_MEMORY: i64 = 256 * 1024 * 1024;
/// The longest statement, in bytes.
const LONGEST_STATEMENT: i32 = 100_000;

/// A connection in its sandbox: closed while declared statements are at work, open for statements of our own.
#[derive(Debug)]
pub(crate) struct Sandbox {
    connection: Connection,
    closed: Arc<AtomicBool>,
    bounds: Arc<Mutex<Bounds>>,
    checked: RefCell<BTreeMap<String, Arc<Touched>>>,
}

impl Sandbox {
    /// Puts `connection` in a sandbox; declared SQL may touch nothing until it is admitted to some tables.
    ///
    /// # Errors
    /// When SQLite cannot take it.
    pub(crate) fn around(connection: Connection) -> rusqlite::Result<Self> {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(
            Limit::SQLITE_LIMIT_LENGTH,
            i32::try_from(LONGEST_VALUE).unwrap_or(i32::MAX),
        )?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST_STATEMENT)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LONGEST_PATTERN)?;
        functions::put_in_place(&connection)?;
        // Of the process: whoever asks for more is refused, instead of the service being ended by the system.
        connection.pragma_update(None, "hard_heap_limit", MOST_MEMORY)?;
        let mut sandbox = Self {
            connection,
            closed: Arc::default(),
            bounds: Arc::default(),
            checked: RefCell::default(),
        };
        let (closed, bounds) = (Arc::clone(&sandbox.closed), Arc::clone(&sandbox.bounds));
        sandbox.connection.authorizer(Some(move |context: AuthContext<'_>| {
            if !closed.load(Ordering::Relaxed) {
                return Authorization::Allow;
            }
            let mut bounds = lock(&bounds);
            bounds.touched.note(&context.action);
            match bounds.refusal(&context) {
                None => Authorization::Allow,
                Some(why) => {
                    bounds.refused.get_or_insert(why);
                    Authorization::Deny
                }
            }
        }))?;
        Ok(sandbox)
    }

    /// Lets declared SQL touch `tables`, and no others, from now on.
    pub(crate) fn admit(&self, tables: &[&str]) -> rusqlite::Result<()> {
        let tables: BTreeSet<String> = tables.iter().map(|table| table.to_ascii_lowercase()).collect();
        let schema_version = self
            .connection
            .pragma_query_value(None, "schema_version", |row| row.get(0))?;
        {
            let mut bounds = lock(&self.bounds);
            bounds.refused = None;
            if bounds.tables == tables && bounds.schema_version == schema_version && !bounds.known.is_empty() {
                return Ok(());
            }
        }
        let fresh = Bounds {
            schema_version,
            shadows: schema::shadows(&self.connection, &tables)?,
            key_columns: schema::key_columns(&self.connection, &tables)?,
            known: schema::names(&self.connection)?,
            tables,
            ..Bounds::default()
        };
        // What was compiled within other bounds must not be run within these.
        self.connection.flush_prepared_statement_cache();
        self.checked.borrow_mut().clear();
        *lock(&self.bounds) = fresh;
        Ok(())
    }

    /// Prepares or runs declared SQL inside the sandbox.
    pub(crate) fn inside<'a, T>(&'a self, work: impl FnOnce(&'a Connection) -> T) -> T {
        self.closed.store(true, Ordering::Relaxed);
        let done = work(&self.connection);
        self.closed.store(false, Ordering::Relaxed);
        done
    }

    /// Compiles `sql`, with the triggers and foreign keys that go with it; gives what it touches.
    pub(super) fn touched(&self, sql: &str) -> rusqlite::Result<Arc<Touched>> {
        self.compile_once(sql, || self.prepare_and_note(sql))
    }

    /// Compiles what `sql` itself says, without triggers and foreign keys: what it reads must be named, and texts in
    /// double quotes are columns. Gives what it touches.
    pub(super) fn touched_alone(&self, sql: &str) -> rusqlite::Result<Arc<Touched>> {
        self.compile_once(&format!("alone: {sql}"), || {
            self.alone(|_| self.prepare_and_note(sql))?
        })
    }

    /// Refuses a statement that by itself reads what is not named.
    pub(crate) fn refuse_unnamed(&self, sql: &str) -> Result<(), SqlError> {
        self.touched_alone(sql).map(drop).map_err(|error| self.explain(error))
    }

    /// Prepares or runs declared SQL inside the sandbox, as what it says itself; see [`Sandbox::touched_alone`].
    pub(super) fn alone<'a, T>(&'a self, work: impl FnOnce(&'a Connection) -> T) -> rusqlite::Result<T> {
        let switches = [
            DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY,
            DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
            DbConfig::SQLITE_DBCONFIG_DQS_DML,
        ];
        let turn = |on: bool| switches.map(|switch| self.connection.set_db_config(switch, on));
        let turned_off = turn(false);
        lock(&self.bounds).alone = true;
        let done = self.inside(work);
        lock(&self.bounds).alone = false;
        // Every one is turned on again, whatever became of the others.
        for turned in turned_off.into_iter().chain(turn(true)) {
            turned?;
        }
        Ok(done)
    }

    fn compile_once(
        &self,
        key: &str,
        compile: impl FnOnce() -> rusqlite::Result<Touched>,
    ) -> rusqlite::Result<Arc<Touched>> {
        if let Some(known) = self.checked.borrow().get(key) {
            return Ok(Arc::clone(known));
        }
        let touched = Arc::new(compile()?);
        self.checked.borrow_mut().insert(key.to_owned(), Arc::clone(&touched));
        Ok(touched)
    }

    fn prepare_and_note(&self, sql: &str) -> rusqlite::Result<Touched> {
        lock(&self.bounds).touched = Touched::default();
        let is_read_only = self.inside(|connection| connection.prepare(sql).map(|statement| statement.readonly()))?;
        Ok(Touched {
            is_read_only,
            ..std::mem::take(&mut lock(&self.bounds).touched)
        })
    }

    /// What an error means, where the sandbox had a part in it.
    pub(crate) fn explain(&self, error: rusqlite::Error) -> SqlError {
        match self.refusal() {
            Some(why) => SqlError::lasting(format!("the SQL was refused: {why}")),
            None => error.into(),
        }
    }

    /// Forgets a refusal that was met while looking around.
    pub(super) fn forget_refusal(&self) {
        lock(&self.bounds).refused = None;
    }

    /// Why something was refused, where it was.
    pub(super) fn refusal(&self) -> Option<String> {
        lock(&self.bounds).refused.clone()
    }
}

fn lock(bounds: &Mutex<Bounds>) -> MutexGuard<'_, Bounds> {
    bounds.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DerefMut for Sandbox {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Deref for Sandbox {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
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
        let sandbox = Sandbox::around(connection).unwrap();
        let delete = || {
            sandbox.inside(|connection| {
                connection
                    .prepare_cached("DELETE FROM a WHERE id IN (SELECT id FROM b)")
                    .and_then(|mut statement| statement.execute([]))
            })
        };
        sandbox.admit(&["a", "b"]).unwrap();
        assert_eq!(delete().unwrap(), 1);
        sandbox.admit(&["a"]).unwrap();
        let error = sandbox.explain(delete().unwrap_err());
        assert!(
            error.message.contains("it reads `b`, which is not named in `tables`"),
            "{error:?}"
        );
        sandbox.admit(&["a", "b"]).unwrap();
        assert_eq!((delete().unwrap(), sandbox.refusal()), (0, None));
    }
}
