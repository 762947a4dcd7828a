//! The sandbox that declared SQL runs in: an authorizer that lets a statement touch the tables it names, and nothing else,
//! whatever stands between (views, CTEs, aliases, triggers). It also tells what a statement touches, as SQLite reports
//! it while compiling.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use super::functions::LONGEST_VALUE;
use super::{SqlError, functions, schema};
use crate::values::lock;

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
    small_changes: Cell<u32>,
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
            small_changes: Cell::default(),
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
            .prepare_cached("PRAGMA schema_version")?
            .query_row([], |row| row.get(0))?;
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

    /// Runs a statement of our own, which is kept compiled.
    pub(super) fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.raw_execute().map(drop)
    }

    /// Whether it is time to look at the write-ahead log after a small change: not after each.
    pub(crate) fn is_time_to_look_at_the_log(&self) -> bool {
        const EACH: u32 = 16;
        let changes = self.small_changes.get() + 1;
        self.small_changes.set(changes % EACH);
        changes == EACH
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

/// Tables without any data of their own.
const PURE: &[&str] = &["json_each", "json_tree"];
/// What full-text and R*Tree tables ask for themselves; both only tell.
const HARMLESS_PRAGMAS: &[&str] = &["data_version", "page_size"];
/// A table of our own, for the keys of rows that are to go.
pub(super) const KEYS: &str = "duplistatus_cron_keys";

/// What declared SQL may touch, and what it did.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// What changes when the schema does.
    pub schema_version: i64,
    pub tables: BTreeSet<String>,
    /// The tables behind full-text and other virtual tables that are named.
    pub shadows: BTreeSet<String>,
    /// Columns that SQLite reads when it looks after foreign keys of the tables named.
    pub key_columns: BTreeSet<(String, String)>,
    /// Everything that has a name, so that a CTE is known to be none of it.
    pub known: BTreeSet<String>,
    /// Whether only what the statement itself says is looked at.
    pub alone: bool,
    pub refused: Option<String>,
    pub touched: Touched,
}

/// Something that is written, its names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Rows(String),
    /// Rows come to a table, perhaps in the place of others.
    New(String),
    Column(String, String),
}

impl Written {
    pub(super) fn table(&self) -> &str {
        match self {
            Self::Rows(table) | Self::New(table) | Self::Column(table, _) => table,
        }
    }
}

/// What a statement touches, as SQLite reports it while compiling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// SELECTs, the statement itself included where it is one.
    pub selects: usize,
    /// Columns read, by table and name in lower case; no name where only rows count.
    pub columns: BTreeSet<(String, String)>,
    /// What is written, once for each statement, trigger step and cascade that writes.
    pub writes: Vec<Written>,
    pub is_read_only: bool,
    pub functions: BTreeSet<String>,
}

impl Touched {
    pub(super) fn note(&mut self, action: &AuthAction<'_>) {
        match action {
            AuthAction::Select => self.selects += 1,
            AuthAction::Read {
                table_name,
                column_name,
            } => {
                self.columns
                    .insert((table_name.to_ascii_lowercase(), column_name.to_ascii_lowercase()));
            }
            AuthAction::Delete { table_name } => self.writes.push(Written::Rows(table_name.to_ascii_lowercase())),
            AuthAction::Insert { table_name } => self.writes.push(Written::New(table_name.to_ascii_lowercase())),
            AuthAction::Update {
                table_name,
                column_name,
            } => {
                let (table, column) = (table_name.to_ascii_lowercase(), column_name.to_ascii_lowercase());
                self.writes.push(Written::Column(table, column));
            }
            AuthAction::Function { function_name } => {
                self.functions.insert(function_name.to_ascii_lowercase());
            }
            _ => {}
        }
    }
}

impl Bounds {
    /// Whether `table` is named, or belongs to one that is.
    fn is_named(&self, table: &str) -> bool {
        let table = table.to_ascii_lowercase();
        self.tables.contains(&table) || self.shadows.contains(&table)
    }

    fn may_read(&self, table: &str, column: &str) -> bool {
        let (table, column) = (table.to_ascii_lowercase(), column.to_ascii_lowercase());
        if self.is_named(&table) || PURE.contains(&table.as_str()) {
            return true;
        }
        // The rows of a CTE, which is not a table.
        let is_of_sqlite = ["sqlite_", "pragma_"].iter().any(|start| table.starts_with(start));
        let is_nothing = column.is_empty() && !is_of_sqlite && !self.known.contains(&table);
        is_nothing || (!self.alone && self.key_columns.contains(&(table, column)))
    }

    /// Why an action is not allowed, where it is not.
    pub(super) fn refusal(&self, context: &AuthContext<'_>) -> Option<String> {
        let through = || {
            context
                .accessor
                .map_or_else(String::new, |name| format!(" (through `{name}`)"))
        };
        let unnamed = |verb: &str, table: &str| {
            Some(format!(
                "it {verb} `{table}`{}, which is not named in `tables`",
                through()
            ))
        };
        let is_ours = |table: &str| context.database_name == Some("temp") && table == KEYS;
        match context.action {
            AuthAction::Read { table_name, .. }
            | AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
                if is_ours(table_name) =>
            {
                None
            }
            AuthAction::Read {
                table_name,
                column_name,
            } if !self.may_read(table_name, column_name) => unnamed("reads", table_name),
            AuthAction::Delete { table_name } if !self.is_named(table_name) => unnamed("deletes from", table_name),
            AuthAction::Insert { table_name } if !self.is_named(table_name) => unnamed("inserts into", table_name),
            AuthAction::Update { table_name, .. } if !self.is_named(table_name) => unnamed("updates", table_name),
            AuthAction::Read { .. }
            | AuthAction::Delete { .. }
            | AuthAction::Insert { .. }
            | AuthAction::Update { .. }
            | AuthAction::Select => None,
            AuthAction::Function { function_name } => functions::refusal(function_name),
            AuthAction::Recursive => Some("it is recursive, and might never end".to_owned()),
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
                Some("it attaches or detaches a database".to_owned())
            }
            AuthAction::Pragma {
                pragma_name,
                pragma_value: None,
            } if HARMLESS_PRAGMAS.contains(&pragma_name) => None,
            AuthAction::Pragma { pragma_name, .. } => Some(format!("it sets or reads PRAGMA {pragma_name}")),
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
                Some("it begins or ends a transaction, which only the service does".to_owned())
            }
            _ => Some("it changes the schema".to_owned()),
        }
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
