//! The kind `cleanup`: deletes the rows of one table that are past their time, gently.

use schemars::JsonSchema;
use serde::Deserialize;

use super::guards::{Examination, Limits};
use super::on_server::cleanup::Deleting;
use super::record::Record;
use super::statement::{Declared, Window, lock_budget, names};
use super::{dry_run, on_server};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::server::Rights;
use crate::sql::{
    CheckedDatabase, CheckedFile, Deletion, Dialect, Maintenance, Mode, READING, RowKey, Sandbox, Session, WRITING,
    check_batches, compile, explain, missing_table, plain, search, tokens,
};
use crate::values::{CutoffFormat, Duration, Issue, TableName, Template};

/// The share of a table that may go, unless it is declared.
const MOST: f64 = 0.9;
/// The keys of `[jobs.<id>.cleanup]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cleanup {
    delete_from: TableName,
    r#where: String,
    /// Other tables that go with it: read by the condition, or changed by cascades and triggers.
    #[serde(default)]
    tables: Vec<TableName>,
    cutoff_format: Option<CutoffFormat>,
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

    fn maintenance(&self) -> Maintenance {
        Maintenance {
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

    fn deleting(&self) -> Deleting<'_> {
        Deleting {
            table: self.delete_from.as_str(),
            condition: &self.r#where,
            limits: self.limits(),
        }
    }

    fn check_in_file(&self, file: &CheckedFile) -> Vec<Issue> {
        let declared = self.declared();
        let of_table = match file.found() {
            Some(sandbox) => self.check_table(file, sandbox),
            None => compile("where", &declared.sql, &declared.tables, WRITING, file),
        };
        let of_maintenance = file.found().and_then(|sandbox| self.maintenance().issue(sandbox));
        let of_record = declared.check_record(file);
        of_table.into_iter().chain(of_record).chain(of_maintenance).collect()
    }

    /// What is wrong with the table, or worth knowing of it.
    fn check_table(&self, database: &CheckedFile, sandbox: &Sandbox) -> Option<Issue> {
        let (table, condition) = (self.delete_from.as_str(), self.r#where.as_str());
        let key = match RowKey::of(sandbox, table).ok()? {
            None => return Some(missing_table(sandbox, "delete_from", table)),
            Some(RowKey::View) => {
                let why = format!("`{table}` is a view; name the table behind it");
                return Some(Issue::error("delete_from", why));
            }
            Some(key) => key,
        };
        // What the run compiles is compiled here: the condition by itself, so that no bracket in it closes ours, then
        // each statement it stands in.
        let bare = format!("DELETE FROM \"{table}\" WHERE {condition}\n");
        let tables = self.declared().tables;
        let statements = [
            (search(table, condition), READING),
            (bare, WRITING),
            (plain(table, condition), WRITING),
        ];
        let refused = statements
            .iter()
            .find_map(|(sql, verbs)| compile("where", sql, &tables, verbs, database));
        let of_batches = || {
            let refused = check_batches(sandbox, table, condition, &key).err()?;
            Some(Issue::error("where", refused.message))
        };
        refused.or_else(of_batches).or_else(|| self.check_search(sandbox))
    }

    fn check_search(&self, sandbox: &Sandbox) -> Option<Issue> {
        let (declared, table) = (self.declared(), self.delete_from.as_str());
        let access = explain(sandbox, &declared.sql, &declared.sample(), Some(table)).ok()?;
        let is_all = matches!(self.r#where.trim().to_ascii_lowercase().as_str(), "true" | "1");
        (!access.by_index && !is_all).then(|| {
            let why = format!("no index supports the condition: every run reads all of `{table}`");
            Issue::warning("where", why)
        })
    }

    fn delete(&self, ctx: &RunContext) -> Result<Report, Failure> {
        let declared = self.declared();
        if let Some(server) = ctx.server() {
            return on_server::cleanup::run(&declared, self.deleting(), server, ctx);
        }
        let done = declared.in_session(ctx, Mode::Write, |session| {
            let found = self.examine(session)?;
            if let Some(why) = found.refusal() {
                return Err(Failure::lasting(why));
            }
            let mut rows = 0;
            if found.rows > 0 {
                let what = (self.delete_from.as_str(), self.r#where.as_str());
                let mut deletion = Deletion::new(session, what, self.max_rows, declared.lock_budget)?;
                let done = deletion.run(found.rows, found.search);
                rows = deletion.rows;
                done.map_err(|error| Failure::from(error).after(rows, "deleted"))?;
            }
            let said = self
                .maintenance()
                .run(session.connection, declared.lock_budget, session.interrupt);
            let mut report = declared.finish(session, rows)?;
            if let Some(said) = said {
                report.message = format!("{}; {said}", report.message);
            }
            Ok(report)
        });
        done.inspect_err(|failure| declared.record_failure(ctx, failure))
    }
}

impl Kind for Cleanup {
    fn database(&self) -> Option<Mode> {
        Some(Mode::Write)
    }

    fn check(&self, database: Option<&CheckedDatabase>) -> Vec<Issue> {
        let error = |key: &str, why: &str| vec![Issue::error(key, why)];
        if self.r#where.trim().is_empty() {
            return error(
                "where",
                "it is empty, so every row would go; write \"true\" if you mean that",
            );
        }
        let dialect = Dialect::of(database);
        if dialect == Dialect::Sqlite && tokens(&self.r#where).iter().any(|token| token.is(";")) {
            return error("where", "`;` ends a statement; a condition alone is expected here");
        }
        let declared = self.declared();
        let mut issues = declared.check_around(dialect);
        if !(0.0..=1.0).contains(&self.max_share) {
            issues.extend(error(
                "max_share",
                "a share from 0 to 1 is expected, such as 0.5 for half",
            ));
        }
        match database {
            None => {}
            Some(CheckedDatabase::File(file)) => issues.extend(self.check_in_file(file)),
            Some(CheckedDatabase::Server(server)) => {
                issues.extend(on_server::cleanup::check(&declared, self.deleting(), server));
                issues.extend(self.maintenance().issue_on_server());
            }
        }
        issues
    }

    fn rights(&self) -> Rights {
        on_server::cleanup::rights(&self.declared(), self.delete_from.as_str())
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        ctx.blocking(self, Self::delete).await
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        let found = ctx.blocking(self, |kind, ctx| {
            let declared = kind.declared();
            if let Some(server) = ctx.server() {
                return on_server::cleanup::plan(&declared, kind.deleting(), server, ctx);
            }
            declared.in_session(ctx, Mode::Read, |session| {
                let found = kind.examine(session)?;
                dry_run::of_deletion(&declared, kind.delete_from.as_str(), session, &found)
            })
        });
        found.await.map(Some)
    }

    async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        ctx.blocking(self, |kind, ctx| {
            let declared = kind.declared();
            if let Some(server) = ctx.server() {
                return on_server::cleanup::examine(&declared, kind.deleting(), server, ctx);
            }
            declared.in_session(ctx, Mode::Read, |session| {
                let found = kind.examine(session)?;
                let refusals = found
                    .refusals()
                    .iter()
                    .map(|why| format!("a run would fail now: {why}"));
                let all = refusals.chain(found.unchecked().iter().cloned());
                Ok(all.map(|why| Issue::warning("where", why)).collect())
            })
        })
        .await
    }
}
