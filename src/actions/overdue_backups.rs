//! The kind `overdue_backups`: looks for backups that did not come, by the application's own settings. It tells
//! about them in the log and in its figures; sending messages is not part of this version, and it says so.

use rusqlite::Connection;
use serde::Deserialize;

use super::{Failure, Flaw, Kind, Report, Weight, Workbench};
use crate::duplistatus::overdue;
use crate::store::sqlite::open_write;

const NOT_YET: &str = "this version finds overdue backups, but sends no messages about them yet";

/// The keys of `[jobs.<id>.overdue_backups]`: none so far, everything comes from the application's settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverdueBackups {}

impl Kind for OverdueBackups {
    fn name(&self) -> &'static str {
        "overdue_backups"
    }

    fn flaws(&self, _database: Option<&Connection>) -> Vec<Flaw> {
        vec![Flaw {
            key: "",
            message: NOT_YET.to_owned(),
            weight: Weight::Notable,
        }]
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        let mut connection = open_write(bench.database)?;
        bench.stop.govern(&mut connection)?;
        let check = overdue::check(&mut connection, bench.now)?;
        for found in &check.overdue {
            tracing::warn!(
                job = %bench.job, server = found.backup.server_name, backup = found.backup.name, expected = %found.expected,
                "backup is overdue"
            );
        }
        let message = match check.troubles.as_slice() {
            [] => "Task executed successfully".to_owned(),
            troubles => format!(
                "Task executed; not everything could be checked: {}",
                troubles.join("; ")
            ),
        };
        Ok(Report {
            message,
            statistics: Some(check.statistics(0)),
            troubles: check.troubles,
        })
    }
}
