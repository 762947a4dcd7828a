//! The kind `cleanup`: deletes the rows of one table that are past their time, gently.

use schemars::JsonSchema;
use serde::Deserialize;

use super::aftercare::Aftercare;
use super::fence::Fenced;
use super::forecast::{self, Forecast};
use super::gentle::{Deletion, Pace, write_back};
use super::record::Record;
use super::retention::Window;
use super::shape::Shape;
use super::statement::{Declared, LOCK_BUDGET, Session, names};
use super::{Failure, Flaw, Kind, Report, Workbench};
use crate::values::{CutoffFormat, Duration, TableName, Template};

/// The share of a table that may go, unless it is declared.
const MOST: f64 = 0.9;
/// Tables with fewer rows may be emptied.
const SMALL: i64 = 1000;

/// The keys of `[jobs.<id>.cleanup]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cleanup {
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
    max_share: Option<f64>,
    lock_budget: Option<Duration>,
    #[serde(default)]
    optimize: bool,
    incremental_vacuum: Option<u32>,
    message: Option<Template>,
    record: Option<Record>,
}

impl Cleanup {
    fn declared(&self) -> Declared<'_> {
        let Ok(default_message) = format!("Deleted {{rows}} rows from {}", self.delete_from).parse();
        Declared {
            key: "where",
            sql: format!("DELETE FROM \"{}\" WHERE {}", self.delete_from, self.r#where),
            tables: [vec![self.delete_from.as_str()], names(&self.tables)].concat(),
            window: Window {
                retention: self.retention,
                setting: self.retention_setting.as_deref(),
                range: self.retention_range,
                format: self.cutoff_format,
            },
            message: self.message.clone().unwrap_or(default_message),
            record: self.record.as_ref(),
            lock_budget: self.lock_budget.map_or(LOCK_BUDGET, Duration::to_std),
        }
    }

    fn aftercare(&self) -> Aftercare {
        Aftercare {
            optimize: self.optimize,
            incremental_vacuum: self.incremental_vacuum,
        }
    }

    /// Refuses to begin where far more would go than anyone can have meant: a clock that is wrong, a unit mistyped.
    fn refuse_too_many(&self, session: &Session<'_>) -> Result<(), Failure> {
        let count = |sql: &str| -> rusqlite::Result<i64> {
            let mut statement = session.connection.inside(|connection| connection.prepare_cached(sql))?;
            super::statement::bind(&mut statement, &session.parameters)?;
            let mut rows = statement.raw_query();
            // A table that has changed since has it compiled anew.
            let row = session.connection.inside(|_| rows.next())?;
            let row = row.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            row.get(0)
        };
        let table = &self.delete_from;
        let matching = format!("SELECT count(*) FROM \"{table}\" WHERE {}", self.r#where);
        let rows = count(&matching).map_err(|error| session.connection.explain(error))?;
        if let Some(most) = self
            .max_rows
            .filter(|most| u64::try_from(rows).is_ok_and(|rows| rows > *most))
        {
            return Err(Failure::lasting(format!(
                "{rows} rows of {table} would go, more than max_rows, {most}; nothing was deleted"
            )));
        }
        if rows < SMALL {
            return Ok(()); // So few may be all there are.
        }
        let total = count(&format!("SELECT count(*) FROM \"{table}\""))?;
        let most = self.max_share.unwrap_or(MOST);
        #[expect(clippy::cast_precision_loss, reason = "a share, shown rounded")]
        let share = rows as f64 / total as f64;
        if share > most {
            return Err(Failure::lasting(format!(
                "{rows} of {total} rows of {table} would go, {:.1} %, more than max_share, {most}; nothing was deleted",
                share * 100.0
            )));
        }
        Ok(())
    }

    fn delete(&self, session: &Session<'_>, bench: &Workbench<'_>, rows: &mut u64) -> Result<(), Failure> {
        let (table, declared) = (self.delete_from.as_str(), self.declared());
        let shape = Shape::of(session.connection, table)?
            .ok_or_else(|| Failure::lasting(format!("there is no table {table}")))?;
        let access = forecast::access(session.connection, &declared.sql, &session.parameters, Some(table))?;
        // A condition that looks at the table itself means it as it was before anything went.
        if shape == Shape::Whole || access.looks {
            (*rows, _) = session.locked(|| session.execute(&declared.sql, &[]))?;
            write_back(session.connection);
            return Ok(());
        }
        let mut deletion = Deletion {
            session,
            bench,
            table,
            condition: &self.r#where,
            shape: &shape,
            by_index: access.by_index,
            pace: Pace::new(declared.lock_budget),
            rows: 0,
        };
        let done = deletion.run();
        *rows = deletion.rows;
        done
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
        let mut flaws = self.declared().flaws(database);
        if self.max_share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            flaws.push(Flaw::broken(
                "max_share",
                "a share from 0 to 1 is expected, such as 0.5 for half",
            ));
        }
        if let Some(database) = database.filter(|_| flaws.is_empty()) {
            let table = self.delete_from.as_str();
            if let Ok(Some(Shape::View)) = Shape::of(database, table) {
                flaws.push(Flaw::broken(
                    "delete_from",
                    format!("`{table}` is a view; name the table behind it"),
                ));
            }
            let none = super::statement::Parameters::new();
            let access = forecast::access(database, &self.declared().sql, &none, Some(table));
            let is_all = matches!(self.r#where.trim().to_ascii_lowercase().as_str(), "true" | "1");
            if access.is_ok_and(|access| !access.by_index) && !is_all {
                let why = format!("no index serves the search: every run reads all of `{table}`");
                flaws.push(Flaw::notable("where", why));
            }
            flaws.extend(self.aftercare().flaw(database));
        }
        flaws
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        let declared = self.declared();
        declared.in_session(bench, |session| {
            self.refuse_too_many(session)?;
            let mut rows = 0;
            self.delete(session, bench, &mut rows)
                .map_err(|failure| failure.after(rows, "deleted"))?;
            let said = self
                .aftercare()
                .run(session.connection, declared.lock_budget, bench.stop);
            let mut report = declared.finish(session, rows)?;
            if let Some(said) = said {
                report.message = format!("{}; {said}", report.message);
            }
            Ok(report)
        })
    }

    fn forecast(&self, bench: &Workbench<'_>) -> Result<Forecast, Failure> {
        forecast::of_deletion(&self.declared(), self.delete_from.as_str(), &self.r#where, bench)
    }
}
