//! Deletes rows of a table on a server so that nobody waits: in short statements, each a transaction of its own, that look
//! at a few pages, or at a few rows of an index, with pauses between. Each repeats the condition, so that a row which has
//! changed meanwhile is judged as it is then, and each begins where the last one ended.

use std::time::{Duration, Instant};

use super::access::Access;
use super::catalog::{Kind, Target, may_vary};
use super::session::ServerSession;
use super::statement::{called, names_a_moment, words};
use crate::postgres::PostgresError;
use crate::sql::{Pace, SqlError};
use crate::values::{CancellationToken, Progress};

/// So few rows go at once.
const LITTLE: i64 = 200;
/// The keys of so many rows are taken at once; of more, all go by one statement.
const MOST_KEYS: i64 = 1_000_000;
/// An index is of use where at most one row of so many goes.
const FEW: i64 = 5;
/// So often a table is gone through, at most.
const MOST_PASSES: usize = 3;
/// How long a batch waits for a row that somebody has locked.
const LOCKED: &str = "200ms";
/// The longest pause: the server ends a session that is idle for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Words that stand for the time of the statement.
const TIMES: &[&str] = &[
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
];

/// How a deletion is done, so that the same rows go as by one plain statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As one statement: what goes first changes what becomes of the rest, or there is little.
    AtOnce,
    /// By keys that are taken once, for the condition may say something else of the same row later.
    ByKeys,
    /// Page by page, in the order of the table.
    ByPages,
    /// In the order of an index, whose first column has this name and type.
    ByIndex(String, String),
}

/// A deletion under way.
pub(crate) struct ServerDeletion<'a> {
    session: &'a mut ServerSession,
    table: &'a str,
    condition: &'a str,
    target: &'a Target,
    pace: Pace,
    cancel: &'a CancellationToken,
    progress: &'a Progress,
    /// How many rows are gone.
    pub rows: u64,
    /// How many could not go, as somebody had them locked.
    pub locked: u64,
}

/// What became of a batch.
enum Batch {
    Done,
    /// Somebody had a row locked, or two of us waited for each other.
    Locked,
}

impl<'a> ServerDeletion<'a> {
    /// A deletion from `table` of what `condition` selects.
    pub(crate) fn new(
        session: &'a mut ServerSession,
        (table, condition, target): (&'a str, &'a str, &'a Target),
        lock_budget: Duration,
        (cancel, progress): (&'a CancellationToken, &'a Progress),
    ) -> Self {
        Self {
            session,
            table,
            condition,
            target,
            pace: Pace::new(lock_budget),
            cancel,
            progress,
            rows: 0,
            locked: 0,
        }
    }

    /// How `found` rows are deleted which the server would find by `access`.
    pub(crate) fn way(&mut self, found: i64, access: &Access) -> Result<Way, SqlError> {
        if self.target.is_entangled || !matches!(self.target.kind, Kind::Table | Kind::Partitioned) {
            return Ok(Way::AtOnce);
        }
        let varies = varies(self.session, self.condition).map_err(|error| self.session.explain(&error))?;
        if varies {
            return Ok(if found <= MOST_KEYS { Way::ByKeys } else { Way::AtOnce });
        }
        if self.target.has_parts || found.saturating_mul(FEW) > self.target.estimate {
            return Ok(Way::ByPages);
        }
        let Some((index, found_by)) = &access.index else {
            return Ok(Way::ByPages);
        };
        let column = Target::leading_column(self.session, self.table, index);
        let column = column.map_err(|error| self.session.explain(&error))?;
        // A row without a value would not be met in the order of the index.
        let is_compared = |column: &str| {
            let is_name = column.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let by = |operator: &str| {
                ["(", "."].iter().any(|before| {
                    ["", "\""]
                        .iter()
                        .any(|quote| found_by.contains(&format!("{before}{quote}{column}{quote} {operator}")))
                })
            };
            is_name && ["<", ">"].iter().any(|operator| by(operator))
        };
        Ok(match column.filter(|(column, _)| is_compared(column)) {
            Some((column, kind)) => Way::ByIndex(column, kind),
            None => Way::ByPages,
        })
    }

    /// Deletes every row the condition selects.
    pub(crate) fn run(&mut self, way: &Way, found: i64, patience: Duration) -> Result<(), SqlError> {
        let locks = if *way == Way::AtOnce {
            format!("{}ms", patience.as_millis())
        } else {
            LOCKED.to_owned()
        };
        // A batch that is lost with the power is done again by the next run.
        let settings = format!("SET lock_timeout = '{locks}'; SET synchronous_commit = off");
        self.ours(|session| session.run(&settings))?;
        let is_little = found <= LITTLE && *way != Way::AtOnce;
        if is_little && self.all_at_once()? {
            return self.ours(|session| session.run("RESET lock_timeout; RESET synchronous_commit"));
        }
        match way {
            Way::AtOnce => {
                let changed = self.ours_execute(&super::super::plain(self.table, self.condition))?;
                self.count(changed);
            }
            Way::ByKeys => self.by_keys()?,
            Way::ByPages | Way::ByIndex(..) => self.in_passes(way, found)?,
        }
        self.ours(|session| session.run("RESET lock_timeout; RESET synchronous_commit"))
    }

    /// Deletes in several passes, should rows have been changed meanwhile: a new version of a row may stand in a place that
    /// the pass has left already.
    fn in_passes(&mut self, way: &Way, found: i64) -> Result<(), SqlError> {
        let mut pages = self.target.pages;
        for _ in 0..MOST_PASSES {
            self.locked = 0;
            match way {
                Way::ByIndex(column, kind) => self.by_index(column, kind)?,
                _ => self.by_pages(pages)?,
            }
            let rest = found.saturating_sub_unsigned(self.rows + self.locked);
            if rest <= 0 || (rest <= LITTLE && self.all_at_once()?) {
                break;
            }
            let table = self.table;
            let target = self.ours(|session| Target::of(session, table))?;
            pages = target.map_or(0, |target| target.pages);
        }
        Ok(())
    }

    /// Deletes what the condition selects by one statement, unless somebody has some of it locked; whether it did.
    fn all_at_once(&mut self) -> Result<bool, SqlError> {
        let done = self.batch(&super::super::plain(self.table, self.condition))?;
        Ok(matches!(done, Batch::Done))
    }

    fn by_pages(&mut self, pages: i64) -> Result<(), SqlError> {
        let mut page = 0;
        while page < pages {
            let window = i64::try_from(self.pace.rows()).unwrap_or(1).min(pages - page);
            let until = page + window;
            let place = format!("ctid >= '({page},0)' AND ctid < '({until},0)'");
            match self.delete(&place)? {
                Batch::Done => page = until,
                Batch::Locked if window > 1 => self.pace.shrink(),
                Batch::Locked => {
                    let found = self.keys(&format!("SELECT ctid::text FROM \"{}\" WHERE {place}", self.table))?;
                    let keys: Vec<String> = found.into_iter().map(|key| format!("ctid = '{key}'")).collect();
                    self.one_by_one(&keys)?;
                    page = until;
                }
            }
        }
        Ok(())
    }

    fn by_index(&mut self, column: &str, kind: &str) -> Result<(), SqlError> {
        let mut after = String::new();
        loop {
            let most = self.pace.rows();
            let found = self.keys_of_index(column, &after, most)?;
            let Some((last, tid)) = found.last() else { return Ok(()) };
            let last = last.replace('\'', "''");
            // The first comparison is the one that the index answers.
            after = format!(
                "\"{column}\" >= '{last}'::{kind} AND (\"{column}\", ctid) > ('{last}'::{kind}, '{tid}'::tid) AND "
            );
            let is_last = found.len() < most;
            let tids: Vec<&str> = found.iter().map(|(_, tid)| tid.as_str()).collect();
            self.delete_all(&tids)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// A bare name would have the rows in the order of the texts.
    fn keys_of_index(&mut self, column: &str, after: &str, most: usize) -> Result<Vec<(String, String)>, SqlError> {
        let (table, condition) = (self.table, self.condition);
        let sql = format!(
            "SELECT \"{column}\"::text, ctid::text FROM \"{table}\" WHERE {after}({condition}\n)
             ORDER BY \"{table}\".\"{column}\", \"{table}\".ctid LIMIT {most}"
        );
        let rows = self.ours(|session| session.query(&sql, &[]))?;
        let key = |row: &crate::postgres::Row| Some((row.get::<_, Option<String>>(0)?, row.get(1)));
        Ok(rows.iter().filter_map(key).collect())
    }

    /// Deletes the rows at these places, in halves where some of them are locked.
    fn delete_all(&mut self, tids: &[&str]) -> Result<(), SqlError> {
        let place = format!("ctid = ANY ({}::tid[])", list(tids));
        match self.delete(&place)? {
            Batch::Done => Ok(()),
            Batch::Locked if tids.len() > 1 => {
                self.pace.shrink();
                let (first, second) = tids.split_at(tids.len() / 2);
                self.delete_all(first)?;
                self.delete_all(second)
            }
            Batch::Locked => {
                self.locked += 1;
                Ok(())
            }
        }
    }

    fn by_keys(&mut self) -> Result<(), SqlError> {
        // A version of a row has a place and the transaction that wrote it; whoever changes the row makes another one.
        const KEY: &str = "(tableoid::text || ' ' || ctid::text || ' ' || xmin::text)";
        let keys = self.keys(&format!("SELECT {KEY} FROM \"{}\" WHERE true", self.table))?;
        let mut rest = keys.as_slice();
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(self.pace.rows().min(rest.len()));
            let places: Vec<&str> = batch.iter().filter_map(|key| key.split(' ').nth(1)).collect();
            let place = format!(
                "ctid = ANY ({}::tid[]) AND {KEY} = ANY ({})",
                list(&places),
                list(batch)
            );
            match self.delete_as_taken(&place)? {
                Batch::Done => rest = others,
                Batch::Locked if batch.len() > 1 => self.pace.shrink(),
                Batch::Locked => {
                    self.locked += 1;
                    rest = others;
                }
            }
        }
        Ok(())
    }

    /// The first column of the rows that `select` gives and the condition selects.
    fn keys(&mut self, select: &str) -> Result<Vec<String>, SqlError> {
        let sql = format!("{select} AND ({}\n)", self.condition);
        let rows = self.ours(|session| session.query(&sql, &[]))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn one_by_one(&mut self, places: &[String]) -> Result<(), SqlError> {
        for place in places {
            if matches!(self.delete(place)?, Batch::Locked) {
                self.locked += 1;
            }
        }
        Ok(())
    }

    /// Deletes what the condition selects at `place`, and pauses.
    fn delete(&mut self, place: &str) -> Result<Batch, SqlError> {
        let sql = format!(
            "DELETE FROM \"{}\" WHERE {place} AND ({}\n)",
            self.table, self.condition
        );
        self.batch(&sql)
    }

    /// Deletes what is at `place`, whatever the condition says of it now.
    fn delete_as_taken(&mut self, place: &str) -> Result<Batch, SqlError> {
        self.batch(&format!("DELETE FROM \"{}\" WHERE {place}", self.table))
    }

    fn batch(&mut self, sql: &str) -> Result<Batch, SqlError> {
        if self.cancel.is_cancelled() {
            return Err(SqlError::lasting("interrupted before completion"));
        }
        let began = Instant::now();
        match self.session.execute(sql, &[]) {
            Ok(changed) => {
                let pause = self.pace.learn(began.elapsed());
                self.count(changed);
                if changed > 0 {
                    std::thread::sleep(pause.min(LONGEST_PAUSE));
                }
                Ok(Batch::Done)
            }
            Err(error) if ["55P03", "40P01", "40001"].iter().any(|code| error.has_code(code)) => Ok(Batch::Locked),
            Err(error) => Err(self.session.explain(&error)),
        }
    }

    fn count(&mut self, changed: u64) {
        self.rows += changed;
        self.progress.set(self.rows);
    }

    fn ours_execute(&mut self, sql: &str) -> Result<u64, SqlError> {
        self.ours(|session| session.execute(sql, &[]))
    }

    fn ours<T>(&mut self, work: impl FnOnce(&mut ServerSession) -> Result<T, PostgresError>) -> Result<T, SqlError> {
        work(self.session).map_err(|error| self.session.explain(&error))
    }
}

/// A list of our own keys, as it may stand in a statement.
fn list(keys: &[impl std::fmt::Display]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    format!("'{{{}}}'", quoted.join(","))
}

/// Whether the condition may say something else of the same row a moment later: it looks at other rows, or at the time.
fn varies(session: &mut ServerSession, condition: &str) -> Result<bool, PostgresError> {
    let is_telling = |word: &str| {
        let word = word.to_lowercase();
        ["select", "table", "values"].contains(&word.as_str()) || TIMES.contains(&word.as_str())
    };
    if words(condition).any(is_telling) || names_a_moment(condition) {
        return Ok(true);
    }
    may_vary(session, &called(condition))
}
