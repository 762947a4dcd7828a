//! What a deletion would do now, found by reading alone.

use std::time::Instant;

use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

use super::statement::{Declared, Parameters, bind};
use super::{Failure, Workbench};
use crate::store::sqlite::open_read;
use crate::values::Parameter;

/// What a run would do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// For people.
    pub lines: Vec<String>,
    /// For programs.
    pub json: serde_json::Value,
}

/// What deleting from `table` the rows that `condition` selects would do.
pub(super) fn of_deletion(
    declared: &Declared<'_>,
    table: &str,
    condition: &str,
    bench: &Workbench<'_>,
) -> Result<Forecast, Failure> {
    let mut connection = open_read(bench.database)?;
    bench.stop.govern(&mut connection, bench.busy_timeout)?;
    let mut parameters = declared.parameters(&connection, bench)?;
    // Rounds go on until nothing is left.
    parameters.insert("batch", Parameter::Integer(i64::MAX));
    let column = column_of(&connection, table, condition)?;
    let ends = column.as_ref().map_or("NULL, NULL".to_owned(), |column| {
        format!("min(\"{column}\"), max(\"{column}\")")
    });
    let began = Instant::now();
    let (rows, oldest, newest) = {
        let mut statement =
            connection.prepare(&format!("SELECT count(*), {ends} FROM \"{table}\" WHERE {condition}"))?;
        bind(&mut statement, &parameters)?;
        let mut found = statement.raw_query();
        let row = found.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let text = |index| row.get_ref(index).map(in_words);
        (row.get::<_, i64>(0)?, text(1)?, text(2)?)
    };
    let search = began.elapsed();
    let total: i64 = connection.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0))?;
    let access = access(&connection, &declared.sql, &parameters, Some(table))?;
    let percent = if total == 0 { 0.0 } else { percentage(rows, total) };
    // Finding them, and about 6 µs for each row that goes, half of the time being left to others.
    let seconds = search.as_secs_f64() + 12e-6 * precise(rows);
    let cutoff = parameters.get("cutoff").map(ToString::to_string);
    let mut lines = vec![format!(
        "{rows} of {total} rows of {table} would go ({percent:.1} %), in about {seconds:.1} s"
    )];
    if let (Some(column), Some(oldest), Some(newest)) = (&column, &oldest, &newest) {
        lines.push(format!("{column} from {oldest} to {newest}"));
    }
    lines.extend(cutoff.as_ref().map(|cutoff| format!("cutoff {cutoff}")));
    lines.push(access.words.clone());
    let json = json!({
        "table": table, "rows": rows, "total": total, "share": percent / 100.0, "column": column, "oldest": oldest,
        "newest": newest, "cutoff": cutoff, "access": access.words, "uses_index": access.by_index,
        "estimated_seconds": (seconds * 1000.0).round() / 1000.0,
    });
    Ok(Forecast { lines, json })
}

/// What can be told of a statement of any kind: how it finds its rows.
pub(super) fn of_statement(declared: &Declared<'_>, bench: &Workbench<'_>) -> Result<Forecast, Failure> {
    let connection = open_read(bench.database)?;
    let parameters = declared.parameters(&connection, bench)?;
    let access = access(&connection, &declared.sql, &parameters, None)?;
    let cutoff = parameters.get("cutoff").map(ToString::to_string);
    let mut lines = vec!["how many rows a statement changes is known only when it is run".to_owned()];
    lines.extend(cutoff.as_ref().map(|cutoff| format!("cutoff {cutoff}")));
    lines.push(access.words.clone());
    let json = json!({ "cutoff": cutoff, "access": access.words, "uses_index": access.by_index });
    Ok(Forecast { lines, json })
}

/// How a statement finds its rows.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// In words.
    pub words: String,
    /// Whether an index serves the search.
    pub by_index: bool,
    /// Whether the condition looks at the table itself once more.
    pub looks: bool,
}

/// How a statement finds its rows: by an index, or by a scan of the whole table.
pub(super) fn access(
    connection: &Connection,
    sql: &str,
    parameters: &Parameters,
    table: Option<&str>,
) -> rusqlite::Result<Access> {
    // Never a kept one: SQLite does not see that what it only explains has changed.
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    bind(&mut statement, parameters)?;
    let mut steps = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        steps.push(row.get::<_, String>(3)?);
    }
    let is_of_table = |step: &&String| {
        let mut words = step.split(' ');
        let is_search = matches!(words.next(), Some("SCAN" | "SEARCH"));
        is_search && table.is_none_or(|table| words.next().is_some_and(|name| name.eq_ignore_ascii_case(table)))
    };
    let of_table: Vec<&String> = steps.iter().filter(is_of_table).collect();
    // A table under another name is the table as well.
    let mentions = table.map_or(0, |table| {
        let lower = sql.to_lowercase();
        lower.matches(&table.to_lowercase()).count()
    });
    let scan = of_table.iter().find(|step| step.starts_with("SCAN"));
    let words = match (scan, of_table.first()) {
        (Some(step), _) => format!("full scan: {step}"),
        (None, Some(step)) => format!("found by index: {step}"),
        (None, None) => "no search".to_owned(),
    };
    Ok(Access {
        words,
        by_index: scan.is_none(),
        looks: of_table.len() > 1 || (mentions > 1 && sql.to_lowercase().contains("select")),
    })
}

/// The first column of `table` that the condition speaks of.
fn column_of(connection: &Connection, table: &str, condition: &str) -> rusqlite::Result<Option<String>> {
    let words = condition.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    for word in words.filter(|word| !word.is_empty()) {
        let found: Option<String> = connection
            .prepare_cached("SELECT name FROM pragma_table_info(?1) WHERE name = ?2 COLLATE NOCASE")?
            .query_row([table, word], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn in_words(value: rusqlite::types::ValueRef<'_>) -> Option<String> {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null | ValueRef::Blob(_) => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows, shown rounded")]
fn precise(count: i64) -> f64 {
    count as f64
}

fn percentage(part: i64, whole: i64) -> f64 {
    100.0 * precise(part) / precise(whole)
}
