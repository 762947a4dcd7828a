//! The kind `sql`: runs one declared statement, for what the short form `cleanup` cannot say.

use schemars::JsonSchema;
use serde::Deserialize;

use super::compile::{WRITING, compile};
use super::fence::Fenced;
use super::forecast::{self, Forecast};
use super::record::Record;
use super::retention::Window;
use super::shared::Access;
use super::statement::{Declared, lock_budget, names};
use super::{Failure, Flaw, Kind, Report, Workbench};
use crate::values::{CutoffFormat, Duration, TableName, Template};

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
    fn name(&self) -> &'static str {
        "sql"
    }

    fn flaws(&self, database: Option<&Fenced>) -> Vec<Flaw> {
        if self.tables.is_empty() {
            let why = "the list is empty; name every table the statement may touch";
            return vec![Flaw::broken("tables", why)];
        }
        let declared = self.declared();
        let mut flaws = declared.flaws_around();
        flaws.extend(compile(
            declared.key,
            &declared.sql,
            &declared.tables,
            WRITING,
            database,
        ));
        flaws.extend(declared.flaw_of_record(database));
        flaws
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        self.declared().run(bench)
    }

    fn forecast(&self, bench: &Workbench<'_>) -> Result<Forecast, Failure> {
        let declared = self.declared();
        declared.in_session(bench, Access::Read, |session| {
            session.parameters.insert("batch", forecast::ALL);
            let refusal = declared.misfit(session)?;
            forecast::of_statement(&declared, session, refusal)
        })
    }

    fn doubts(&self, bench: &Workbench<'_>) -> Result<Vec<Flaw>, Failure> {
        let declared = self.declared();
        declared.in_session(bench, Access::Read, |session| {
            session.parameters.insert("batch", forecast::ALL);
            declared.doubts(session)
        })
    }
}
