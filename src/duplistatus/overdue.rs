//! The check for overdue backups: the application's settings brought up to date under one write lock, and what is to
//! be told now.

use crate::sql::sqlite::{self, Connection, TransactionBehavior};
use serde_json::{Value, json};

use super::backups;
use super::due::{self, Circumstances, Due};
use super::evaluation::{BACKUP_SETTINGS, Evaluation, Finding, Verdict};
use super::{settings, stamps};
use crate::values::iso;

const LAST_CHECK: &str = "last_overdue_check";

/// What a check found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Check {
    /// Entries of the settings, whether there is a backup for them or not.
    pub configured: usize,
    pub checked: usize,
    /// Those that did not come, by the names of server and backup.
    pub overdue: Vec<Finding>,
    /// What is to be told now.
    pub due: Vec<Due>,
    /// Backups and settings that could not be checked, and why.
    pub warnings: Vec<String>,
    /// What was checked but cannot be told, channels that cannot be used, expectations that do not fit, and why.
    pub untold: Vec<String>,
}

/// Brings the settings up to date, finds what is overdue, and which of it is to be told now.
pub(crate) fn check(connection: &mut Connection, at: &Circumstances<'_>) -> sqlite::Result<Check> {
    // The long read comes before the lock.
    let backups = backups::read(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let evaluation = Evaluation::take(&transaction, &backups, at.declared, at.now)?;
    if let Some(changed) = &evaluation.changed {
        settings::set(&transaction, BACKUP_SETTINGS, changed)?;
    }
    let is = |verdict| move |finding: &&Finding| finding.verdict == verdict;
    let mut check = Check {
        configured: evaluation.entries.len(),
        checked: evaluation.findings.len() - evaluation.findings.iter().filter(is(Verdict::Unchecked)).count(),
        overdue: evaluation
            .findings
            .iter()
            .filter(is(Verdict::Overdue))
            .cloned()
            .collect(),
        warnings: evaluation.warnings.clone(),
        untold: at.declared.warnings(&backups),
        due: Vec::new(),
    };
    (check.due, check.untold) = {
        let (due, untold) = due::find(&transaction, &check.overdue, &evaluation.entries, at)?;
        (due, [check.untold, untold].concat())
    };
    stamps::ensure(&transaction)?;
    settings::set(&transaction, LAST_CHECK, &iso(at.now))?;
    transaction.commit()?;
    Ok(check)
}

impl Check {
    /// The figures the application shows.
    pub(crate) fn statistics(&self, sent: usize) -> Value {
        json!({
            "totalBackupConfigs": self.configured,
            "checkedBackups": self.checked,
            "overdueBackupsFound": self.overdue.len(),
            "notificationsSent": sent,
        })
    }
}
