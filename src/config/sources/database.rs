//! Overrides from the application's database: the row it shares with this service, and the row of our own. A row
//! may speak of jobs and what they inherit, never of how the service is reached or which files it opens.

use figment::value::Value;
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::config::layer::{Layer, Source, Stack};
use crate::config::merged::path;
use crate::config::problem::{Problem, Severity};
use crate::duplistatus::settings::{self, CRON_OVERRIDES, CRON_SERVICE, Overrides};
use crate::store::sqlite::{describe, open_read};

/// What the rows say.
pub(in crate::config) struct Rows {
    pub layers: Vec<Layer>,
    pub noted: Vec<Problem>,
    /// Whether the database could be asked.
    pub outcome: Result<(), String>,
    /// What was read.
    pub texts: Overrides,
}

/// Reads both rows from the default database of what is declared so far.
pub(in crate::config) fn read(declared: Stack<'_>, candidate: Option<&str>) -> Rows {
    let mut rows = Rows {
        layers: Vec::new(),
        noted: Vec::new(),
        outcome: Ok(()),
        texts: Overrides::default(),
    };
    let Some(file) = default_database(declared) else {
        return rows;
    };
    rows.outcome = open_read(std::path::Path::new(&file))
        .map_err(|unusable| unusable.to_string())
        .and_then(|connection| {
            rows.read_all(&connection, declared, candidate)
                .map_err(|error| format!("database {file}: {}", describe(&error)))
        });
    rows
}

/// The path of the default database, where the declaration is sound enough to tell.
fn default_database(declared: Stack<'_>) -> Option<String> {
    let databases = declared.keys("databases");
    let id = match declared.get(&["defaults", "database"]) {
        Some(id) => id.as_str()?,
        None if databases.len() == 1 => databases.first()?,
        None => return None,
    };
    Some(declared.get(&["databases", id, "path"])?.as_str()?.to_owned())
}

impl Rows {
    /// Of a database that is not asked: what was read before stands.
    pub(in crate::config) fn unasked() -> Self {
        Self {
            layers: Vec::new(),
            noted: Vec::new(),
            outcome: Err("the database was not asked".to_owned()),
            texts: Overrides::default(),
        }
    }

    fn read_all(
        &mut self,
        connection: &Connection,
        declared: Stack<'_>,
        candidate: Option<&str>,
    ) -> rusqlite::Result<()> {
        self.texts = settings::overrides(connection)?;
        let Overrides {
            cron_service,
            cron_overrides,
        } = self.texts.clone();
        for (key, stored, take) in [
            (
                CRON_SERVICE,
                cron_service,
                Self::take_cron_service as fn(&mut Self, &Json, Stack<'_>),
            ),
            (CRON_OVERRIDES, cron_overrides, Self::take_overrides),
        ] {
            let given = candidate.filter(|_| key == CRON_OVERRIDES).map(str::to_owned);
            let Some(text) = given.or(stored) else { continue };
            match serde_json::from_str(&text) {
                Ok(mut json @ Json::Object(_)) => {
                    self.drop_nulls(key, &mut json, "");
                    take(self, &json, declared);
                }
                Ok(_) => self.note(key, "it is not a JSON object; set aside"),
                Err(error) => self.note(key, format!("it is not JSON: {error}; set aside")),
            }
        }
        Ok(())
    }

    fn note(&mut self, key: &'static str, message: impl Into<String>) {
        self.noted
            .push(Problem::of_source(Source::Row(key), Severity::SetAside, message));
    }

    /// A null says nothing of what is meant.
    fn drop_nulls(&mut self, row: &'static str, json: &mut Json, path: &str) {
        let Json::Object(table) = json else { return };
        table.retain(|key, value| {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            self.drop_nulls(row, value, &path);
            if value.is_null() {
                self.note(row, format!("`{path}` is null, which says nothing; set aside"));
            }
            !value.is_null()
        });
    }

    fn take_cron_service(&mut self, row: &Json, declared: Stack<'_>) {
        let mut layer = Layer::new(Source::Row(CRON_SERVICE));
        let mut put = |path: Vec<String>, value: &Json, name: String| {
            layer.insert(&path, convert(value));
            layer.names.insert(path, name);
        };
        let port = row.get("port");
        if port.is_some_and(|port| port == 0) {
            self.note(CRON_SERVICE, "`port` must not be 0; set aside");
        } else if let Some(port) = port {
            put(path(&["server", "port"]), port, "port".to_owned());
        }
        let tasks = row
            .get("tasks")
            .cloned()
            .unwrap_or_else(|| Json::Object(serde_json::Map::new()));
        let Json::Object(tasks) = tasks else {
            return self.note(CRON_SERVICE, "`tasks` is no table; set aside");
        };
        for (job, task) in &tasks {
            if declared.get(&["jobs", job]).is_none() {
                self.noted.push(undeclared(CRON_SERVICE, format!("tasks.{job}"), job));
                continue;
            }
            if !task.is_object() {
                self.note(CRON_SERVICE, format!("`tasks.{job}` is no table; set aside"));
                continue;
            }
            for (theirs, ours) in [("cronExpression", "schedule"), ("enabled", "enabled")] {
                if let Some(value) = task.get(theirs) {
                    put(path(&["jobs", job, ours]), value, format!("tasks.{job}.{theirs}"));
                }
            }
        }
        self.layers.push(layer);
    }

    fn take_overrides(&mut self, row: &Json, declared: Stack<'_>) {
        let mut layer = Layer::new(Source::Row(CRON_OVERRIDES));
        let Json::Object(sections) = row else { return };
        for (section, value) in sections {
            let Json::Object(table) = value else {
                self.note(CRON_OVERRIDES, format!("`{section}` is no table; set aside"));
                continue;
            };
            match section.as_str() {
                "defaults" => layer.insert(&path(&["defaults"]), convert(value)),
                "jobs" => {
                    for (job, keys) in table {
                        if declared.get(&["jobs", job]).is_some() {
                            layer.insert(&path(&["jobs", job]), convert(keys));
                        } else {
                            self.noted.push(undeclared(CRON_OVERRIDES, format!("jobs.{job}"), job));
                        }
                    }
                }
                _ => self.note(
                    CRON_OVERRIDES,
                    format!("`{section}` cannot be overridden from the database, only jobs and defaults; set aside"),
                ),
            }
        }
        self.layers.push(layer);
    }
}

fn undeclared(row: &'static str, name: String, job: &str) -> Problem {
    let message = format!("no job `{job}` is declared; set aside");
    Problem {
        name,
        ..Problem::of_source(Source::Row(row), Severity::Warning, message)
    }
}

fn convert(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(figment::value::Empty::Unit),
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            _ => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Json::String(text) => text.clone().into(),
        Json::Array(list) => list.iter().map(convert).collect::<Vec<_>>().into(),
        Json::Object(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), convert(value)))
            .collect::<figment::value::Dict>()
            .into(),
    }
}
