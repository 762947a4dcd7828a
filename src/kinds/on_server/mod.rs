//! What the kinds that run SQL do on a database that is on a PostgreSQL server. What they declare is the same.

pub(super) mod alert;
pub(super) mod cleanup;
pub(super) mod sql;

use std::ops::Range;

use super::record::Record;
use super::statement::Declared;
use crate::run::{Failure, Report, RunContext};
use crate::sql::server::{
    Access, CheckedServer, Right, Rights, Server, ServerSession, WRITING_ON_SERVER, access, compile_on_server,
    names_of_parameters,
};
use crate::sql::{Dialect, Parameters};
use crate::values::{Issue, Parameter, TimeZone};

impl Declared<'_> {
    /// A session of the run, with its parameters.
    pub(super) fn session_on(&self, server: &Server, ctx: &RunContext) -> Result<ServerSession, Failure> {
        let mut session = ctx.session_on(server)?;
        session.parameters = self.parameters_on_server(ctx, &server.zone())?;
        Ok(session)
    }

    fn parameters_on_server(&self, ctx: &RunContext, zone: &TimeZone) -> Result<Parameters, Failure> {
        let mut parameters: Parameters = [
            ("now", Parameter::Instant(ctx.now)),
            ("scheduled_at", Parameter::Instant(ctx.scheduled_at)),
            ("job", Parameter::Text(ctx.job.to_string())),
        ]
        .into();
        parameters.extend(self.window.parameters_on_server(ctx.now, zone)?);
        Ok(parameters)
    }

    /// A value for each parameter there is, for checking what is not run.
    pub(super) fn sample_on_server(&self, zone: &TimeZone) -> Parameters {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut sample: Parameters = [
            ("now", Parameter::Instant(now)),
            ("scheduled_at", Parameter::Instant(now)),
            ("job", Parameter::Text(String::new())),
            ("batch", Parameter::Integer(1)),
            ("retention_days", Parameter::Integer(0)),
        ]
        .into();
        sample.insert("cutoff", self.window.format_on_server().write(now, zone));
        sample
    }

    /// Whether a parameter has no value, which is told already: the server would say it again, in other words.
    pub(super) fn has_wrong_parameters(&self) -> bool {
        let issues = self.unknown_parameters(Dialect::Postgresql);
        issues.iter().any(|issue| issue.severity.is_error())
    }

    /// What is wrong with the statement there, in which `declared` is what stands in the declaration.
    pub(super) fn compile_on_server(
        &self,
        declared: Range<usize>,
        verbs: &[&str],
        server: &CheckedServer,
    ) -> Option<Issue> {
        let parameters = self.sample_on_server(server.zone());
        compile_on_server(
            self.key,
            (&self.sql, declared),
            &self.tables,
            (verbs, &parameters),
            server,
        )
    }

    /// What is worth knowing of columns that say no time zone.
    pub(super) fn check_zone(&self, server: &CheckedServer) -> Option<Issue> {
        let columns = server.columns_without_zone(&self.sql, &self.tables);
        (!columns.is_empty()).then(|| {
            let why = format!(
                "{} has no time zone, and its values are read as UTC; `time_zone` of the database confirms that, or names another one",
                columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ")
            );
            Issue::warning(self.key, why)
        })
    }

    /// What is wrong with the row that is written afterwards.
    pub(super) fn check_record_on_server(&self, server: &CheckedServer) -> Option<Issue> {
        let record = self.record?;
        let tables = self.tables_of_record(record);
        let parameters = [("row", Parameter::Text("{}".to_owned()))].into();
        let compiled = record.statements_on_server().iter().find_map(|sql| {
            compile_on_server(
                "record",
                (sql, 0..sql.len()),
                &tables,
                (WRITING_ON_SERVER, &parameters),
                server,
            )
        });
        compiled.or_else(|| self.check_values_on_server(record, server))
    }

    /// What is wrong with the values of that row, for the columns that they are for.
    fn check_values_on_server(&self, record: &Record, server: &CheckedServer) -> Option<Issue> {
        let mut parameters = self.sample_on_server(server.zone());
        parameters.insert("rows", Parameter::Integer(1));
        parameters.insert("error", Parameter::Text(String::new()));
        let sql = format!(
            "SELECT json_populate_record(NULL::\"{}\", :row::json) IS NULL",
            record.table()
        );
        record.rows().find_map(|columns| {
            let row = [("row", Parameter::Text(super::record::row(&columns, &parameters)))];
            let read = server.ask(|session| session.reading(|session| session.query(&sql, &row)))?;
            let error = read.err().filter(|error| error.code.is_some())?;
            Some(Issue::error(
                "record",
                format!("a row of it cannot be written: the database {error}"),
            ))
        })
    }

    /// What the keys around the statement say that only a file understands.
    pub(super) fn check_window_on_server(&self) -> Option<Issue> {
        let why = "it is read from the settings of the application, which are in a SQLite file";
        self.window.setting.map(|_| Issue::error("retention_setting", why))
    }

    /// How the server would find the rows of the statement.
    pub(super) fn access_on(&self, session: &mut ServerSession) -> Result<Access, Failure> {
        access(session, &self.sql).map_err(|error| session.explain(&error).into())
    }

    /// Writes the record, and says what was done.
    pub(super) fn finish_on(&self, session: &mut ServerSession, rows: u64) -> Result<Report, Failure> {
        let count = Parameter::Integer(i64::try_from(rows).unwrap_or(i64::MAX));
        session.parameters.insert("rows", count);
        if let Some(record) = self.record {
            record
                .write_on(session)
                .map_err(|failure| failure.after(rows, "changed"))?;
        }
        Ok(self.report(&session.parameters, rows))
    }

    /// Writes the row that tells of a failure that would come again, where one is declared.
    pub(super) fn record_failure_on(&self, server: &Server, ctx: &RunContext, failure: &Failure) {
        let is_lasting = !failure.is_transient && !ctx.cancel.is_cancelled();
        let Some(record) = self.record.filter(|_| is_lasting) else {
            return;
        };
        let written = self.session_on(server, ctx).and_then(|mut session| {
            let error = Parameter::Text(failure.message.clone());
            session.parameters.insert("error", error);
            record.write_failure_on(&mut session)
        });
        if let Err(why) = written {
            tracing::warn!(job = %ctx.job, "the failure could not be recorded: {}", why.message);
        }
    }

    /// The rights that the record needs.
    fn rights_of_record(&self) -> Rights {
        let table = self
            .record
            .map(|record| (record.table().to_owned(), [Right::Insert].into()));
        table.into_iter().collect()
    }

    /// Whether it is run in rounds.
    fn is_in_rounds(&self) -> bool {
        names_of_parameters(&self.sql).contains(&"batch")
    }
}

impl Record {
    /// The statements that write the rows on a server, which turns each value into what its column holds.
    fn statements_on_server(&self) -> Vec<String> {
        self.rows()
            .map(|columns| self.statement_on_server(columns.keys()))
            .collect()
    }

    fn statement_on_server<'a>(&self, columns: impl Iterator<Item = &'a crate::values::TableName>) -> String {
        let names: Vec<String> = columns.map(|column| format!("\"{column}\"")).collect();
        let (table, names) = (self.table(), names.join(", "));
        format!(
            "INSERT INTO \"{table}\" ({names}) SELECT {names} FROM json_populate_record(NULL::\"{table}\", :row::json)"
        )
    }

    fn write_on(&self, session: &mut ServerSession) -> Result<(), Failure> {
        self.rows()
            .next()
            .map_or(Ok(()), |columns| self.insert_on(&columns, session))
    }

    fn write_failure_on(&self, session: &mut ServerSession) -> Result<(), Failure> {
        self.rows()
            .nth(1)
            .map_or(Ok(()), |columns| self.insert_on(&columns, session))
    }

    fn insert_on(&self, columns: &super::record::Columns, session: &mut ServerSession) -> Result<(), Failure> {
        let row = Parameter::Text(super::record::row(columns, &session.parameters));
        let sql = self.statement_on_server(columns.keys());
        let inserted = session.execute(&sql, &[("row", row)]);
        inserted.map(drop).map_err(|error| session.explain(&error).into())
    }
}
