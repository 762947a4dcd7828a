//! One declared SQL statement: checked when it is loaded, run in a sandbox, in transactions of its own.

use jiff::Timestamp;

use super::guards::{not_checked, unchecked_cutoff};
use super::record::Record;
use crate::duplistatus::settings;
use crate::run::{Failure, Report, RunContext};
use crate::sql::sqlite::Connection;
use crate::sql::{
    CheckedFile, Dialect, Mode, Pace, Parameters, Session, Taken, TokenKind, WRITING, checkpoint, comparisons, compile,
    parameters_of, tokens,
};
use crate::values::{CutoffFormat, Duration, Issue, Parameter, TableName, Template, TimeZone, iso, plural};

/// So few rows make a small change.
const SMALL: u64 = 100;

/// How long the write lock is held at a time, unless it is declared.
pub(super) fn lock_budget() -> Duration {
    Duration::from_millis(25)
}

/// The parts of a kind that runs one statement.
#[derive(Clone, Debug)]
pub(super) struct Declared<'a> {
    /// The key that holds the statement, for what is said about it.
    pub key: &'static str,
    pub sql: String,
    pub tables: Vec<&'a str>,
    pub window: Window<'a>,
    pub message: Option<&'a Template>,
    /// What stands around the number of rows where there is no message.
    pub default_message: (String, String),
    pub record: Option<&'a Record>,
    pub lock_budget: std::time::Duration,
}

impl Declared<'_> {
    /// What is wrong with the parameters, the retention and the message.
    pub(super) fn check_around(&self, dialect: Dialect) -> Vec<Issue> {
        let mut issues = self.unknown_parameters(dialect);
        let names = self.names_of_the_end();
        issues.extend(unknown(
            "message",
            self.message.into_iter().flat_map(Template::fields),
            &names,
        ));
        let of_record = self.record.map_or_else(Vec::new, Record::parameters);
        issues.extend(unknown("record", of_record, &names));
        let of_failure = self.record.map_or_else(Vec::new, Record::parameters_of_failure);
        issues.extend(unknown(
            "record.on_failure",
            of_failure,
            &["now", "scheduled_at", "job", "error"],
        ));
        issues
    }

    /// What is wrong with the row that is written afterwards.
    pub(super) fn check_record(&self, database: &CheckedFile) -> Option<Issue> {
        let record = self.record?;
        let tables = self.tables_of_record(record);
        let statements = record.statements();
        statements
            .iter()
            .find_map(|sql| compile("record", sql, &tables, WRITING, database))
    }

    /// Writes the row that tells of a failure that would come again, where one is declared.
    pub(super) fn record_failure(&self, ctx: &RunContext, failure: &Failure) {
        let Some(record) = self
            .record
            .filter(|_| !failure.is_transient && !ctx.cancel.is_cancelled())
        else {
            return;
        };
        let written = ctx.connected(
            Mode::Write,
            &ctx.interrupt(),
            &self.tables_of_record(record),
            |connection| {
                let mut parameters = Self::circumstances(ctx);
                parameters.insert("error", Parameter::Text(failure.message.clone()));
                record.write_failure(connection, &parameters)
            },
        );
        if let Err(why) = written {
            tracing::warn!(job = %ctx.job, "the failure could not be recorded: {}", why.message);
        }
    }

    /// What every run knows.
    fn circumstances(ctx: &RunContext) -> Parameters {
        [
            ("now", Parameter::Text(iso(ctx.now))),
            ("scheduled_at", Parameter::Text(iso(ctx.scheduled_at))),
            ("job", Parameter::Text(ctx.job.to_string())),
        ]
        .into()
    }

    /// What the record may touch: its own table, and what the job names, for triggers.
    pub(super) fn tables_of_record<'b>(&'b self, record: &'b Record) -> Vec<&'b str> {
        [self.tables.as_slice(), &[record.table()]].concat()
    }

    fn names_of_the_end(&self) -> Vec<&'static str> {
        [self.known_parameters(), vec!["rows"]].concat()
    }

    /// A value for each parameter there is, for compiling what is not run.
    pub(super) fn sample(&self) -> Parameters {
        self.known_parameters()
            .into_iter()
            .map(|name| (name, Parameter::Integer(0)))
            .collect()
    }

    /// What is wrong with the retention, and every parameter of the statement that has no value.
    pub(super) fn unknown_parameters(&self, dialect: Dialect) -> Vec<Issue> {
        let mut issues = self.window.check(dialect);
        let used = dialect.parameters_of(&self.sql);
        issues.extend(unknown(self.key, used.iter().copied(), &self.known_parameters()));
        let quoted = tokens(&self.sql)
            .into_iter()
            .filter(|token| token.kind == TokenKind::Text);
        let in_quotes = quoted.filter_map(|token| token.text.trim_matches('\'').strip_prefix(':'));
        for name in in_quotes.filter(|name| self.known_parameters().contains(name)) {
            let why = format!("`':{name}'` is a string; write the parameter without quotes: `:{name}`");
            issues.push(Issue::error(self.key, why));
        }
        let is_used = used.iter().any(|name| ["cutoff", "retention_days"].contains(name));
        if self.window.is_declared() && !is_used && issues.is_empty() {
            let why = format!("it has no effect: `{}` does not use `:cutoff`", self.key);
            issues.push(Issue::warning("retention", why));
        }
        issues
    }

    fn known_parameters(&self) -> Vec<&'static str> {
        let mut names = vec!["now", "scheduled_at", "job"];
        // Only a statement is run in rounds.
        if self.key == "statement" {
            names.push("batch");
        }
        if self.window.is_declared() {
            names.extend(["cutoff", "retention_days"]);
        }
        names
    }

    /// Does `work` on the job's database.
    pub(super) fn in_session<T>(
        &self,
        ctx: &RunContext,
        mode: Mode,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let interrupt = ctx.interrupt();
        ctx.connected(mode, &interrupt, &self.tables, |connection| {
            let parameters = self.parameters(connection, ctx)?;
            work(&mut Session {
                connection,
                parameters,
                interrupt: &interrupt,
                progress: &ctx.progress,
            })
        })
    }

    /// Runs the statement, once or, where it names `:batch`, in rounds until one changes nothing.
    pub(super) fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        let done = self.in_session(ctx, Mode::Write, |session| {
            session.connection.refuse_unnamed(&self.sql)?;
            if let Some(why) = self.misfit(session)? {
                return Err(Failure::lasting(format!("{why}; nothing was changed")));
            }
            let mut rows = 0;
            self.run_in_rounds(session, ctx, &mut rows)
                .map_err(|failure| failure.after(rows, "changed"))?;
            self.finish(session, rows)
        });
        done.inspect_err(|failure| self.record_failure(ctx, failure))
    }

    fn run_in_rounds(&self, session: &mut Session<'_>, ctx: &RunContext, rows: &mut u64) -> Result<(), Failure> {
        let in_rounds = parameters_of(&self.sql).contains(&"batch");
        let mut pace = Pace::new(self.lock_budget);
        loop {
            let batch = i64::try_from(pace.rows()).unwrap_or(1);
            session.parameters.insert("batch", Parameter::Integer(batch));
            let Taken::Done(changed, held) = session.locked(None, || Ok((session.execute(&self.sql, &[])?, true)))?
            else {
                return Ok(());
            };
            let pause = pace.learn(held);
            *rows += changed;
            ctx.progress.set(*rows);
            if !in_rounds || changed == 0 {
                if *rows > SMALL || session.connection.is_time_to_look_at_the_log() {
                    // What is done is done, however large the log is.
                    let _ = checkpoint(session.connection, session.interrupt);
                }
                return Ok(());
            }
            checkpoint(session.connection, session.interrupt)?;
            std::thread::sleep(pause);
            if ctx.cancel.is_cancelled() {
                return Err(Failure::lasting("interrupted before completion"));
            }
        }
    }

    /// Why the statement cannot mean what it says, where a point in time in it cannot be compared with what a table
    /// holds.
    pub(super) fn misfit(&self, session: &Session<'_>) -> Result<Option<String>, Failure> {
        let (sandbox, parameters) = (session.connection, &session.parameters);
        for comparison in comparisons(&self.sql, None) {
            let held = comparison
                .held(sandbox, parameters)
                .map_err(|error| sandbox.explain(error))?;
            if let Some(misfit) = held.and_then(|held| comparison.misfit(&held)) {
                return Ok(Some(misfit));
            }
        }
        Ok(None)
    }

    /// What a run would meet, and what could not be checked.
    pub(super) fn check_rows(&self, session: &Session<'_>) -> Result<Vec<Issue>, Failure> {
        let found = comparisons(&self.sql, None);
        let mut found_wrong = unchecked_cutoff(&self.sql, &found);
        for comparison in &found {
            let held = comparison.held(session.connection, &session.parameters);
            match held.map_err(|error| session.connection.explain(error))? {
                None => found_wrong.push(not_checked(comparison)),
                Some(held) => found_wrong.extend(comparison.misfit(&held)),
            }
        }
        Ok(found_wrong
            .into_iter()
            .map(|why| Issue::warning(self.key, why))
            .collect())
    }

    /// Writes the record, and says what was done.
    pub(super) fn finish(&self, session: &mut Session<'_>, rows: u64) -> Result<Report, Failure> {
        let count = Parameter::Integer(i64::try_from(rows).unwrap_or(i64::MAX));
        session.parameters.insert("rows", count);
        if let Some(record) = self.record {
            session.connection.admit(&self.tables_of_record(record))?;
            record
                .write(session.connection, &session.parameters)
                .map_err(|failure| failure.after(rows, "changed"))?;
        }
        Ok(self.report(&session.parameters, rows))
    }

    /// What was done, in words.
    pub(super) fn report(&self, parameters: &Parameters, rows: u64) -> Report {
        let (before, after) = &self.default_message;
        let message = self.message.map_or_else(
            || format!("{before}{}{after}", plural(rows, "row")),
            |message| message.render(|name| parameters.get(name).map(ToString::to_string)),
        );
        Report {
            message,
            statistics: Some(serde_json::json!({ "rows": rows })),
            warnings: Vec::new(),
        }
    }

    /// The values of a run's parameters.
    pub(super) fn parameters(&self, connection: &Connection, ctx: &RunContext) -> Result<Parameters, Failure> {
        let mut parameters = Self::circumstances(ctx);
        parameters.extend(self.window.parameters(connection, ctx.now)?);
        Ok(parameters)
    }
}

/// The tables' names as texts.
pub(super) fn names(tables: &[TableName]) -> Vec<&str> {
    tables.iter().map(TableName::as_str).collect()
}

/// Every one of `used` that is not a parameter.
fn unknown<'a>(key: &'static str, used: impl IntoIterator<Item = &'a str>, known: &[&str]) -> Vec<Issue> {
    let refuse = |name: &str| {
        let why = match name {
            "cutoff" | "retention_days" => format!("`{name}` has no value: `retention` is missing"),
            _ => format!("`{name}` is not a parameter; the parameters are {}", known.join(", ")),
        };
        Issue::error(key, why)
    };
    used.into_iter()
        .filter(|name| !known.contains(name))
        .map(refuse)
        .collect()
}

/// The keys of a kind that say how long rows are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    pub retention: Option<Duration>,
    pub setting: Option<&'a str>,
    pub range: Option<[Duration; 2]>,
    pub format: Option<CutoffFormat>,
}

impl Window<'_> {
    /// Whether the keys give `:cutoff` and `:retention_days` a value.
    pub(super) fn is_declared(&self) -> bool {
        self.retention.is_some()
    }

    /// What is wrong between the keys.
    pub(super) fn check(&self, dialect: Dialect) -> Vec<Issue> {
        let mut issues = Vec::new();
        if let Some(format) = self
            .format
            .filter(|format| dialect == Dialect::Sqlite && format.is_of_postgresql())
        {
            let why = format!(
                "`{format}` is a type of PostgreSQL; a SQLite file has `sqlite`, `rfc3339`, `unix` or `unix_ms`"
            );
            issues.push(Issue::error("cutoff_format", why));
        }
        if self.retention.is_none() && self.setting.is_some() {
            issues.push(Issue::error(
                "retention_setting",
                "`retention` is missing: it applies where the application has no such setting",
            ));
        }
        if let Some([least, most]) = self.range {
            if least > most {
                issues.push(Issue::error(
                    "retention_range",
                    format!("the range ends before it begins: {least} to {most}"),
                ));
            } else if let Some(retention) = self.retention.filter(|kept| !(least..=most).contains(kept)) {
                issues.push(Issue::error(
                    "retention",
                    format!("{retention} is outside `retention_range`, {least} to {most}"),
                ));
            }
        }
        issues
    }

    /// The parameters `retention_days` and `cutoff` of a run at `now`; none where no retention is declared.
    pub(super) fn parameters(
        &self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Vec<(&'static str, Parameter)>, Failure> {
        let Some(declared) = self.retention else {
            return Ok(Vec::new());
        };
        let retention = self.of_application(connection)?.unwrap_or(declared);
        let format = self.format.unwrap_or(CutoffFormat::Sqlite);
        values_of(retention, now, format, &TimeZone::utc())
    }

    /// The same for a database on a server, whose columns are written in `zone` where they say none.
    pub(super) fn parameters_on_server(
        &self,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Result<Vec<(&'static str, Parameter)>, Failure> {
        let of = |retention| values_of(retention, now, self.format_on_server(), zone);
        self.retention.map_or_else(|| Ok(Vec::new()), of)
    }

    /// The time before which rows go; without a retention, now.
    pub(super) fn cutoff(&self, now: Timestamp) -> Timestamp {
        let kept = self.retention.map(Duration::signed).unwrap_or_default();
        now.checked_sub(kept).unwrap_or(Timestamp::MIN)
    }

    /// How `:cutoff` is given to a server.
    pub(super) fn format_on_server(&self) -> CutoffFormat {
        self.format.unwrap_or(CutoffFormat::Timestamptz)
    }

    fn of_application(&self, connection: &Connection) -> Result<Option<Duration>, Failure> {
        let Some(key) = self.setting else { return Ok(None) };
        let Some(text) = settings::get(connection, key)? else {
            return Ok(None);
        };
        let days: u32 = text.trim().parse().map_err(|_| {
            Failure::lasting(format!(
                "the application's setting {key} is `{text}`, not a number of days; nothing was deleted"
            ))
        })?;
        let retention = Duration::from_days(days);
        match self.range {
            Some([least, most]) if !(least..=most).contains(&retention) => Err(Failure::lasting(format!(
                "the application's setting {key} is {days} days, outside {} to {} days; nothing was deleted",
                least.as_days(),
                most.as_days()
            ))),
            _ => Ok(Some(retention)),
        }
    }
}

/// The values of `:retention_days` and `:cutoff`.
fn values_of(
    retention: Duration,
    now: Timestamp,
    format: CutoffFormat,
    zone: &TimeZone,
) -> Result<Vec<(&'static str, Parameter)>, Failure> {
    let cutoff = now.checked_sub(retention.signed()).map_err(|_| {
        Failure::lasting(format!(
            "the retention of {retention} reaches back before the start of the calendar"
        ))
    })?;
    Ok(vec![
        ("retention_days", Parameter::days(retention.as_days())),
        ("cutoff", format.write(cutoff, zone)),
    ])
}
