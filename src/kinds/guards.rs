//! What a cleanup would delete now, and why it must not where it must not: the same for validate, plan and the run.

use std::time::{Duration, Instant};

use jiff::SignedDuration;

use crate::run::Failure;
use crate::sql::{Comparison, Held, Session, comparisons, parameters_of};

/// A table that loses fewer rows may be emptied, if someone still writes it.
const SMALL: i64 = 1000;
/// A table that loses fewer rows may be emptied in any case.
pub(super) const TINY: i64 = 100;

/// How much may go at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub max_rows: Option<u64>,
    pub max_share: f64,
}

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Examination<'a> {
    table: &'a str,
    pub rows: i64,
    /// How long it took to find them.
    pub search: Duration,
    /// What the table holds on one side of each comparison with a point in time.
    pub ends: Vec<(Comparison<'a>, Held)>,
    refusals: Vec<String>,
    unchecked: Vec<String>,
}

/// What could not be checked where the text has a cutoff that nothing is compared with in a way that is understood.
pub(super) fn unchecked_cutoff(sql: &str, found: &[Comparison<'_>]) -> Vec<String> {
    let is_used = parameters_of(sql).contains(&"cutoff");
    let is_compared = found.iter().any(|comparison| comparison.time.contains(":cutoff"));
    let why = "the column that `:cutoff` is compared with could not be determined, so its format was not checked";
    (is_used && !is_compared).then(|| why.to_owned()).into_iter().collect()
}

/// What to say of a comparison of which no table has what it speaks of.
pub(super) fn not_checked(comparison: &Comparison<'_>) -> String {
    let Comparison { held, time, .. } = comparison;
    format!("whether `{held}` is written in the format of `{time}` could not be checked")
}

impl<'a> Examination<'a> {
    /// Looks at the rows of `table` that `condition` selects.
    pub(super) fn of(
        session: &Session<'_>,
        table: &'a str,
        condition: &'a str,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let began = Instant::now();
        let rows = count(
            session,
            &format!("SELECT count(*) FROM \"{table}\" WHERE ({condition}\n)"),
        )?;
        let mut found = Self {
            table,
            rows,
            search: began.elapsed(),
            ends: Vec::new(),
            refusals: Vec::new(),
            unchecked: Vec::new(),
        };
        found.compare(session, condition)?;
        found.hold_against(session, limits)?;
        Ok(found)
    }

    /// Why a run must not begin, where it must not.
    pub(super) fn refusal(&self) -> Option<String> {
        (!self.refusals.is_empty()).then(|| format!("{}; nothing was deleted", self.refusals.join("; ")))
    }

    /// Each reason alone.
    pub(super) fn refusals(&self) -> &[String] {
        &self.refusals
    }

    /// What could not be checked.
    pub(super) fn unchecked(&self) -> &[String] {
        &self.unchecked
    }

    /// How many rows the table has.
    pub(super) fn total(&self, session: &Session<'_>) -> Result<i64, Failure> {
        count(session, &format!("SELECT count(*) FROM \"{}\"", self.table))
    }

    fn compare(&mut self, session: &Session<'_>, condition: &'a str) -> Result<(), Failure> {
        let (sandbox, parameters) = (session.connection, &session.parameters);
        let explain = |error| sandbox.explain(error);
        let found = comparisons(condition, Some(self.table));
        self.unchecked = unchecked_cutoff(condition, &found);
        for comparison in found {
            let Some(held) = comparison.held(sandbox, parameters).map_err(explain)? else {
                self.unchecked.push(not_checked(&comparison));
                continue;
            };
            let is_own = held.table == self.table;
            let misfit = match comparison.misfit(&held) {
                None if self.rows > 0 && is_own => {
                    let rows = comparison
                        .held_by(sandbox, &held, condition, parameters)
                        .map_err(explain)?;
                    comparison.misfit_of_rows(&rows)
                }
                misfit => misfit,
            };
            self.refusals.extend(misfit);
            if is_own {
                self.ends.push((comparison, held));
            }
        }
        Ok(())
    }

    /// Refuses far more than anyone can have meant: a clock that is wrong, a unit mistyped.
    fn hold_against(&mut self, session: &Session<'_>, limits: Limits) -> Result<(), Failure> {
        let (rows, table) = (self.rows, self.table);
        if let Some(most) = limits
            .max_rows
            .filter(|most| u64::try_from(rows).is_ok_and(|rows| rows > *most))
        {
            let why = format!("{rows} rows of {table} would go, more than max_rows ({most})");
            self.refusals.push(why);
        }
        let long_unwritten = self
            .ends
            .iter()
            .find_map(|(comparison, held)| comparison.long_unwritten(held));
        if !is_worth_a_look(rows, long_unwritten) {
            return Ok(());
        }
        let total = self.total(session)?;
        self.refusals
            .extend(far_too_much((rows, total), table, limits, long_unwritten));
        Ok(())
    }
}

/// Whether so many rows may be too much.
pub(super) fn is_worth_a_look(rows: i64, long_unwritten: Option<SignedDuration>) -> bool {
    rows >= SMALL || (rows >= TINY && long_unwritten.is_some())
}

/// Why so many of all rows of `table` cannot be meant to go, where they cannot.
pub(super) fn far_too_much(
    (rows, total): (i64, i64),
    table: &str,
    limits: Limits,
    long_unwritten: Option<SignedDuration>,
) -> Option<String> {
    let (percent, most) = (percentage(rows, total), limits.max_share);
    if percent <= most * 100.0 {
        return None;
    }
    let why = format!("{rows} of {total} rows of {table} would go, {percent:.1} %, more than max_share ({most})");
    Some(match long_unwritten {
        Some(since) if rows < SMALL => {
            let days = since.as_hours() / 24;
            format!("{why}; even the newest row is {days} days past its time: is the clock right?")
        }
        _ => why,
    })
}

fn count(session: &Session<'_>, sql: &str) -> Result<i64, Failure> {
    let counted = session.read(sql, |row| row.get(0))?;
    Ok(counted.first().copied().unwrap_or(0))
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows, shown rounded")]
pub(super) fn precise(count: i64) -> f64 {
    count as f64
}

/// How much of the whole a part is, in percent.
pub(super) fn percentage(part: i64, whole: i64) -> f64 {
    100.0 * precise(part) / precise(whole)
}
