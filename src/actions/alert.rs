//! The kind `alert`: a query whose rows are findings. Each is told when it is new, again after a while, and when it is
//! gone.

use std::collections::BTreeMap;
use std::time::Instant;

use rusqlite::types::ValueRef;
use schemars::JsonSchema;
use serde::Deserialize;

use super::compile::{READING, compile};
use super::fence::Fenced;
use super::forecast::Forecast;
use super::retention::Window;
use super::session::{Parameters, bind};
use super::shared::{Access, on_database};
use super::statement::{Declared, lock_budget, names};
use super::{Failure, Flaw, Kind, Report, Workbench};
use crate::duplistatus::message::Message;
use crate::notifications::letter::{About, Envelope, Event, addresses};
use crate::store::findings::{Change, Found, reconcile};
use crate::store::outbox::Letter;
use crate::values::{CutoffFormat, Duration, TableName, TargetId, Template, iso, plural};

/// More findings than this are one finding: something else is wrong.
const MOST: usize = 1000;

/// The findings of a query have no more text than this.
const MOST_BYTES: usize = 4_000_000;

/// The keys of `[jobs.<id>.alert]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alert {
    query: String,
    /// The tables it reads.
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

    /// Runs the query; nothing can be written on its connection.
    fn rows(&self, bench: &Workbench<'_>) -> Result<Vec<Row>, Failure> {
        let declared = self.declared();
        on_database(bench, Access::Read, &declared.tables, |connection| {
            let parameters = declared.parameters(connection, bench)?;
            self.query(connection, &parameters)
        })
    }

    fn query(&self, connection: &Fenced, parameters: &Parameters) -> Result<Vec<Row>, Failure> {
        let explain = |error| connection.explain(error);
        connection.touched_alone(&self.query).map_err(explain)?;
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
                    "what the query found is more than {megabytes} MB"
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

    fn found(&self, row: &Row) -> Found {
        let all = || row.values().cloned().collect::<Vec<_>>().join(" / ");
        Found {
            key: self
                .key
                .as_ref()
                .and_then(|key| row.get(key).cloned())
                .unwrap_or_else(all),
            message: self.message.render(|name| row.get(name).cloned()),
        }
    }

    fn letters(&self, change: &Change, bench: &Workbench<'_>) -> Vec<Letter> {
        let title = self.title.render(|name| (name == "job").then(|| bench.job.to_string()));
        let (event, found, message) = match change {
            Change::Told(found) => (
                Event::Failed,
                found,
                text(title, found.message.clone(), "high", "warning"),
            ),
            Change::Gone(found, since) => {
                let said = format!("{}\nIt is gone; it was there since {}.", found.message, iso(*since));
                let title = format!("{title}: over");
                (
                    Event::Recovered,
                    found,
                    text(title, said, "default", "white_check_mark"),
                )
            }
        };
        let subject = format!("alert {} {}", bench.job, found.key);
        let cause = format!("{} {}", event.as_str(), iso(bench.now));
        let envelope = |address| Envelope {
            address,
            event,
            about: About::Job(bench.job.clone()),
            message: message.clone(),
        };
        addresses(&self.notify, bench.targets, Some(bench.database))
            .into_iter()
            .filter_map(|address| envelope(address).seal(&subject, &cause))
            .collect()
    }
}

fn text(title: String, text: String, priority: &str, tags: &str) -> Message {
    Message {
        title,
        text,
        priority: priority.to_owned(),
        tags: tags.to_owned(),
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
    fn name(&self) -> &'static str {
        "alert"
    }

    fn writes(&self) -> bool {
        false
    }

    fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        vec![(vec!["notify"], &self.notify)]
    }

    fn flaws(&self, database: Option<&Fenced>) -> Vec<Flaw> {
        let declared = self.declared();
        let mut flaws: Vec<Flaw> = declared.unknown_parameters();
        flaws.extend(compile("query", &self.query, &declared.tables, READING, database));
        let columns = database.filter(|_| flaws.is_empty()).and_then(|database| {
            let statement = database.prepare(&self.query).ok()?;
            Some(statement.column_names().map(str::to_owned).collect::<Vec<_>>())
        });
        if let Some(columns) = columns {
            let known = columns.join(", ");
            let mut unknown = |key: &'static str, name: &str| {
                if !columns.iter().any(|column| column == name) {
                    flaws.push(Flaw::broken(
                        key,
                        format!("the query has no column `{name}`; it has {known}"),
                    ));
                }
            };
            self.key.iter().for_each(|key| unknown("key", key));
            self.message.fields().for_each(|field| unknown("message", field));
        }
        flaws
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        let began = Instant::now();
        let found: Vec<Found> = self.rows(bench)?.iter().map(|row| self.found(row)).collect();
        let resend = self.resend_after.map(Duration::signed);
        let changes = reconcile(bench.state, bench.job, &found, (bench.now, resend), |change| {
            self.letters(change, bench)
        })?;
        if !changes.is_empty() {
            bench.deliver(began, false)?;
        }
        let gone = changes
            .iter()
            .filter(|change| matches!(change, Change::Gone(..)))
            .count();
        let told = changes.len() - gone;
        Ok(Report {
            message: format!("{}, {told} told, {gone} gone", plural(found.len() as u64, "finding")),
            statistics: Some(serde_json::json!({ "findings": found.len(), "told": told, "gone": gone })),
            troubles: Vec::new(),
        })
    }

    fn forecast(&self, bench: &Workbench<'_>) -> Result<Forecast, Failure> {
        let found: Vec<Found> = self.rows(bench)?.iter().map(|row| self.found(row)).collect();
        let lines = found
            .iter()
            .map(|found| format!("{}: {}", found.key, found.message.replace('\n', " ")));
        let json = found
            .iter()
            .map(|found| serde_json::json!({ "key": found.key, "message": found.message }));
        Ok(Forecast {
            lines: std::iter::once(plural(found.len() as u64, "finding"))
                .chain(lines)
                .collect(),
            json: serde_json::json!({ "findings": json.collect::<Vec<_>>() }),
            refusal: None,
        })
    }

    fn doubts(&self, bench: &Workbench<'_>) -> Result<Vec<Flaw>, Failure> {
        let declared = self.declared();
        declared.in_session(bench, Access::Read, |session| declared.doubts(session))
    }
}
