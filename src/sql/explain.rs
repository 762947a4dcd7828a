//! How SQLite would find the rows of a statement.

use super::{Parameters, Sandbox, bind};

/// How a statement finds its rows.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub words: String,
    pub by_index: bool,
}

/// How a statement finds its rows: by an index, or by a scan of the whole table.
pub(crate) fn explain(
    connection: &Sandbox,
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
