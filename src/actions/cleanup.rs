//! The kind `cleanup`: deletes the rows of one table that are past their time.

use rusqlite::Connection;
use serde::Deserialize;

use super::forecast::{self, Forecast};
use super::record::Record;
use super::retention::Window;
use super::statement::Declared;
use super::{Failure, Flaw, Kind, Report, Workbench};
use crate::values::{CutoffFormat, Duration, TableName, Template};

/// The keys of `[jobs.<id>.cleanup]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleanup {
    delete_from: TableName,
    r#where: String,
    #[serde(default)]
    cutoff_format: CutoffFormat,
    retention: Option<Duration>,
    retention_setting: Option<String>,
    retention_range: Option<[Duration; 2]>,
    message: Option<Template>,
    record: Option<Record>,
}

impl Cleanup {
    fn declared(&self) -> Declared<'_> {
        let Ok(default_message) = format!("Deleted {{rows}} rows from {}", self.delete_from).parse();
        Declared {
            key: "where",
            sql: format!("DELETE FROM \"{}\" WHERE {}", self.delete_from, self.r#where),
            window: Window {
                retention: self.retention,
                setting: self.retention_setting.as_deref(),
                range: self.retention_range,
                format: self.cutoff_format,
            },
            message: self.message.clone().unwrap_or(default_message),
            record: self.record.as_ref(),
        }
    }
}

impl Kind for Cleanup {
    fn name(&self) -> &'static str {
        "cleanup"
    }

    fn flaws(&self, database: Option<&Connection>) -> Vec<Flaw> {
        if self.r#where.trim().is_empty() {
            return vec![Flaw::broken(
                "where",
                "it is empty: every row would go; write \"true\" if that is meant",
            )];
        }
        self.declared().flaws(database)
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        self.declared().run(bench)
    }

    fn forecast(&self, bench: &Workbench<'_>) -> Result<Forecast, Failure> {
        forecast::of_deletion(&self.declared(), self.delete_from.as_str(), &self.r#where, bench)
    }
}
