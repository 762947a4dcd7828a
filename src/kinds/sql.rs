//! The kind `sql`: runs one declared statement, for what the short form `cleanup` cannot say.

use schemars::JsonSchema;
use serde::Deserialize;

use super::dry_run;
use super::record::Record;
use super::statement::{Declared, Window, lock_budget, names};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::{CheckedDatabase, Mode, WRITING, compile};
use crate::values::{CutoffFormat, Duration, Issue, TableName, Template};

/// The keys of `[jobs.<id>.sql]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sql {
    statement: String,
    tables: Vec<TableName>,
    #[serde(default)]
    cutoff_format: CutoffFormat,
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
        let mut issues = declared.check_around();
        if let Some(database) = database {
            let (sql, tables) = (&declared.sql, &declared.tables);
            issues.extend(compile(declared.key, sql, tables, WRITING, database));
            issues.extend(declared.check_record(database));
        }
        issues
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        ctx.blocking(self, |kind, ctx| kind.declared().run(ctx)).await
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        let found = ctx.blocking(self, |kind, ctx| {
            let declared = kind.declared();
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
            let declared = kind.declared();
            declared.in_session(ctx, Mode::Read, |session| {
                session.parameters.insert("batch", dry_run::ALL);
                declared.check_rows(session)
            })
        })
        .await
    }
}
