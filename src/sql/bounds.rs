//! What declared SQL may touch, table by table, and what it does touch, as SQLite reports it while compiling.

use std::collections::BTreeSet;

use rusqlite::hooks::{AuthAction, AuthContext};

use super::functions;

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
        // The rows of a CTE, which is no table.
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
            AuthAction::Recursive => Some("it is recursive, and so may never end".to_owned()),
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
                Some("it attaches or detaches a database".to_owned())
            }
            AuthAction::Pragma {
                pragma_name,
                pragma_value: None,
            } if HARMLESS_PRAGMAS.contains(&pragma_name) => None,
            AuthAction::Pragma { pragma_name, .. } => Some(format!("it sets or reads PRAGMA {pragma_name}")),
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
                Some("it begins or ends a transaction, which is the service's own doing".to_owned())
            }
            _ => Some("it changes the schema".to_owned()),
        }
    }
}
