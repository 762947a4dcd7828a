//! What a run of declared SQL would do now, found by reading alone, in the sandbox that a run has.

use serde_json::json;

use super::guards::{Examination, percentage, precise};
use super::statement::Declared;
use crate::run::{DryRun, Failure};
use crate::sql::{Parameters, Session, explain, in_words, sqlite};
use crate::values::Parameter;

/// What a run that deletes from `table` what was found would do.
pub(super) fn of_deletion(
    declared: &Declared<'_>,
    table: &str,
    session: &Session<'_>,
    found: &Examination<'_>,
) -> Result<DryRun, Failure> {
    let access = explain(session.connection, &declared.sql, &session.parameters, Some(table))
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
        let text = |value| (!matches!(value, &sqlite::types::Value::Null)).then(|| in_words(value));
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
    Ok(DryRun { lines, json, refusal })
}

/// What can be told of a statement of any kind: how it finds its rows.
pub(super) fn of_statement(
    declared: &Declared<'_>,
    session: &Session<'_>,
    refusal: Option<String>,
) -> Result<DryRun, Failure> {
    let access = explain(session.connection, &declared.sql, &session.parameters, None)
        .map_err(|error| session.connection.explain(error))?;
    Ok(of_access(
        &session.parameters,
        (&access.words, access.by_index),
        refusal,
    ))
}

/// The same, once it is known how the rows are found: in words, and whether an index does.
pub(super) fn of_access(parameters: &Parameters, (words, by_index): (&str, bool), refusal: Option<String>) -> DryRun {
    let cutoff = parameters.get("cutoff").map(ToString::to_string);
    let mut lines = vec!["how many rows a statement changes is known only when it is run".to_owned()];
    lines.extend(refusal.iter().map(|why| format!("the run would fail: {why}")));
    lines.extend(cutoff.as_ref().map(|cutoff| format!("cutoff {cutoff}")));
    lines.push(words.to_owned());
    let json = json!({ "cutoff": cutoff, "access": words, "uses_index": by_index, "refusal": refusal });
    DryRun { lines, json, refusal }
}

/// What stands for `:batch` in a dry run: rounds go on until nothing is left.
pub(super) const ALL: Parameter = Parameter::Integer(i64::MAX);
