//! The rows of the application's settings that override the declaration: the one it shares with this service, and one
//! of our own. A row may speak of jobs and what they inherit, never of how the service is reached or which files it
//! opens.

use serde_json::{Map, Value};

use super::settings::{CRON_OVERRIDES, CRON_SERVICE, Overrides};

/// What one row says.
#[derive(Debug)]
pub(crate) struct Row {
    pub key: &'static str,
    pub values: Vec<RowValue>,
    pub notes: Vec<RowNote>,
}

/// A value of a row.
#[derive(Debug)]
pub(crate) struct RowValue {
    /// Its path in the declaration.
    pub path: Vec<String>,
    /// What the row calls it, where that is not the path.
    pub name: Option<String>,
    pub value: Value,
}

/// Something in a row that does not apply.
#[derive(Debug)]
pub(crate) struct RowNote {
    /// What the row calls it.
    pub name: String,
    pub message: String,
    /// Whether it is worth knowing only: it may belong to a job of another declaration.
    pub is_harmless: bool,
}

/// Reads the rows; `is_declared` tells which jobs there are.
pub(crate) fn read(texts: &Overrides, is_declared: &dyn Fn(&str) -> bool) -> Vec<Row> {
    type Take = fn(&mut Row, &Map<String, Value>, &dyn Fn(&str) -> bool);
    let rows: [(&str, &Option<String>, Take); 2] = [
        (CRON_SERVICE, &texts.cron_service, Row::take_cron_service),
        (CRON_OVERRIDES, &texts.cron_overrides, Row::take_overrides),
    ];
    let read = |(key, text, take): (&'static str, &Option<String>, Take)| {
        let mut row = Row {
            key,
            values: Vec::new(),
            notes: Vec::new(),
        };
        match serde_json::from_str(text.as_ref()?) {
            Ok(Value::Object(mut json)) => {
                row.drop_nulls(&mut json, "");
                take(&mut row, &json, is_declared);
            }
            Ok(_) => row.ignore("it is not a JSON object; ignored"),
            Err(error) => row.ignore(format!("it is not JSON: {error}; ignored")),
        }
        Some(row)
    };
    rows.into_iter().filter_map(read).collect()
}

impl Row {
    fn ignore(&mut self, message: impl Into<String>) {
        self.notes.push(RowNote {
            name: String::new(),
            message: message.into(),
            is_harmless: false,
        });
    }

    fn undeclared(&mut self, name: String, job: &str) {
        self.notes.push(RowNote {
            name,
            message: format!("no job `{job}` is declared; ignored"),
            is_harmless: true,
        });
    }

    fn put(&mut self, path: &[&str], value: &Value, name: Option<String>) {
        self.values.push(RowValue {
            path: path.iter().map(ToString::to_string).collect(),
            name,
            value: value.clone(),
        });
    }

    /// A null says nothing of what is meant.
    fn drop_nulls(&mut self, table: &mut Map<String, Value>, above: &str) {
        table.retain(|key, value| {
            let path = format!("{above}{key}");
            if let Value::Object(below) = value {
                self.drop_nulls(below, &format!("{path}."));
            }
            if value.is_null() {
                self.ignore(format!("`{path}` is null; ignored"));
            }
            !value.is_null()
        });
    }

    fn take_cron_service(&mut self, row: &Map<String, Value>, is_declared: &dyn Fn(&str) -> bool) {
        match row.get("port") {
            Some(port) if port == 0 => self.ignore("`port` must not be 0; ignored"),
            Some(port) => self.put(&["server", "port"], port, Some("port".to_owned())),
            None => {}
        }
        let tasks = match row.get("tasks") {
            None => return,
            Some(Value::Object(tasks)) => tasks,
            Some(_) => return self.ignore("`tasks` is not a table; ignored"),
        };
        for (job, task) in tasks {
            if !is_declared(job) {
                self.undeclared(format!("tasks.{job}"), job);
                continue;
            }
            if !task.is_object() {
                self.ignore(format!("`tasks.{job}` is not a table; ignored"));
                continue;
            }
            for (theirs, ours) in [("cronExpression", "schedule"), ("enabled", "enabled")] {
                if let Some(value) = task.get(theirs) {
                    self.put(&["jobs", job, ours], value, Some(format!("tasks.{job}.{theirs}")));
                }
            }
        }
    }

    fn take_overrides(&mut self, row: &Map<String, Value>, is_declared: &dyn Fn(&str) -> bool) {
        for (section, value) in row {
            let Value::Object(table) = value else {
                self.ignore(format!("`{section}` is not a table; ignored"));
                continue;
            };
            match section.as_str() {
                "defaults" => self.put(&["defaults"], value, None),
                "jobs" => {
                    for (job, keys) in table {
                        if is_declared(job) {
                            self.put(&["jobs", job], keys, None);
                        } else {
                            self.undeclared(format!("jobs.{job}"), job);
                        }
                    }
                }
                _ => self.ignore(format!(
                    "`{section}` cannot be overridden from the database, only jobs and defaults; ignored"
                )),
            }
        }
    }
}
