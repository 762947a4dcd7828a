//! What a deletion reaches beyond the rows it selects, as SQLite reports it while compiling; and so how it may be done.

use std::collections::BTreeSet;

use super::Sandbox;
use super::functions::NOT_OF_THE_ROW;
use super::row_key::RowKey;
use super::sandbox::Written;
use super::schema::{ForeignKey, foreign_keys, triggers};
use super::tokens::tokens;

/// How a deletion is done, so that the same rows go as by one plain statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In batches; each row is looked at again by the condition, which reads nothing but the row.
    ByRow,
    /// In batches of keys that are taken once, for the condition reads more than the row.
    ByKeys,
    /// As one statement: what goes first changes what becomes of the rest.
    AtOnce,
}

/// What a deletion reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Impact {
    pub way: Way,
    /// Whether more goes or changes than the rows themselves.
    pub spreads: bool,
}

/// The statement that finds out what a condition reads.
pub(crate) fn search(table: &str, condition: &str) -> String {
    format!("SELECT 1 FROM \"{table}\" WHERE ({condition}\n)")
}

/// The statement that deletes everything the condition selects.
pub(crate) fn plain(table: &str, condition: &str) -> String {
    format!("DELETE FROM \"{table}\" WHERE ({condition}\n)")
}

/// What deleting from `table` what `condition` selects reaches.
pub(crate) fn impact(sandbox: &Sandbox, table: &str, condition: &str, key: &RowKey) -> rusqlite::Result<Impact> {
    let found = sandbox.touched_alone(&search(table, condition))?;
    let whole = sandbox.touched(&plain(table, condition))?;
    let table = table.to_ascii_lowercase();
    let mut written = whole.writes.clone();
    // The statement itself.
    if let Some(own) = written.iter().position(|write| *write == Written::Rows(table.clone())) {
        written.swap_remove(own);
    }
    let tables: BTreeSet<&str> = written.iter().map(Written::table).collect();
    let subqueries = found.selects.saturating_sub(1);
    let is_of_itself = found.columns.iter().all(|(of, _)| *of == table);
    let reads_only_itself = subqueries == 0 && is_of_itself && !may_hold_query(condition);
    // What a generated column is made of is not reported.
    let reads_unseen = has_generated_columns(sandbox, &table)?;
    // Rows of the table that go with others change nothing for those that are left, nor do columns that are not read.
    let is_harmless = |write: &Written| match write {
        Written::Rows(of) => *of != table || reads_only_itself,
        Written::Column(of, column) => {
            let is_read = reads_unseen || found.columns.contains(&(of.clone(), column.clone()));
            *of != table || (reads_only_itself && !is_read)
        }
        Written::New(of) => *of != table,
    };
    // Triggers that look at tables may see what other rows left of them.
    let fires = |of: &String| *of == table || tables.contains(of.as_str());
    let triggers = triggers(sandbox)?;
    let triggers_look = whole.selects > subqueries || triggers.iter().any(|(of, sql)| fires(of) && may_hold_query(sql));
    let refuses = triggers.iter().any(|(of, sql)| fires(of) && may_refuse(sql));
    let at_once = !key.tells_rows_apart()
        || !written.iter().all(is_harmless)
        || triggers_look
        || is_entangled(&foreign_keys(sandbox)?, &table, &tables, refuses);
    let is_steady = !found
        .functions
        .iter()
        .any(|name| NOT_OF_THE_ROW.contains(&name.as_str()));
    let way = match (at_once, reads_only_itself && is_steady) {
        (true, _) => Way::AtOnce,
        (false, true) => Way::ByRow,
        (false, false) => Way::ByKeys,
    };
    Ok(Impact {
        way,
        spreads: !written.is_empty(),
    })
}

/// Whether a query may stand in `sql`: SQLite does not report one that an index answers. There is none without SELECT,
/// where every IN is followed by a list.
fn may_hold_query(sql: &str) -> bool {
    let tokens = tokens(sql);
    let next_is_bracket = |at: usize| tokens.get(at + 1).is_some_and(|next| next.is("("));
    tokens
        .iter()
        .enumerate()
        .any(|(at, token)| token.is("select") || (token.is("in") && !next_is_bracket(at)))
}

fn has_generated_columns(sandbox: &Sandbox, table: &str) -> rusqlite::Result<bool> {
    sandbox
        .prepare_cached("SELECT count(*) > 0 FROM pragma_table_xinfo(?1) WHERE hidden IN (2, 3)")?
        .query_row([table], |row| row.get(0))
}

/// Whether a trigger may keep a row from going.
fn may_refuse(sql: &str) -> bool {
    tokens(sql).iter().any(|token| token.is("raise"))
}

/// Whether foreign keys may forbid that a row goes, or that rows which go together go one after the other: then all go
/// or none. So they do where a trigger keeps a row from following the one that it refers to.
fn is_entangled(keys: &[ForeignKey], table: &str, written: &BTreeSet<&str>, refuses: bool) -> bool {
    let goes = |name: &String| name == table || written.contains(name.as_str());
    keys.iter().any(|key| goes(&key.parent) && (!key.follows || refuses))
}
