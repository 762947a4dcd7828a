//! The kind `overdue_backups`: looks for backups that did not come. It can be declared; the check itself is not
//! part of this version, and every run says so.

use rusqlite::Connection;
use serde::Deserialize;

use super::{Failure, Flaw, Kind, Report, Weight, Workbench};

const NOT_YET: &str = "this version cannot check for overdue backups yet";

/// The keys of `[jobs.<id>.overdue_backups]`: none so far.
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

    fn run(&self, _bench: &Workbench<'_>) -> Result<Report, Failure> {
        Err(Failure(NOT_YET.to_owned()))
    }
}
