//! The check for overdue backups: the application's settings brought up to date under one write lock, then every
//! backup held against its expected time.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde_json::{Map, Value, json};

use super::backups::{self, Backup};
use super::due::{self, Circumstances, Due};
use super::expectation::{self, Entry};
use super::{settings, stamps};
use crate::values::iso;

const BACKUP_SETTINGS: &str = "backup_settings";
const TOLERANCE: &str = "overdue_tolerance";
const LAST_CHECK: &str = "last_overdue_check";

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// Entries of the settings, whether there is a backup for them or not.
    pub configured: usize,
    /// Backups that were checked.
    pub checked: usize,
    /// Those that did not come, by the names of server and backup.
    pub overdue: Vec<Overdue>,
    /// How late a backup may come.
    pub tolerance: SignedDuration,
    /// Backups and settings that could not be checked, and why.
    pub troubles: Vec<String>,
    /// Backups that were checked but cannot be told about, and channels that cannot be used, and why.
    pub untold: Vec<String>,
}

/// A backup that did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Which.
    pub backup: Backup,
    /// When its newest backup was made.
    pub newest: Timestamp,
    /// When it was expected.
    pub expected: Timestamp,
}

/// Brings the settings up to date, finds what is overdue, and which of it is to be told now.
///
/// # Errors
/// When the database cannot be read or written; nothing is changed then.
pub fn check(connection: &mut Connection, at: &Circumstances<'_>) -> rusqlite::Result<(Check, Vec<Due>)> {
    // The long read comes before the lock.
    let backups = backups::read(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tolerance = match at.declared.tolerance {
        Some(tolerance) => tolerance,
        None => tolerance(&transaction)?,
    };
    let mut check = Check {
        tolerance,
        ..Check::default()
    };
    let entries = check.bring_up_to_date(&transaction, &backups)?;
    for backup in &backups {
        let Some(Value::Object(entry)) = entries.get(&backup.key()) else {
            continue;
        };
        check.hold_against(backup, entry, at.now);
    }
    let due = due::find(&transaction, &mut check, &entries, at)?;
    stamps::ensure(&transaction)?;
    settings::set(&transaction, LAST_CHECK, &iso(at.now))?;
    transaction.commit()?;
    Ok((check, due))
}

impl Check {
    /// The figures the application shows.
    #[must_use]
    pub fn statistics(&self, sent: usize) -> Value {
        json!({
            "totalBackupConfigs": self.configured,
            "checkedBackups": self.checked,
            "overdueBackupsFound": self.overdue.len(),
            "notificationsSent": sent,
        })
    }

    /// Reads the entries, completes them, has each follow its newest backup, and writes back what changed.
    fn bring_up_to_date(
        &mut self,
        transaction: &Transaction<'_>,
        backups: &[Backup],
    ) -> rusqlite::Result<Map<String, Value>> {
        let text = settings::get(transaction, BACKUP_SETTINGS)?;
        let before = match text.as_deref().map(serde_json::from_str) {
            None => Some(Map::new()),
            Some(Ok(Value::Object(entries))) => Some(entries),
            Some(_) => {
                self.troubles.push(format!(
                    "the setting {BACKUP_SETTINGS} is no JSON object; every backup is checked by the defaults"
                ));
                None
            }
        };
        let mut entries = before.clone().unwrap_or_default();
        for backup in backups {
            entries
                .entry(backup.key())
                .or_insert_with(|| expectation::default_entry().into());
        }
        for (key, entry) in &mut entries {
            match entry {
                Value::Object(entry) => expectation::complete(entry),
                other => self.troubles.push(format!(
                    "{key}: its entry in {BACKUP_SETTINGS} is {other}, not a table; it is not checked"
                )),
            }
        }
        for backup in backups {
            if let Some(Value::Object(entry)) = entries.get_mut(&backup.key())
                && let Err(why) = follow(entry, backup)
                && expectation::is_checked(entry)
            {
                self.troubles
                    .push(format!("{} of {}: {why}", backup.name, backup.server_name));
            }
        }
        self.configured = entries.len();
        if before.is_some_and(|before| before != entries) {
            settings::set(
                transaction,
                BACKUP_SETTINGS,
                &Value::Object(entries.clone()).to_string(),
            )?;
        }
        Ok(entries)
    }

    fn hold_against(&mut self, backup: &Backup, entry: &Entry, now: Timestamp) {
        if !expectation::is_checked(entry) {
            return;
        }
        self.checked += 1;
        let (Ok(newest), Some(expected)) = (backup.newest.clone(), expectation::time(entry)) else {
            return;
        };
        if now > expected.saturating_add(self.tolerance).unwrap_or(Timestamp::MAX) {
            self.overdue.push(Overdue {
                backup: backup.clone(),
                newest,
                expected,
            });
        }
    }
}

fn follow(entry: &mut Entry, backup: &Backup) -> Result<(), String> {
    match &backup.newest {
        Ok(newest) => expectation::follow(entry, *newest),
        Err(text) => Err(format!(
            "the date of its newest backup is `{text}`, which cannot be read"
        )),
    }
}

/// How late a backup may come, by the application's setting.
fn tolerance(connection: &Connection) -> rusqlite::Result<SignedDuration> {
    let minutes = match settings::get(connection, TOLERANCE)?
        .as_deref()
        .map(|text| text.trim().trim_matches('"'))
    {
        Some("no_tolerance") => 0,
        Some("5min") => 5,
        Some("15min") => 15,
        Some("30min") => 30,
        Some("1h") => 60,
        Some("4h") => 240,
        Some("6h") => 360,
        Some("12h") => 720,
        Some("1d") => 1440,
        _ => 120,
    };
    Ok(SignedDuration::from_mins(minutes))
}
