//! Comparisons with a point in time held against what the column really holds. A cutoff in another format than the
//! column's compares as smaller or larger than all of it, and so would select every row.

use jiff::{SignedDuration, Timestamp};
use rusqlite::OptionalExtension;
use rusqlite::types::{Value, ValueRef};

use super::Sandbox;
use super::comparison::Comparison;
use super::moment::{Fit, Look, time_of};
use super::session::{Parameters, bind};
use super::tokens::tokens;

/// A column whose newest value is older than what it is compared with by more than this has not been written for
/// long, or the clock is wrong.
const LONG_UNWRITTEN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What is looked at besides the ends: what they hold may stand for "never" or "not yet".
const SAMPLE: usize = 100;
/// The same of rows that are to go.
const SAMPLE_OF_ROWS: usize = 1000;

/// What a table holds on one side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub table: String,
    /// The smallest value but NULL.
    pub oldest: Value,
    /// The largest.
    pub newest: Value,
    pub time: Value,
    /// Some of the values, none of them NULL.
    some: Vec<Value>,
    /// Whether SQLite takes numbers and their texts for the same in this comparison.
    converts: bool,
}

impl Comparison<'_> {
    /// What the first of the tables in question holds that has what the comparison speaks of; `None` where none has.
    pub(crate) fn held(&self, sandbox: &Sandbox, parameters: &Parameters) -> rusqlite::Result<Option<Held>> {
        for table in &self.tables {
            let (held, time) = (without_table(self.held), self.time);
            // Two searches, for an index serves one end at a time.
            let ends = format!(
                "SELECT (SELECT min({held}) FROM \"{table}\"), (SELECT max({held}) FROM \"{table}\"),
                 (SELECT {time} FROM \"{table}\" LIMIT 1)"
            );
            let Some(ends) = values(sandbox, &ends, parameters, 3)? else {
                continue;
            };
            let sample = format!("SELECT {held} FROM \"{table}\" WHERE ({held}) IS NOT NULL LIMIT {SAMPLE}");
            let some = values(sandbox, &sample, parameters, 1)?.unwrap_or_default();
            if let [oldest, newest, time] = ends.as_slice() {
                return Ok(Some(Held {
                    table: (*table).to_owned(),
                    oldest: oldest.clone(),
                    newest: newest.clone(),
                    time: time.clone(),
                    some,
                    converts: converts(sandbox, table, held)?,
                }));
            }
        }
        Ok(None)
    }

    /// What is held, in the place of `held`, by the rows of `table` that `condition` selects.
    pub(crate) fn held_by(
        &self,
        sandbox: &Sandbox,
        held: &Held,
        condition: &str,
        parameters: &Parameters,
    ) -> rusqlite::Result<Held> {
        let (column, table) = (self.held, &held.table);
        let ends = format!("SELECT min({column}), max({column}) FROM \"{table}\" WHERE ({condition}\n)");
        let sample = format!(
            "SELECT {column} FROM \"{table}\" WHERE ({condition}\n) AND ({column}) IS NOT NULL LIMIT {SAMPLE_OF_ROWS}"
        );
        let ends = values(sandbox, &ends, parameters, 2)?.unwrap_or_default();
        let mut ends = ends.into_iter();
        Ok(Held {
            oldest: ends.next().unwrap_or(Value::Null),
            newest: ends.next().unwrap_or(Value::Null),
            some: values(sandbox, &sample, parameters, 1)?.unwrap_or_default(),
            ..held.clone()
        })
    }

    /// Whether it compares with a parameter that `cutoff_format` writes.
    fn is_of_cutoff(&self) -> bool {
        self.time.contains(":cutoff")
    }

    /// Why the comparison says nothing, where no value of the column can be compared with the time.
    pub(crate) fn misfit(&self, held: &Held) -> Option<String> {
        // What is written by a parameter is written to the second.
        let enough = if self.time.contains(':') { Fit::Yes } else { Fit::Nearly };
        let best = held.fits().map(|(fit, _)| fit).max()?;
        (best < enough).then(|| self.in_words(held, &held.newest))
    }

    /// Why rows that are to go cannot be meant, where what one of them holds cannot be compared with the time.
    pub(crate) fn misfit_of_rows(&self, rows: &Held) -> Option<String> {
        let (_, odd) = rows.fits().find(|(fit, _)| *fit == Fit::No)?;
        Some(self.in_words(rows, odd))
    }

    fn in_words(&self, held: &Held, example: &Value) -> String {
        let sentence = format!(
            "`{}` holds {}, which cannot be compared with `{}`, {}",
            self.held,
            in_words(example),
            self.time,
            in_words(&held.time)
        );
        let fitting = Look::of(example).and_then(Look::format).filter(|_| self.is_of_cutoff());
        match fitting {
            Some(format) => format!("{sentence}; `cutoff_format = \"{format}\"` would fit"),
            None => format!("{sentence}; write both in one format"),
        }
    }

    /// How long ago the newest value was, counted from the time of the comparison, where that is suspiciously long.
    pub(crate) fn long_unwritten(&self, held: &Held) -> Option<SignedDuration> {
        let (time, newest): (Timestamp, Timestamp) = (time_of(&held.time)?, time_of(&held.newest)?);
        let since = time.duration_since(newest);
        (self.selects_older && since > LONG_UNWRITTEN).then_some(since)
    }
}

impl Held {
    /// How each value fits the time; nothing where that is none for sure.
    fn fits(&self) -> impl Iterator<Item = (Fit, &Value)> {
        let time = Look::of(&self.time).filter(|look| look.is_time());
        let values = [&self.oldest, &self.newest].into_iter().chain(&self.some);
        values.filter_map(move |value| Some((Look::of(value)?.fit(time?, self.converts), value)))
    }
}

/// The values of a query with `columns` columns, row after row; `None` where it does not compile: then it is of another
/// table, or not of one alone.
fn values(
    sandbox: &Sandbox,
    sql: &str,
    parameters: &Parameters,
    columns: usize,
) -> rusqlite::Result<Option<Vec<Value>>> {
    // A name in double quotes that is no column must not pass as a text.
    let Ok(mut statement) = sandbox.alone(|connection| connection.prepare(sql))? else {
        sandbox.forget_refusal();
        return Ok(None);
    };
    bind(&mut statement, parameters, &[])?;
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = sandbox.inside(|_| rows.next())? {
        for column in 0..columns {
            found.push(match row.get_ref(column)? {
                // A text need not be UTF-8.
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                other => other.try_into().unwrap_or(Value::Null),
            });
        }
    }
    Ok(Some(found))
}

/// Whether `held` is a column with a type, or is cast to one: then SQLite takes numbers and their texts for the same.
fn converts(sandbox: &Sandbox, table: &str, held: &str) -> rusqlite::Result<bool> {
    let tokens = tokens(held);
    let column = match tokens.as_slice() {
        [column] => column.text.trim_matches(['"', '`', '[', ']']),
        _ => return Ok(tokens.first().is_some_and(|token| token.is("cast"))),
    };
    let declared: Option<String> = sandbox
        .prepare("SELECT upper(type) FROM pragma_table_xinfo(?1) WHERE name = ?2 COLLATE NOCASE")?
        .query_row([table, column], |row| row.get(0))
        .optional()?;
    // The rowid is none of the columns.
    Ok(declared.is_none_or(|declared| !declared.is_empty() && !declared.contains("BLOB")))
}

/// An operand `alias.column` as it is called in the table itself.
fn without_table(held: &str) -> &str {
    match tokens(held).as_slice() {
        [_, dot, column] if dot.is(".") => column.text,
        _ => held,
    }
}

/// A value as it is shown: short, and without anything that a terminal obeys.
pub(crate) fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => {
            let shown: String = text.chars().take(40).filter(|c| !c.is_control()).collect();
            if shown.len() < text.len() {
                format!("{shown}…")
            } else {
                shown
            }
        }
        Value::Blob(_) => "bytes".to_owned(),
    }
}
