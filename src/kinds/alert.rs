//! The kind `alert`: a query whose rows are findings. Each is told when it is new, again after a while, and when it is
//! gone.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::on_server;
use super::statement::{Declared, Window, lock_budget, names};
use crate::notifications::{About, Event, Message, Notification, addresses};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::server::Rights;
use crate::sql::sqlite::types::ValueRef;
use crate::sql::{CheckedDatabase, Dialect, Mode, Parameters, READING, Sandbox, bind, compile};
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
    cutoff_format: Option<CutoffFormat>,
}

fn default_title() -> Template {
    let Ok(title) = "{job}".parse();
    title
}

/// A row of the query, by the names of its columns.
type Row = BTreeMap<String, String>;

/// The rows of the query, no more than can be told.
#[derive(Default)]
struct Found {
    rows: Vec<Row>,
    bytes: usize,
}

impl Found {
    fn take(&mut self, row: Row) -> Result<(), Failure> {
        self.bytes += row.values().map(String::len).sum::<usize>();
        self.rows.push(row);
        let megabytes = MOST_BYTES / 1_000_000;
        let too_much = match () {
            () if self.bytes > MOST_BYTES => format!("the result of the query is larger than {megabytes} MB"),
            () if self.rows.len() > MOST => format!("the query found more than {MOST} rows; each would be a message"),
            () => return Ok(()),
        };
        Err(Failure::lasting(too_much))
    }
}

fn within_bounds(rows: Vec<Row>) -> Result<Vec<Row>, Failure> {
    let mut found = Found::default();
    rows.into_iter().try_for_each(|row| found.take(row))?;
    Ok(found.rows)
}

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
            if let Some(server) = ctx.server() {
                let rows = within_bounds(on_server::alert::rows(&declared, server, ctx, MOST)?)?;
                return Ok(rows.iter().map(|row| kind.finding(row)).collect());
            }
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
        let mut found = Found::default();
        let mut rows = statement.raw_query();
        while let Some(row) = connection.inside(|_| rows.next()).map_err(explain)? {
            let values = columns.iter().enumerate().map(|(index, column)| {
                let value = row.get_ref(index).map(in_words).unwrap_or_default();
                (column.clone(), value)
            });
            found.take(values.collect())?;
        }
        Ok(found.rows)
    }

    /// The columns that are named and that the query does not have.
    fn unknown_columns(&self, columns: &[String]) -> Vec<Issue> {
        let key = self.key.iter().map(|key| ("key", key.as_str()));
        let named = key.chain(self.message.fields().map(|field| ("message", field)));
        let unknown = named.filter(|(_, name)| !columns.iter().any(|column| column == name));
        unknown
            .map(|(key, name)| {
                let why = format!("the query has no column `{name}`; it has {}", columns.join(", "));
                Issue::error(key, why)
            })
            .collect()
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
        let mut issues = declared.unknown_parameters(Dialect::of(database));
        let columns = match database {
            None => return issues,
            Some(CheckedDatabase::File(file)) => {
                issues.extend(compile("query", &self.query, &declared.tables, READING, file));
                let sandbox = file.found().filter(|_| issues.is_empty());
                sandbox.and_then(|sandbox| {
                    let statement = sandbox.prepare(&self.query).ok()?;
                    Some(statement.column_names().map(str::to_owned).collect())
                })
            }
            Some(CheckedDatabase::Server(server)) => {
                issues.extend(declared.compile_on_server(0..self.query.len(), READING, server));
                let sound = Some(()).filter(|()| issues.is_empty());
                issues.extend(sound.and_then(|()| declared.check_zone(server)));
                sound.and_then(|()| on_server::alert::columns_of(&declared, server))
            }
        };
        issues.extend(columns.into_iter().flat_map(|columns| self.unknown_columns(&columns)));
        issues
    }

    fn rights(&self) -> Rights {
        on_server::alert::rights(&self.declared())
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
            // What a server compares has a type.
            if ctx.server().is_some() {
                return Ok(Vec::new());
            }
            let declared = kind.declared();
            declared.in_session(ctx, Mode::Read, |session| declared.check_rows(session))
        })
        .await
    }
}
