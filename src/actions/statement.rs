//! One declared SQL statement: checked when it is loaded, run inside a fence, in transactions of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, Statement, ToSql};

use super::compile::{WRITING, compile, parameters_of, unknown};
use super::fence::Fenced;
use super::gentle::{Pace, write_back};
use super::record::Record;
use super::retention::Window;
use super::shared::{Access, on_database};
use super::{Failure, Flaw, Report, Workbench};
use crate::values::{Parameter, TableName, Template, iso};

/// The values of a run, by the names that a statement (`:name`), a message (`{name}`) and a record (`":name"`) share.
pub(super) type Parameters = BTreeMap<&'static str, Parameter>;

/// How long the write lock is held at a time, unless it is declared.
pub(super) const LOCK_BUDGET: Duration = Duration::from_millis(25);

/// The parts of a kind that runs one statement.
#[derive(Clone, Debug)]
pub(super) struct Declared<'a> {
    /// The key that holds the statement, for what is said about it.
    pub key: &'static str,
    pub sql: String,
    /// The tables it may touch.
    pub tables: Vec<&'a str>,
    pub window: Window<'a>,
    pub message: Template,
    pub record: Option<&'a Record>,
    pub lock_budget: Duration,
}

/// A connection on which a declared statement is run.
pub(super) struct Session<'a> {
    pub connection: &'a Fenced,
    pub parameters: Parameters,
}

impl Declared<'_> {
    /// What is wrong with the statement, its message and its record.
    pub(super) fn flaws(&self, database: Option<&Fenced>) -> Vec<Flaw> {
        let mut flaws = self.unknown_parameters();
        let mut names = self.known_parameters();
        names.push("rows");
        flaws.extend(unknown("message", self.message.fields(), &names));
        if let Some(record) = self.record {
            flaws.extend(unknown("record", record.parameters(), &names));
            let table = [record.table()];
            flaws.extend(compile("record", &record.statement(), &table, WRITING, database));
        }
        flaws.extend(compile(self.key, &self.sql, &self.tables, WRITING, database));
        flaws
    }

    /// What is wrong with the retention, and every parameter of the statement that has no value.
    pub(super) fn unknown_parameters(&self) -> Vec<Flaw> {
        let mut flaws = self.window.flaws();
        flaws.extend(unknown(self.key, parameters_of(&self.sql), &self.known_parameters()));
        flaws
    }

    fn known_parameters(&self) -> Vec<&'static str> {
        let mut names = vec!["now", "scheduled_at", "job", "batch"];
        if self.window.is_declared() {
            names.extend(["cutoff", "retention_days"]);
        }
        names
    }

    /// Does `work` on the job's database.
    pub(super) fn in_session<T>(
        &self,
        bench: &Workbench<'_>,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        on_database(bench, Access::Write, &self.tables, |connection| {
            let parameters = self.parameters(connection, bench)?;
            work(&mut Session { connection, parameters })
        })
    }

    /// Runs the statement, once or, where it names `:batch`, in rounds until one changes nothing.
    pub(super) fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        self.in_session(bench, |session| {
            let mut rows = 0;
            self.run_in_rounds(session, bench, &mut rows)
                .map_err(|failure| failure.after(rows, "changed"))?;
            self.finish(session, rows)
        })
    }

    fn run_in_rounds(&self, session: &mut Session<'_>, bench: &Workbench<'_>, rows: &mut u64) -> Result<(), Failure> {
        let in_rounds = parameters_of(&self.sql).contains(&"batch");
        let mut pace = Pace::new(self.lock_budget);
        loop {
            let batch = i64::try_from(pace.rows()).unwrap_or(1);
            session.parameters.insert("batch", Parameter::Integer(batch));
            let (changed, held) = session.locked(|| session.execute(&self.sql, &[]))?;
            let pause = pace.learn(held);
            *rows += changed;
            bench.progress.set(*rows);
            write_back(session.connection);
            if !in_rounds || changed == 0 {
                return Ok(());
            }
            std::thread::sleep(pause);
            if bench.stop.asked().is_some() {
                return Err(Failure::lasting("it was ended before it was done"));
            }
        }
    }

    /// Writes the record, and says what was done.
    pub(super) fn finish(&self, session: &mut Session<'_>, rows: u64) -> Result<Report, Failure> {
        let count = Parameter::Integer(i64::try_from(rows).unwrap_or(i64::MAX));
        session.parameters.insert("rows", count);
        if let Some(record) = self.record {
            record
                .write(session.connection, &session.parameters)
                .map_err(|failure| failure.after(rows, "changed"))?;
        }
        let parameters = &session.parameters;
        let message = self
            .message
            .render(|name| parameters.get(name).map(ToString::to_string));
        Ok(Report {
            message,
            statistics: Some(serde_json::json!({ "rows": rows })),
            troubles: Vec::new(),
        })
    }

    /// The values of a run's parameters.
    pub(super) fn parameters(&self, connection: &Connection, bench: &Workbench<'_>) -> Result<Parameters, Failure> {
        let mut parameters: Parameters = [
            ("now", Parameter::Text(iso(bench.now))),
            ("scheduled_at", Parameter::Text(iso(bench.scheduled_at))),
            ("job", Parameter::Text(bench.job.to_string())),
        ]
        .into();
        parameters.extend(self.window.parameters(connection, bench.now)?);
        Ok(parameters)
    }
}

impl Session<'_> {
    /// Runs declared SQL inside the fence, with the given parameters beside those of the run; gives how many rows it
    /// changed.
    pub(super) fn execute(&self, sql: &str, more: &[(&str, &Value)]) -> rusqlite::Result<u64> {
        let mut statement = self.connection.inside(|connection| connection.prepare_cached(sql))?;
        bind(&mut statement, &self.parameters)?;
        for (name, value) in more {
            if let Some(index) = statement.parameter_index(name)? {
                statement.raw_bind_parameter(index, value)?;
            }
        }
        let changed = self.connection.inside(|_| statement.raw_execute())?;
        Ok(u64::try_from(changed).unwrap_or(0))
    }

    /// Does `work` under the write lock, all or nothing; gives how many rows it changed, and how long the lock was held.
    pub(super) fn locked(&self, work: impl FnOnce() -> rusqlite::Result<u64>) -> Result<(u64, Duration), Failure> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let began = Instant::now();
        match work() {
            Ok(changed) => {
                self.connection.execute_batch("COMMIT")?;
                Ok((changed, began.elapsed()))
            }
            Err(error) => {
                let _ = self.connection.execute_batch("ROLLBACK");
                Err(self.connection.explain(error))
            }
        }
    }
}

pub(super) fn bind(statement: &mut Statement<'_>, parameters: &Parameters) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).and_then(|name| name.strip_prefix(':'));
        if let Some(value) = name.and_then(|name| parameters.get(name)) {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(())
}

impl ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Integer(number) => number.to_sql(),
            Self::Real(number) => number.to_sql(),
        }
    }
}

/// The tables' names as texts.
pub(super) fn names(tables: &[TableName]) -> Vec<&str> {
    tables.iter().map(TableName::as_str).collect()
}
