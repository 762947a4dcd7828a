//! What a server says of a statement by EXPLAIN: which tables it touches, and whether an index finds the rows. That also
//! checks the rights of the role, and refuses whatever is not a query or a change of rows.

use serde_json::Value;

use super::session::ServerSession;
use crate::postgres::{PostgresError, Raw, Row};

/// What a statement does to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Read,
    Insert,
    Update,
    Delete,
    Merge,
}

/// A table that a statement touches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Touched {
    pub schema: String,
    pub table: String,
    pub operation: Operation,
}

/// How the rows of the first table are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub words: String,
    pub by_index: bool,
    /// The index, and the condition it answers, where one index finds them.
    pub index: Option<(String, String)>,
    /// Whether the statement itself changes rows, and not only a part of it.
    pub is_write: bool,
}

/// How the server would run `sql`, within a transaction that changes nothing.
pub(crate) fn access(session: &mut ServerSession, sql: &str) -> Result<Access, PostgresError> {
    let explain = format!("EXPLAIN (VERBOSE, FORMAT JSON) {sql}");
    let rows = session.read(&explain)?;
    let plan = plan_of(&rows);
    let mut found = Access {
        is_write: plan["Node Type"] == "ModifyTable",
        ..Access::default()
    };
    let mut scans = Vec::new();
    walk(&plan, &mut Vec::new(), &mut scans);
    let is_scan = |scan: &&Scan| scan.index.is_none();
    match (scans.iter().find(is_scan), scans.first()) {
        (Some(scan), _) => found.words = format!("full scan: {}", scan.table),
        (None, Some(scan)) => {
            let (name, condition) = scan.index.clone().unwrap_or_default();
            let words = format!("found by index: {name} on {} {condition}", scan.table);
            words.trim_end().clone_into(&mut found.words);
            found.by_index = true;
        }
        (None, None) => {
            "no search".clone_into(&mut found.words);
            found.by_index = true;
        }
    }
    if let [scan] = scans.as_slice() {
        found.index.clone_from(&scan.index);
    }
    Ok(found)
}

/// Every table that `sql` touches, whatever its parameters are.
pub(super) fn touched(session: &mut ServerSession, sql: &str) -> Result<Vec<Touched>, PostgresError> {
    let rows = session.reading(|session| {
        // What depends on a parameter is left out otherwise, where the one it is explained with decides against it.
        session.run("SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_partition_pruning = off")?;
        session.explain_prepared(sql)
    })?;
    let mut touched = Vec::new();
    walk(&plan_of(&rows), &mut touched, &mut Vec::new());
    touched.sort();
    touched.dedup();
    Ok(touched)
}

fn plan_of(rows: &[Row]) -> Value {
    let text: Raw = rows.first().and_then(|row| row.try_get(0).ok()).unwrap_or_default();
    let mut plans: Value = serde_json::from_str(&text.0).unwrap_or_default();
    plans[0]["Plan"].take()
}

/// A search of a table, and the index that serves it with its condition.
struct Scan {
    table: String,
    index: Option<(String, String)>,
}

fn walk(node: &Value, touched: &mut Vec<Touched>, scans: &mut Vec<Scan>) {
    let text = |key: &str| node[key].as_str().map(str::to_owned);
    if let (Some(schema), Some(table)) = (text("Schema"), text("Relation Name")) {
        let operation = match node["Operation"].as_str() {
            Some("Insert") => Operation::Insert,
            Some("Update") => Operation::Update,
            Some("Delete") => Operation::Delete,
            Some("Merge") => Operation::Merge,
            _ => Operation::Read,
        };
        if operation == Operation::Read {
            scans.push(Scan {
                table: table.clone(),
                index: index_of(node),
            });
        }
        touched.push(Touched {
            schema,
            table,
            operation,
        });
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        walk(child, touched, scans);
    }
}

/// The index by which a scan finds its rows; one that only gives them in its order finds none.
fn index_of(node: &Value) -> Option<(String, String)> {
    let condition = |node: &Value| node["Index Cond"].as_str().map(str::to_owned);
    match node["Node Type"].as_str()? {
        "Index Scan" | "Index Only Scan" => Some((node["Index Name"].as_str()?.to_owned(), condition(node)?)),
        "Bitmap Heap Scan" => {
            let child = node["Plans"].as_array()?.first()?;
            let name = child["Index Name"].as_str().unwrap_or("several indexes");
            Some((name.to_owned(), condition(child).unwrap_or_default()))
        }
        "Tid Scan" | "Tid Range Scan" => Some(("ctid".to_owned(), String::new())),
        _ => None,
    }
}
