//! What a run would do now, found by reading alone, inside the fence that a run has.

use serde_json::json;

use super::examination::Examination;
use super::fence::Fenced;
use super::misfit::in_words;
use super::session::{Parameters, Session, bind};
use super::statement::Declared;
use super::{Failure, Workbench};
use crate::values::Parameter;

/// What a run would do now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Forecast {
    /// For people.
    pub lines: Vec<String>,
    /// For programs.
    pub json: serde_json::Value,
    /// Why a run would fail, where it would.
    pub refusal: Option<String>,
}

/// What a run that deletes from `table` what was found would do.
pub(super) fn of_deletion(
    declared: &Declared<'_>,
    table: &str,
    session: &Session<'_>,
    found: &Examination<'_>,
) -> Result<Forecast, Failure> {
    let access = access(session.connection, &declared.sql, &session.parameters, Some(table))
        .map_err(|error| session.connection.explain(error))?;
    let (rows, total) = (found.rows, found.total(session)?);
    let percent = if total == 0 { 0.0 } else { percentage(rows, total) };
    // Finding them, and 5 to 25 µs for each row that goes: in the order of the table, or scattered over it.
    let [least, most] = [5e-6, 25e-6].map(|each| found.search.as_secs_f64() + each * precise(rows));
    let seconds = f64::midpoint(least, most);
    let time = if most < 2.0 {
        "within 2 s".to_owned()
    } else {
        format!("in about {least:.0} to {most:.0} s")
    };
    let cutoff = session.parameters.get("cutoff").map(ToString::to_string);
    let ends = found.ends.first().map(|(comparison, held)| {
        let text = |value| (!matches!(value, &rusqlite::types::Value::Null)).then(|| in_words(value));
        (comparison.held, text(&held.oldest), text(&held.newest))
    });
    let refusal = found.refusal();
    let mut lines = vec![match &refusal {
        None => format!("{rows} of {total} rows of {table} would go ({percent:.1} %), {time}"),
        Some(_) => format!("{rows} of {total} rows of {table} are selected ({percent:.1} %), but none would go"),
    }];
    lines.extend(refusal.iter().map(|why| format!("the run would fail: {why}")));
    if let Some((column, Some(oldest), Some(newest))) = &ends {
        lines.push(format!("{column} from {oldest} to {newest}"));
    }
    lines.extend(cutoff.as_ref().map(|cutoff| format!("cutoff {cutoff}")));
    lines.push(access.words.clone());
    let (column, oldest, newest) = ends.unwrap_or_default();
    let json = json!({
        "table": table, "rows": rows, "total": total, "share": percent / 100.0, "column": column, "oldest": oldest,
        "newest": newest, "cutoff": cutoff, "access": access.words, "uses_index": access.by_index,
        "estimated_seconds": (seconds * 1000.0).round() / 1000.0, "refusal": refusal,
    });
    Ok(Forecast { lines, json, refusal })
}

/// What can be told of a statement of any kind: how it finds its rows.
pub(super) fn of_statement(
    declared: &Declared<'_>,
    session: &Session<'_>,
    refusal: Option<String>,
) -> Result<Forecast, Failure> {
    let access = access(session.connection, &declared.sql, &session.parameters, None)
        .map_err(|error| session.connection.explain(error))?;
    let cutoff = session.parameters.get("cutoff").map(ToString::to_string);
    let mut lines = vec!["how many rows a statement changes is known only when it is run".to_owned()];
    lines.extend(refusal.iter().map(|why| format!("the run would fail: {why}")));
    lines.extend(cutoff.as_ref().map(|cutoff| format!("cutoff {cutoff}")));
    lines.push(access.words.clone());
    let json = json!({ "cutoff": cutoff, "access": access.words, "uses_index": access.by_index, "refusal": refusal });
    Ok(Forecast { lines, json, refusal })
}

/// How a statement finds its rows.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// In words.
    pub words: String,
    /// Whether an index serves the search.
    pub by_index: bool,
}

/// How a statement finds its rows: by an index, or by a scan of the whole table.
pub(super) fn access(
    connection: &Fenced,
    sql: &str,
    parameters: &Parameters,
    table: Option<&str>,
) -> rusqlite::Result<Access> {
    // Never a kept one: SQLite does not see that what it only explains has changed.
    let explained = format!("EXPLAIN QUERY PLAN {sql}");
    let mut statement = connection.inside(|connection| connection.prepare(&explained))?;
    bind(&mut statement, parameters, &[])?;
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
    let scan = of_table.iter().find(|step| step.starts_with("SCAN"));
    let words = match (scan, of_table.first()) {
        (Some(step), _) => format!("full scan: {step}"),
        (None, Some(step)) => format!("found by index: {step}"),
        (None, None) => "no search".to_owned(),
    };
    Ok(Access {
        words,
        by_index: scan.is_none(),
    })
}

/// How long a dry run may take.
pub(super) const LONGEST: std::time::Duration = std::time::Duration::from_secs(20);

/// Why a dry run cannot be told: what went wrong, or that it took too long.
pub(super) fn why_not(failure: Failure, bench: &Workbench<'_>) -> Failure {
    match bench.stop.asked() {
        Some(_) => Failure::lasting(format!("it takes longer than {} s to find out", LONGEST.as_secs())),
        None => failure,
    }
}

/// What stands for `:batch` in a dry run: rounds go on until nothing is left.
pub(super) const ALL: Parameter = Parameter::Integer(i64::MAX);

#[expect(clippy::cast_precision_loss, reason = "a count of rows, shown rounded")]
fn precise(count: i64) -> f64 {
    count as f64
}

/// How much of the whole a part is, in percent.
pub(super) fn percentage(part: i64, whole: i64) -> f64 {
    100.0 * precise(part) / precise(whole)
}
