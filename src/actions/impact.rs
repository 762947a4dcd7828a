//! What a deletion reaches beyond the rows it selects, as SQLite reports it while compiling; and so how it may be done.

use std::collections::BTreeSet;

use super::fence::Fenced;
use super::functions::NOT_OF_THE_ROW;
use super::row_key::RowKey;
use super::ties::{ForeignKey, foreign_keys};

/// How a deletion is done, so that the same rows go as by one plain statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In batches; each row is looked at again by the condition, which reads nothing but the row.
    ByRow,
    /// In batches of keys that are taken once; a row stays if one of these columns has changed since.
    ByKeys(Vec<String>),
    /// As one statement: what goes first changes what becomes of the rest.
    AtOnce,
}

/// What a deletion reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Impact {
    pub way: Way,
    /// Whether more goes or changes than the rows themselves.
    pub spreads: bool,
}

/// The statement that finds out what a condition reads.
pub(super) fn search(table: &str, condition: &str) -> String {
    format!("SELECT 1 FROM \"{table}\" WHERE ({condition}\n)")
}

/// The statement that deletes everything the condition selects.
pub(super) fn plain(table: &str, condition: &str) -> String {
    format!("DELETE FROM \"{table}\" WHERE ({condition}\n)")
}

/// What deleting from `table` what `condition` selects reaches.
pub(super) fn impact(fenced: &Fenced, table: &str, condition: &str, key: &RowKey) -> rusqlite::Result<Impact> {
    let table = table.to_lowercase();
    let found = fenced.touched_alone(&search(&table, condition))?;
    let whole = fenced.touched(&plain(&table, condition))?;
    let mut written = whole.writes.clone();
    // The statement itself.
    if let Some(own) = written.iter().position(|name| *name == table) {
        written.swap_remove(own);
    }
    let written: BTreeSet<String> = written.into_iter().collect();
    let subqueries = found.selects.saturating_sub(1);
    // Triggers that look at tables may see what other rows left of them.
    let triggers_look = whole.selects > subqueries;
    let at_once = !key.tells_rows_apart()
        || written.contains(&table)
        || triggers_look
        || is_entangled(&foreign_keys(fenced)?, &table, &written);
    let columns = || {
        found
            .columns
            .iter()
            .filter(|(of, name)| *of == table && !name.is_empty())
    };
    let reads_only_itself = subqueries == 0 && found.columns.iter().all(|(of, _)| *of == table);
    let is_steady = !found
        .functions
        .iter()
        .any(|name| NOT_OF_THE_ROW.contains(&name.as_str()));
    let way = if at_once {
        Way::AtOnce
    } else if reads_only_itself && is_steady {
        Way::ByRow
    } else {
        Way::ByKeys(columns().map(|(_, name)| name.clone()).collect())
    };
    Ok(Impact {
        way,
        spreads: !written.is_empty(),
    })
}

/// Whether foreign keys tie rows together that go with different rows of `table`: then it matters what goes first, but
/// where children only follow their one parent.
fn is_entangled(keys: &[ForeignKey], table: &str, written: &BTreeSet<String>) -> bool {
    let goes = |name: &String| name == table || written.contains(name);
    let among: Vec<&ForeignKey> = keys
        .iter()
        .filter(|key| goes(&key.child) && goes(&key.parent))
        .collect();
    among.iter().any(|key| {
        let parents = among.iter().filter(|other| other.child == key.child).count();
        !key.cascades || key.child == table || parents > 1
    })
}
