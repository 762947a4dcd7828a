//! The kind `cleanup`: deletes the rows of one table that are past their time, gently.

use schemars::JsonSchema;
use serde::Deserialize;

use super::aftercare::Aftercare;
use super::batch_delete::{Deletion, Target};
use super::compile::{READING, WRITING, compile, missing_table};
use super::examination::{Examination, Limits};
use super::fence::Fenced;
use super::forecast::{self, Forecast};
use super::impact::{Way, impact, plain, search};
use super::pace::Pace;
use super::record::Record;
use super::retention::Window;
use super::row_key::RowKey;
use super::session::Session;
use super::shared::Access;
use super::statement::{Declared, lock_budget, names};
use super::tokens::tokens;
use super::{Failure, Flaw, Kind, Report, Workbench};
use crate::values::{CutoffFormat, Duration, TableName, Template};

/// The share of a table that may go, unless it is declared.
const MOST: f64 = 0.9;
/// So few rows go at once.
const LITTLE: i64 = 200;

/// The keys of `[jobs.<id>.cleanup]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cleanup {
    delete_from: TableName,
    r#where: String,
    /// Other tables that go with it: read by the condition, or changed by cascades and triggers.
    #[serde(default)]
    tables: Vec<TableName>,
    #[serde(default)]
    cutoff_format: CutoffFormat,
    retention: Option<Duration>,
    retention_setting: Option<String>,
    retention_range: Option<[Duration; 2]>,
    max_rows: Option<u64>,
    #[serde(default = "most")]
    max_share: f64,
    #[serde(default = "lock_budget")]
    lock_budget: Duration,
    #[serde(default)]
    optimize: bool,
    incremental_vacuum: Option<u32>,
    message: Option<Template>,
    record: Option<Record>,
}

fn most() -> f64 {
    MOST
}

impl Cleanup {
    fn declared(&self) -> Declared<'_> {
        Declared {
            key: "where",
            sql: plain(self.delete_from.as_str(), &self.r#where),
            tables: [vec![self.delete_from.as_str()], names(&self.tables)].concat(),
            window: Window {
                retention: self.retention,
                setting: self.retention_setting.as_deref(),
                range: self.retention_range,
                format: self.cutoff_format,
            },
            message: self.message.as_ref(),
            default_message: ("Deleted ".to_owned(), format!(" from {}", self.delete_from)),
            record: self.record.as_ref(),
            lock_budget: self.lock_budget.to_std(),
        }
    }

    fn aftercare(&self) -> Aftercare {
        Aftercare {
            optimize: self.optimize,
            incremental_vacuum: self.incremental_vacuum,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            max_rows: self.max_rows,
            max_share: self.max_share,
        }
    }

    fn examine(&self, session: &Session<'_>) -> Result<Examination<'_>, Failure> {
        Examination::of(session, self.delete_from.as_str(), &self.r#where, self.limits())
    }

    fn delete(
        &self,
        session: &Session<'_>,
        bench: &Workbench<'_>,
        found: &Examination<'_>,
        rows: &mut u64,
    ) -> Result<(), Failure> {
        let (table, declared) = (self.delete_from.as_str(), self.declared());
        let explain = |error| session.connection.explain(error);
        let key = RowKey::of(session.connection, table)?
            .ok_or_else(|| Failure::lasting(format!("the database has no table `{table}`")))?;
        let impact = impact(session.connection, table, &self.r#where, &key).map_err(explain)?;
        let mut deletion = Deletion {
            session,
            bench,
            target: Target {
                table,
                condition: &self.r#where,
                key: &key,
            },
            impact: &impact,
            most: self.max_rows,
            pace: Pace::new(declared.lock_budget),
            rows: 0,
        };
        // A few rows that are found at once go at once: then nothing can come between.
        let is_little = found.rows <= LITTLE && found.search * 2 < declared.lock_budget && !impact.spreads;
        let done = if is_little && impact.way != Way::ByRow {
            deletion.at_once()
        } else {
            deletion.run()
        };
        *rows = deletion.rows;
        done
    }

    /// What is wrong with the table, or worth knowing of it.
    fn flaws_of_table(&self, database: &Fenced) -> Vec<Flaw> {
        let table = self.delete_from.as_str();
        let key = match RowKey::of(database, table) {
            Ok(Some(RowKey::View)) => {
                let why = format!("`{table}` is a view; name the table behind it");
                return vec![Flaw::broken("delete_from", why)];
            }
            Ok(Some(key)) => key,
            Ok(None) => return vec![missing_table(database, table)],
            Err(_) => return Vec::new(),
        };
        // What the run compiles is compiled here: the condition by itself, so that no bracket in it closes ours, then
        // each statement it stands in.
        let bare = format!("DELETE FROM \"{table}\" WHERE {}\n", self.r#where);
        let tables = self.declared().tables;
        let statements = [
            (search(table, &self.r#where), READING),
            (bare, WRITING),
            (plain(table, &self.r#where), WRITING),
        ];
        let flaw = statements
            .iter()
            .find_map(|(sql, verbs)| compile("where", sql, &tables, verbs, Some(database)));
        if let Some(flaw) = flaw {
            return vec![flaw];
        }
        let target = Target {
            table,
            condition: &self.r#where,
            key: &key,
        };
        let of_batches = target.statements().iter().find_map(|sql| database.touched(sql).err());
        let reach = impact(database, table, &self.r#where, &key);
        match of_batches.map_or(reach, Err) {
            Ok(_) => self.flaw_of_search(database).into_iter().collect(),
            Err(error) => vec![Flaw::broken("where", database.explain(error).message)],
        }
    }

    fn flaw_of_search(&self, database: &Fenced) -> Option<Flaw> {
        let (declared, table) = (self.declared(), self.delete_from.as_str());
        let access = forecast::access(database, &declared.sql, &declared.sample(), Some(table)).ok()?;
        let is_all = matches!(self.r#where.trim().to_ascii_lowercase().as_str(), "true" | "1");
        (!access.by_index && !is_all).then(|| {
            let why = format!("no index serves the search: every run reads all of `{table}`");
            Flaw::notable("where", why)
        })
    }
}

impl Kind for Cleanup {
    fn name(&self) -> &'static str {
        "cleanup"
    }

    fn flaws(&self, database: Option<&Fenced>) -> Vec<Flaw> {
        if self.r#where.trim().is_empty() {
            return vec![Flaw::broken(
                "where",
                "it is empty: every row would go; write \"true\" if that is meant",
            )];
        }
        if tokens(&self.r#where).iter().any(|token| token.is(";")) {
            let why = "`;` ends a statement; a condition alone is expected here";
            return vec![Flaw::broken("where", why)];
        }
        let mut flaws = self.declared().flaws_around();
        if !(0.0..=1.0).contains(&self.max_share) {
            flaws.push(Flaw::broken(
                "max_share",
                "a share from 0 to 1 is expected, such as 0.5 for half",
            ));
        }
        let declared = self.declared();
        match database {
            Some(database) => flaws.extend(self.flaws_of_table(database)),
            None => flaws.extend(compile("where", &declared.sql, &declared.tables, WRITING, None)),
        }
        flaws.extend(declared.flaw_of_record(database));
        flaws.extend(database.and_then(|database| self.aftercare().flaw(database)));
        flaws
    }

    fn doubts(&self, bench: &Workbench<'_>) -> Result<Vec<Flaw>, Failure> {
        self.declared().in_session(bench, Access::Read, |session| {
            let found = self.examine(session)?;
            let refusals = found
                .refusals()
                .iter()
                .map(|why| format!("a run would fail now: {why}"));
            let doubts = refusals.chain(found.unchecked().iter().cloned());
            Ok(doubts.map(|why| Flaw::notable("where", why)).collect())
        })
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        let declared = self.declared();
        let done = declared.in_session(bench, Access::Write, |session| {
            let found = self.examine(session)?;
            if let Some(why) = found.refusal() {
                return Err(Failure::lasting(why));
            }
            let mut rows = 0;
            if found.rows > 0 {
                self.delete(session, bench, &found, &mut rows)
                    .map_err(|failure| failure.after(rows, "deleted"))?;
            }
            let said = self
                .aftercare()
                .run(session.connection, declared.lock_budget, bench.stop);
            let mut report = declared.finish(session, rows)?;
            if let Some(said) = said {
                report.message = format!("{}; {said}", report.message);
            }
            Ok(report)
        });
        done.inspect_err(|failure| declared.record_failure(bench, failure))
    }

    fn forecast(&self, bench: &Workbench<'_>) -> Result<Forecast, Failure> {
        let declared = self.declared();
        declared.in_session(bench, Access::Read, |session| {
            let found = self.examine(session)?;
            forecast::of_deletion(&declared, self.delete_from.as_str(), session, &found)
        })
    }
}
