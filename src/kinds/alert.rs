//! The kind `alert`: a query whose rows are findings. Each is told when it is new, again after a while, and when it is
//! gone.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::statement::{Declared, Window, lock_budget, names};
use crate::notifications::{About, Event, Message, Notification, addresses};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::sqlite::types::ValueRef;
use crate::sql::{CheckedDatabase, Mode, Parameters, READING, Sandbox, bind, compile};
use crate::state::{Change, Finding, NewMessage};
use crate::values::{CutoffFormat, Duration, Issue, TableName, TargetId, Template, iso, plural};

/// More findings than this are one finding: something else is wrong.
const MOST: usize = 1000;

/// The findings of a query have no more text than this.
const MOST_BYTES: usize = 4_000_000;

/// The keys of `[jobs.<id>.alert]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alert {
    query: String,
    tables: Vec<TableName>,
    /// The column that tells findings apart; all columns together, where it is left out.
    key: Option<String>,
    #[serde(default = "default_title")]
    title: Template,
    message: Template,
    notify: Vec<TargetId>,
    resend_after: Option<Duration>,
    retention: Option<Duration>,
    #[serde(default)]
    cutoff_format: CutoffFormat,
}

fn default_title() -> Template {
    let Ok(title) = "{job}".parse();
    title
}

/// A row of the query, by the names of its columns.
type Row = BTreeMap<String, String>;

impl Alert {
    fn declared(&self) -> Declared<'_> {
        Declared {
            key: "query",
            sql: self.query.clone(),
            tables: names(&self.tables),
            window: Window {
                retention: self.retention,
                setting: None,
                range: None,
                format: self.cutoff_format,
            },
            message: None,
            default_message: (String::new(), String::new()),
            record: None,
            lock_budget: lock_budget().to_std(),
        }
    }

    /// Runs the query on a thread that may wait; nothing can be written on its connection.
    async fn findings(&self, ctx: &RunContext) -> Result<Vec<Finding>, Failure> {
        ctx.blocking(self, |kind, ctx| {
            let declared = kind.declared();
            ctx.connected(Mode::Read, &ctx.interrupt(), &declared.tables, |connection| {
                let parameters = declared.parameters(connection, ctx)?;
                let rows = kind.query(connection, &parameters)?;
                Ok(rows.iter().map(|row| kind.finding(row)).collect())
            })
        })
        .await
    }

    fn query(&self, connection: &Sandbox, parameters: &Parameters) -> Result<Vec<Row>, Failure> {
        let explain = |error| connection.explain(error);
        connection.refuse_unnamed(&self.query)?;
        let mut statement = connection
            .inside(|connection| connection.prepare(&self.query))
            .map_err(explain)?;
        bind(&mut statement, parameters, &[])?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut rows = statement.raw_query();
        while let Some(row) = connection.inside(|_| rows.next()).map_err(explain)? {
            let values = columns.iter().enumerate().map(|(index, column)| {
                let value = row.get_ref(index).map(in_words).unwrap_or_default();
                (column.clone(), value)
            });
            let row: Row = values.collect();
            bytes += row.values().map(String::len).sum::<usize>();
            if bytes > MOST_BYTES {
                let megabytes = MOST_BYTES / 1_000_000;
                return Err(Failure::lasting(format!(
                    "the result of the query is larger than {megabytes} MB"
                )));
            }
            found.push(row);
            if found.len() > MOST {
                return Err(Failure::lasting(format!(
                    "the query found more than {MOST} rows; each would be a message"
                )));
            }
        }
        Ok(found)
    }

    fn finding(&self, row: &Row) -> Finding {
        let all = || row.values().cloned().collect::<Vec<_>>().join(" / ");
        Finding {
            key: self
                .key
                .as_ref()
                .and_then(|key| row.get(key).cloned())
                .unwrap_or_else(all),
            message: self.message.render(|name| row.get(name).cloned()),
        }
    }

    fn messages(&self, change: &Change, ctx: &RunContext) -> Vec<NewMessage> {
        let title = self.title.render(|name| (name == "job").then(|| ctx.job.to_string()));
        let (event, found, message) = match change {
            Change::Told(found) => (
                Event::Failed,
                found,
                Message::new(title, &found.message, "high", "warning"),
            ),
            Change::Gone(found, since) => {
                let said = format!("{}\nResolved; it was first found at {}.", found.message, iso(*since));
                let title = format!("{title}: resolved");
                let message = Message::new(title, said, "default", "white_check_mark");
                (Event::Recovered, found, message)
            }
        };
        let subject = format!("alert {} {}", ctx.job, found.key);
        let cause = format!("{} {}", event.as_str(), iso(ctx.now));
        let database = ctx.database_path().ok();
        let notification = |address| Notification {
            address,
            event,
            about: About::Job(ctx.job.clone()),
            message: message.clone(),
        };
        addresses(&self.notify, &ctx.targets, database)
            .into_iter()
            .filter_map(|address| notification(address).to_row(&subject, &cause))
            .collect()
    }
}

fn in_words(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

impl Kind for Alert {
    fn database(&self) -> Option<Mode> {
        Some(Mode::Read)
    }

    fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        vec![(vec!["notify"], &self.notify)]
    }

    fn check(&self, database: Option<&CheckedDatabase>) -> Vec<Issue> {
        let declared = self.declared();
        let mut issues = declared.unknown_parameters();
        let Some(database) = database else { return issues };
        issues.extend(compile("query", &self.query, &declared.tables, READING, database));
        let sandbox = database.found().filter(|_| issues.is_empty());
        let Some(statement) = sandbox.and_then(|sandbox| sandbox.prepare(&self.query).ok()) else {
            return issues;
        };
        let columns: Vec<&str> = statement.column_names().collect();
        let mut unknown = |key: &str, name: &str| {
            if !columns.contains(&name) {
                let why = format!("the query has no column `{name}`; it has {}", columns.join(", "));
                issues.push(Issue::error(key, why));
            }
        };
        self.key.iter().for_each(|key| unknown("key", key));
        self.message.fields().for_each(|field| unknown("message", field));
        issues
    }

    fn only_looks(&self) -> bool {
        true
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        let found = self.findings(ctx).await?;
        let count = found.len();
        let resend = self.resend_after.map(Duration::signed);
        let (kind, writing) = (self.clone(), ctx.clone());
        let write = move |change: &Change| kind.messages(change, &writing);
        let changes = ctx
            .store
            .reconcile(ctx.job.clone(), found, (ctx.moment(), resend), write);
        let changes = changes.await?;
        if !changes.is_empty() {
            ctx.deliver(false).await?;
        }
        let gone = changes
            .iter()
            .filter(|change| matches!(change, Change::Gone(..)))
            .count();
        let told = changes.len() - gone;
        Ok(Report {
            message: format!("{}, {told} reported, {gone} resolved", plural(count as u64, "finding")),
            statistics: Some(serde_json::json!({ "findings": count, "told": told, "gone": gone })),
            warnings: Vec::new(),
        })
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        let found = self.findings(ctx).await?;
        let lines = found
            .iter()
            .map(|found| format!("{}: {}", found.key, found.message.replace('\n', " ")));
        let json = found
            .iter()
            .map(|found| serde_json::json!({ "key": found.key, "message": found.message }));
        Ok(Some(DryRun {
            lines: std::iter::once(plural(found.len() as u64, "finding"))
                .chain(lines)
                .collect(),
            json: serde_json::json!({ "findings": json.collect::<Vec<_>>() }),
            refusal: None,
        }))
    }

    async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        ctx.blocking(self, |kind, ctx| {
            let declared = kind.declared();
            declared.in_session(ctx, Mode::Read, |session| declared.check_rows(session))
        })
        .await
    }
}
