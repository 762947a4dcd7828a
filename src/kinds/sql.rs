//! The kind `sql`: runs one declared statement, for what the short form `cleanup` cannot say.

use schemars::JsonSchema;
use serde::Deserialize;

use super::record::Record;
use super::statement::{Declared, Window, lock_budget, names};
use super::{dry_run, on_server};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::server::Rights;
use crate::sql::{CheckedDatabase, Dialect, Mode, WRITING, compile};
use crate::values::{CutoffFormat, Duration, Issue, TableName, Template};

/// The keys of `[jobs.<id>.sql]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sql {
    statement: String,
    tables: Vec<TableName>,
    cutoff_format: Option<CutoffFormat>,
    retention: Option<Duration>,
    retention_setting: Option<String>,
    retention_range: Option<[Duration; 2]>,
    #[serde(default = "lock_budget")]
    lock_budget: Duration,
    message: Option<Template>,
    record: Option<Record>,
}

impl Sql {
    fn declared(&self) -> Declared<'_> {
        Declared {
            key: "statement",
            sql: self.statement.clone(),
            tables: names(&self.tables),
            window: Window {
                retention: self.retention,
                setting: self.retention_setting.as_deref(),
                range: self.retention_range,
                format: self.cutoff_format,
            },
            message: self.message.as_ref(),
            default_message: (String::new(), " changed".to_owned()),
            record: self.record.as_ref(),
            lock_budget: self.lock_budget.to_std(),
        }
    }
}

impl Kind for Sql {
    fn database(&self) -> Option<Mode> {
        Some(Mode::Write)
    }

    fn check(&self, database: Option<&CheckedDatabase>) -> Vec<Issue> {
        if self.tables.is_empty() {
            let why = "the list is empty; name every table the statement may touch";
            return vec![Issue::error("tables", why)];
        }
        let declared = self.declared();
        let mut issues = declared.check_around(Dialect::of(database));
        match database {
            None => {}
            Some(CheckedDatabase::File(file)) => {
                let (sql, tables) = (&declared.sql, &declared.tables);
                issues.extend(compile(declared.key, sql, tables, WRITING, file));
                issues.extend(declared.check_record(file));
            }
            Some(CheckedDatabase::Server(server)) => issues.extend(on_server::sql::check(&declared, server)),
        }
        issues
    }

    fn rights(&self) -> Rights {
        on_server::sql::rights(&self.declared())
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        ctx.blocking(self, |kind, ctx| match ctx.server() {
            Some(server) => on_server::sql::run(&kind.declared(), server, ctx),
            None => kind.declared().run(ctx),
        })
        .await
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        let found = ctx.blocking(self, |kind, ctx| {
            let declared = kind.declared();
            if let Some(server) = ctx.server() {
                return on_server::sql::plan(&declared, server, ctx);
            }
            declared.in_session(ctx, Mode::Read, |session| {
                session.parameters.insert("batch", dry_run::ALL);
                let refusal = declared.misfit(session)?;
                dry_run::of_statement(&declared, session, refusal)
            })
        });
        found.await.map(Some)
    }

    async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        ctx.blocking(self, |kind, ctx| {
            // What a server compares has a type.
            if ctx.server().is_some() {
                return Ok(Vec::new());
            }
            let declared = kind.declared();
            declared.in_session(ctx, Mode::Read, |session| {
                session.parameters.insert("batch", dry_run::ALL);
                declared.check_rows(session)
            })
        })
        .await
    }
}
