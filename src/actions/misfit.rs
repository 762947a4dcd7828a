//! Comparisons with a point in time held against what the column really holds. A cutoff in another format than the
//! column's compares as smaller or larger than all of it, and so would select every row.

use jiff::{SignedDuration, Timestamp};
use rusqlite::types::Value;

use super::comparison::Comparison;
use super::fence::Fenced;
use super::moment::{Fit, Look, time_of};
use super::session::{Parameters, bind};
use super::tokens::tokens;

/// A column whose newest value is older than what it is compared with by more than this has not been written for
/// long, or the clock is wrong.
const LONG_UNWRITTEN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What a table holds on one side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    /// The smallest value but NULL.
    pub oldest: Value,
    /// The largest.
    pub newest: Value,
    /// What it is compared with.
    pub time: Value,
}

impl Comparison<'_> {
    /// What `table` holds; `None` where it does not have what the comparison speaks of.
    pub(super) fn held(&self, fenced: &Fenced, table: &str, parameters: &Parameters) -> rusqlite::Result<Option<Held>> {
        let held = without_table(self.held);
        // Two searches, for an index serves one end at a time.
        let sql = format!(
            "SELECT (SELECT min({held}) FROM \"{table}\"), (SELECT max({held}) FROM \"{table}\"), ({})",
            self.time
        );
        ends(fenced, &sql, parameters)
    }

    /// The oldest and the newest of what `table` holds in the rows that `condition` selects.
    pub(super) fn held_by(
        &self,
        fenced: &Fenced,
        table: &str,
        condition: &str,
        parameters: &Parameters,
    ) -> rusqlite::Result<Option<Held>> {
        let Self { held, time, .. } = self;
        let sql = format!("SELECT min({held}), max({held}), ({time}) FROM \"{table}\" WHERE ({condition}\n)");
        ends(fenced, &sql, parameters)
    }

    /// Whether it compares with a parameter that `cutoff_format` writes.
    fn is_of_cutoff(&self) -> bool {
        self.time.contains(":cutoff")
    }

    /// Why the comparison says nothing, where no value of the column can be compared with the time.
    pub(super) fn misfit(&self, held: &Held) -> Option<String> {
        let time = Look::of(&held.time).filter(|look| look.is_time())?;
        let fits = [&held.oldest, &held.newest].map(|value| Look::of(value).map(|look| look.fit(time)));
        let enough = if self.is_of_cutoff() { Fit::Yes } else { Fit::Nearly };
        let best = fits.into_iter().flatten().max()?;
        (best < enough).then(|| self.in_words(held, &held.newest))
    }

    /// Why rows that are to go cannot be meant, where what one of them holds cannot be compared with the time.
    pub(super) fn misfit_of_rows(&self, rows: &Held) -> Option<String> {
        let time = Look::of(&rows.time).filter(|look| look.is_time())?;
        let odd = [&rows.oldest, &rows.newest]
            .into_iter()
            .find(|value| Look::of(value).is_some_and(|look| look.fit(time) == Fit::No))?;
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
    pub(super) fn long_unwritten(&self, held: &Held) -> Option<SignedDuration> {
        let (time, newest): (Timestamp, Timestamp) = (time_of(&held.time)?, time_of(&held.newest)?);
        let since = time.duration_since(newest);
        (self.selects_older && since > LONG_UNWRITTEN).then_some(since)
    }
}

fn ends(fenced: &Fenced, sql: &str, parameters: &Parameters) -> rusqlite::Result<Option<Held>> {
    let prepared = fenced.inside(|connection| connection.prepare(sql));
    let Ok(mut statement) = prepared else {
        // Of another table, or not of one alone.
        return Ok(None);
    };
    bind(&mut statement, parameters, &[])?;
    let mut rows = statement.raw_query();
    let Some(row) = fenced.inside(|_| rows.next())? else {
        return Ok(None);
    };
    Ok(Some(Held {
        oldest: row.get(0)?,
        newest: row.get(1)?,
        time: row.get(2)?,
    }))
}

/// An operand `alias.column` as it is called in the table itself.
fn without_table(held: &str) -> &str {
    match tokens(held).as_slice() {
        [_, dot, column] if dot.is(".") => column.text,
        _ => held,
    }
}

/// A value as it is shown: short, and without anything that a terminal obeys.
pub(super) fn in_words(value: &Value) -> String {
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
