//! The comparisons of a statement with a point in time, held against what the column really holds. A cutoff in another
//! format than the column's compares as smaller or larger than all of it, and so would select every row.

use jiff::{SignedDuration, Timestamp};
use rusqlite::types::Value;

use super::fence::Fenced;
use super::moment::{Fit, Look, time_of};
use super::session::{Parameters, bind};
use super::tokens::{Kind, Token, tokens};

/// A column whose newest value is older than what it is compared with by more than this has not been written for
/// long, or the clock is wrong.
const LONG_UNWRITTEN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Parameters that are points in time.
const TIMES: &[&str] = &[":cutoff", ":now", ":scheduled_at"];
/// Words that are points in time, or functions that give the present one.
const NOW: &[&str] = &["current_timestamp", "current_date", "unixepoch"];
/// Words an operand cannot reach beyond.
const BOUNDARIES: &[&str] = &[
    "and",
    "or",
    "not",
    "where",
    "on",
    "having",
    "when",
    "then",
    "else",
    "case",
    "end",
    "select",
    "set",
    "from",
    "group",
    "order",
    "limit",
    "union",
    "except",
    "intersect",
    "returning",
    "between",
    "is",
    "in",
    "like",
    "glob",
    "match",
    "exists",
    "values",
    "window",
    "filter",
    "over",
    "=",
    "==",
    "<>",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    ",",
    ";",
];

/// A comparison of something that a row holds with a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison<'a> {
    /// What the row holds.
    pub held: &'a str,
    /// The point in time.
    pub time: &'a str,
    /// Whether it selects what is older than that.
    pub selects_older: bool,
}

/// The comparisons with points in time in `sql`.
pub(super) fn comparisons(sql: &str) -> Vec<Comparison<'_>> {
    let tokens = tokens(sql);
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let is_order = ["<", "<=", ">", ">="].iter().any(|order| token.is(order));
        if is_order {
            let sides = (before(sql, &tokens, index), after(sql, &tokens, index + 1));
            found.extend(comparison(sides, token.text.starts_with('<')));
        } else if token.is("between") {
            let held = before(sql, &tokens, index);
            let least = after(sql, &tokens, index + 1);
            let and = tokens[index..].iter().position(|token| token.is("and"));
            let most = and.and_then(|and| after(sql, &tokens, index + and + 1));
            found.extend(comparison((held.clone(), least), false));
            found.extend(comparison((held, most), true));
        }
    }
    found
}

type Operand<'a> = (&'a str, Vec<Token<'a>>);

/// The comparison of two operands, where one is a point in time and the other is held by the row.
fn comparison<'a>(sides: (Option<Operand<'a>>, Option<Operand<'a>>), is_less: bool) -> Option<Comparison<'a>> {
    let (left, right) = (sides.0?, sides.1?);
    match (is_time(&left.1), is_time(&right.1)) {
        (false, true) if holds(&left.1) => Some(Comparison {
            held: left.0,
            time: right.0,
            selects_older: is_less,
        }),
        (true, false) if holds(&right.1) => Some(Comparison {
            held: right.0,
            time: left.0,
            selects_older: !is_less,
        }),
        _ => None,
    }
}

fn is_time(operand: &[Token<'_>]) -> bool {
    operand.iter().any(|token| match token.kind {
        Kind::Parameter => TIMES.contains(&token.text),
        Kind::Text => token.text.eq_ignore_ascii_case("'now'"),
        Kind::Word => NOW.iter().any(|word| token.is(word)) && !is_given_something(token, operand),
        _ => false,
    })
}

/// Whether the function `name` is called with an argument: then it gives the time of that.
fn is_given_something(name: &Token<'_>, operand: &[Token<'_>]) -> bool {
    let mut after = operand.iter().skip_while(|token| token.at <= name.at);
    after.next().is_some_and(|token| token.is("(")) && after.next().is_some_and(|token| !token.is(")"))
}

fn holds(operand: &[Token<'_>]) -> bool {
    operand
        .iter()
        .any(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
}

/// The operand that ends before the token at `index`.
fn before<'a>(sql: &'a str, tokens: &[Token<'a>], index: usize) -> Option<Operand<'a>> {
    let mut depth = 0_i32;
    let mut start = index;
    while start > 0 {
        let token = &tokens[start - 1];
        depth += i32::from(token.is(")")) - i32::from(token.is("("));
        if depth < 0 || (depth == 0 && !token.is("(") && BOUNDARIES.iter().any(|word| token.is(word))) {
            break;
        }
        start -= 1;
    }
    operand(sql, &tokens[start..index])
}

/// The operand that begins with the token at `index`.
fn after<'a>(sql: &'a str, tokens: &[Token<'a>], index: usize) -> Option<Operand<'a>> {
    let mut depth = 0_i32;
    let mut end = index;
    while let Some(token) = tokens.get(end) {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        if depth < 0 || (depth == 0 && !token.is(")") && BOUNDARIES.iter().any(|word| token.is(word))) {
            break;
        }
        end += 1;
    }
    operand(sql, &tokens[index..end])
}

fn operand<'a>(sql: &'a str, tokens: &[Token<'a>]) -> Option<Operand<'a>> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    Some((&sql[first.at..last.end()], tokens.to_vec()))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_with_points_in_time_are_found() {
        for (sql, expected) in [
            ("at < :cutoff", vec![("at", ":cutoff", true)]),
            (":cutoff > s.\"at\" AND done", vec![("s.\"at\"", ":cutoff", true)]),
            (
                "done AND (a OR coalesce(b, c) <= :cutoff)",
                vec![("coalesce(b, c)", ":cutoff", true)],
            ),
            (
                "expires_at < datetime('now', '-1 day')",
                vec![("expires_at", "datetime('now', '-1 day')", true)],
            ),
            (
                "unixepoch(at) < unixepoch() - 5",
                vec![("unixepoch(at)", "unixepoch() - 5", true)],
            ),
            ("at BETWEEN 0 AND :cutoff AND x", vec![("at", ":cutoff", true)]),
            (
                "at > :cutoff OR at >= :now",
                vec![("at", ":cutoff", false), ("at", ":now", false)],
            ),
            (
                "rowid IN (SELECT rowid FROM m WHERE ts < :cutoff LIMIT :batch)",
                vec![("ts", ":cutoff", true)],
            ),
            ("1 < :cutoff", vec![]),
            ("at < 5 AND b = :cutoff", vec![]),
            ("at < 'x :cutoff' -- at < :cutoff", vec![]),
            ("unixepoch() - at > 5", vec![]),
        ] {
            let found = comparisons(sql);
            let found: Vec<_> = found
                .iter()
                .map(|found| (found.held, found.time, found.selects_older))
                .collect();
            assert_eq!(found, expected, "{sql}");
        }
    }
}
