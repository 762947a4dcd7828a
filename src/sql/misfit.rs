//! Comparisons with a point in time held against what the column really holds. A cutoff in another format than the
//! column's compares as smaller or larger than all of it, and so would select every row. Also the formats that a point in time is stored in.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use rusqlite::OptionalExtension;
use rusqlite::types::{Value, ValueRef};

use super::Sandbox;
use super::comparison::Comparison;
use super::session::{Parameters, bind};
use super::tokens::tokens;
use crate::values::CutoffFormat;

/// A column whose newest value is older than what it is compared with by more than this has not been written for
/// long, or the clock is wrong.
pub(crate) const LONG_UNWRITTEN: SignedDuration = SignedDuration::from_hours(30 * 24);
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
    /// What a table holds, as somebody else has read it: its smallest and largest value, the time it is compared with, and
    /// some values of it.
    pub(crate) fn new(table: &str, [oldest, newest, time]: [Value; 3], some: Vec<Value>) -> Self {
        Self {
            table: table.to_owned(),
            oldest,
            newest,
            time,
            some,
            converts: false,
        }
    }

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
    // A name in double quotes that is not a column must not pass as a text.
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

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    kind: Kind,
    is_text: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970.
    Nanoseconds,
    /// Days of the Julian calendar.
    JulianDays,
    /// `2026-11-20 12:30:00`
    DateBlankTime,
    /// `2026-11-20T12:30:00Z`
    DateTTime,
    /// `2026-11-20`
    Date,
    /// A number or a text that may mean anything, such as 0 or "never".
    Other,
    /// Bytes.
    Blob,
}

/// Whether two values can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Never: which is the smaller says nothing of time.
    No,
    /// The value says nothing of its format.
    Unknown,
    /// To the day: both are dates, but the times after them are written in different ways.
    Nearly,
    /// Yes.
    Yes,
}

/// Numbers that stand for "never": the last second of the year 9999, in several units, and the largest there are.
const NEVER: &[i64] = &[
    253_402_300_799,
    253_402_300_800,
    253_402_300_799_000,
    253_402_300_799_999,
    253_402_300_800_000,
    i64::MAX,
    i64::MIN,
];

impl Look {
    /// The look of a value; `None` of NULL.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let number = |kind| Some(Self { kind, is_text: false });
        #[expect(clippy::cast_precision_loss, reason = "the magnitude is what counts")]
        match value {
            Value::Null => None,
            Value::Integer(found) if NEVER.contains(found) => number(Kind::Other),
            Value::Integer(found) => number(Kind::of_number(*found as f64)),
            Value::Real(found) => number(Kind::of_number(*found)),
            Value::Blob(_) => number(Kind::Blob),
            Value::Text(text) => Some(Self {
                kind: Kind::of_text(text),
                is_text: true,
            }),
        }
    }

    /// Whether it is a point in time for sure.
    pub(super) fn is_time(self) -> bool {
        !matches!(self.kind, Kind::Other | Kind::Blob)
    }

    /// Whether a value of this look can be compared with one that looks like `time`, which is a time. Where a column
    /// `converts`, SQLite takes numbers and their texts for the same.
    pub(super) fn fit(self, time: Self, converts: bool) -> Fit {
        let is_of_another_type = self.is_text != time.is_text && !converts;
        match (self.kind, time.kind) {
            (Kind::Blob, _) => Fit::No,
            _ if is_of_another_type => Fit::No,
            (one, other) if one == other => Fit::Yes,
            (Kind::Date, other) | (other, Kind::Date) if other.is_date() => Fit::Yes,
            (one, other) if one.is_date() && other.is_date() => Fit::Nearly,
            // A number is less than any date, whatever it means.
            (Kind::Other, other) if self.is_text || !other.is_date() => Fit::Unknown,
            _ => Fit::No,
        }
    }

    /// The `cutoff_format` that writes such values.
    pub(super) fn format(self) -> Option<CutoffFormat> {
        match self.kind {
            Kind::Seconds => Some(CutoffFormat::Unix),
            Kind::Milliseconds => Some(CutoffFormat::UnixMs),
            Kind::DateTTime => Some(CutoffFormat::Rfc3339),
            Kind::DateBlankTime | Kind::Date => Some(CutoffFormat::Sqlite),
            _ => None,
        }
    }
}

impl Kind {
    fn of_number(number: f64) -> Self {
        match number.abs() {
            2_400_000.0..2_500_000.0 => Self::JulianDays,
            1e8..1e11 => Self::Seconds,
            1e11..1e14 => Self::Milliseconds,
            1e14..1e17 => Self::Microseconds,
            1e17.. => Self::Nanoseconds,
            _ => Self::Other,
        }
    }

    fn of_text(text: &str) -> Self {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if let Some(number) = is_number.then(|| text.parse().ok()).flatten() {
            return Self::of_number(number);
        }
        let pattern: String = text
            .chars()
            .take(11)
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        match pattern.as_str() {
            "0000-00-00" => Self::Date,
            "0000-00-00 " => Self::DateBlankTime,
            "0000-00-00T" => Self::DateTTime,
            _ => Self::Other,
        }
    }

    fn is_date(self) -> bool {
        matches!(self, Self::Date | Self::DateBlankTime | Self::DateTTime)
    }
}

/// The point in time that a value means, as far as its look tells.
pub(super) fn time_of(value: &Value) -> Option<Timestamp> {
    if let Value::Text(text) = value {
        if let Ok(at) = text.parse() {
            return Some(at);
        }
        let civil: DateTime = text.trim_end_matches('Z').parse().ok()?;
        return civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp());
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds are exact enough")]
    let seconds = |number: f64, per_second: f64| Timestamp::from_second((number / per_second) as i64).ok();
    #[expect(clippy::cast_precision_loss, reason = "seconds are exact enough")]
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Real(number) => *number,
        _ => return None,
    };
    match Look::of(value)?.kind {
        Kind::Seconds => seconds(number, 1.0),
        Kind::Milliseconds => seconds(number, 1e3),
        Kind::Microseconds => seconds(number, 1e6),
        Kind::Nanoseconds => seconds(number, 1e9),
        Kind::JulianDays => seconds((number - 2_440_587.5) * 86_400.0, 1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_and_fitted() {
        let text = |text: &str| Value::Text(text.to_owned());
        let (sqlite, unix) = (text("2026-08-23 00:00:00"), Value::Integer(1_755_907_200));
        for (value, with_sqlite, with_unix) in [
            (Value::Integer(1_763_712_000), Fit::No, Fit::Yes),
            (Value::Real(1_763_712_000.5), Fit::No, Fit::Yes),
            (Value::Integer(1_763_712_000_000), Fit::No, Fit::No),
            (Value::Integer(253_402_300_799), Fit::No, Fit::Unknown),
            (Value::Integer(0), Fit::No, Fit::Unknown),
            (Value::Real(2_461_000.5), Fit::No, Fit::No),
            (text("2026-11-20 12:30:00"), Fit::Yes, Fit::No),
            (text("2026-11-20T12:30:00Z"), Fit::Nearly, Fit::No),
            (text("2026-11-20"), Fit::Yes, Fit::No),
            (text("1763712000"), Fit::No, Fit::No),
            (text("0"), Fit::Unknown, Fit::No),
            (text("never"), Fit::Unknown, Fit::No),
            (Value::Blob(vec![1]), Fit::No, Fit::No),
        ] {
            let fit = |time: &Value, converts| Look::of(&value).unwrap().fit(Look::of(time).unwrap(), converts);
            assert_eq!(fit(&sqlite, false), with_sqlite, "{value:?}");
            assert_eq!(fit(&unix, false), with_unix, "{value:?}");
        }
        let digits = Look::of(&text("1763712000")).unwrap();
        assert_eq!(
            digits.fit(Look::of(&unix).unwrap(), true),
            Fit::Yes,
            "a column with a type"
        );
        assert_eq!(Look::of(&Value::Null), None);
        for value in [
            Value::Integer(1_763_712_000),
            text("2025-11-21 08:00:00"),
            text("2025-11-21T08:00:00Z"),
            Value::Real(2_461_000.833_333_4),
        ] {
            let time = time_of(&value).map(|at| at.to_string());
            assert_eq!(time.as_deref(), Some("2025-11-21T08:00:00Z"), "{value:?}");
        }
    }
}
