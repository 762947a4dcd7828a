//! How every backup stands: the application's settings brought up to date in memory, then each backup held against
//! the time it is expected. Writes nothing.

use crate::sql::sqlite::{self, Connection};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::backups::Backup;
use super::declared::Declared;
use super::expectation::{self, Entry};
use super::settings;
use crate::values::ExpectationId;

pub(super) const BACKUP_SETTINGS: &str = "backup_settings";
const TOLERANCE: &str = "overdue_tolerance";

/// How every backup stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evaluation {
    /// The settings of every backup job, brought up to date.
    pub entries: Map<String, Value>,
    /// What must be written for that; `None` where it is not to be touched.
    pub(super) changed: Option<String>,
    /// How late a backup may come, unless an expectation says otherwise.
    pub tolerance: SignedDuration,
    /// Each backup, by the names of server and job.
    pub findings: Vec<Finding>,
    /// Backups and settings that could not be checked, and why.
    pub warnings: Vec<String>,
}

/// How one backup stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub backup: Backup,
    /// The declared expectation that applies; else the application's settings do.
    pub expectation: Option<ExpectationId>,
    /// When its next backup is expected, where that is known.
    pub expected: Option<Timestamp>,
    pub tolerance: SignedDuration,
    pub verdict: Verdict,
}

/// What follows for a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Unchecked,
    /// Its date or its expected time is unknown.
    Unknown,
    /// Its next one is not yet expected.
    OnTime,
    /// Its next one is late, but within the tolerance.
    Late,
    Overdue,
}

impl Verdict {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Unknown => "unknown",
            Self::OnTime => "on time",
            Self::Late => "late",
            Self::Overdue => "overdue",
        }
    }
}

impl Evaluation {
    /// Looks at `backups` by the settings in the database and what is declared.
    pub(crate) fn take(
        connection: &Connection,
        backups: &[Backup],
        declared: &Declared,
        now: Timestamp,
    ) -> sqlite::Result<Self> {
        let mut evaluation = Self {
            tolerance: match declared.tolerance {
                Some(tolerance) => tolerance,
                None => tolerance(connection)?,
            },
            ..Self::default()
        };
        evaluation.bring_up_to_date(
            settings::get(connection, BACKUP_SETTINGS)?.as_deref(),
            backups,
            declared,
        );
        evaluation.findings = backups
            .iter()
            .filter_map(|backup| evaluation.hold_against(backup, declared, now))
            .collect();
        Ok(evaluation)
    }

    /// Reads the entries, completes them, has each follow its newest backup.
    fn bring_up_to_date(&mut self, text: Option<&str>, backups: &[Backup], declared: &Declared) {
        let before = match text.map(serde_json::from_str) {
            None => Some(Map::new()),
            Some(Ok(Value::Object(entries))) => Some(entries),
            Some(_) => {
                self.warnings.push(format!(
                    "the setting {BACKUP_SETTINGS} is not a JSON object; every backup is checked by the defaults"
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
                other => self.warnings.push(format!(
                    "{key}: its entry in {BACKUP_SETTINGS} is {other}, not a table; it is not checked"
                )),
            }
        }
        for backup in backups {
            let Some(Value::Object(entry)) = entries.get_mut(&backup.key()) else {
                continue;
            };
            if let Err(why) = follow(entry, backup)
                && matters(entry, backup, declared)
            {
                self.warnings
                    .push(format!("{} of {}: {why}", backup.name, backup.server_name));
            }
        }
        self.changed = before
            .is_some_and(|before| before != entries)
            .then(|| Value::Object(entries.clone()).to_string());
        self.entries = entries;
    }

    fn hold_against(&self, backup: &Backup, declared: &Declared, now: Timestamp) -> Option<Finding> {
        let newest = backup.newest.as_ref().ok().copied();
        let expectation = declared.expectation_of(backup);
        let (is_checked, expected) = if let Some(expectation) = expectation {
            let expected = newest.and_then(|newest| expectation.rhythm.next(newest));
            (expectation.enabled, expected)
        } else {
            let entry: &Entry = self.entries.get(&backup.key())?.as_object()?;
            (expectation::is_checked(entry), expectation::time(entry))
        };
        let tolerance = expectation
            .and_then(|expectation| expectation.tolerance)
            .unwrap_or(self.tolerance);
        let verdict = match (is_checked, newest, expected) {
            (false, ..) => Verdict::Unchecked,
            (_, None, _) | (_, _, None) => Verdict::Unknown,
            (_, _, Some(expected)) if now > expected.saturating_add(tolerance).unwrap_or(Timestamp::MAX) => {
                Verdict::Overdue
            }
            (_, _, Some(expected)) if now > expected => Verdict::Late,
            _ => Verdict::OnTime,
        };
        Some(Finding {
            backup: backup.clone(),
            expectation: expectation.map(|expectation| expectation.id.clone()),
            expected,
            tolerance,
            verdict,
        })
    }
}

/// Whether it matters that the expected time of `backup` cannot be told: someone wants it checked by it.
fn matters(entry: &Entry, backup: &Backup, declared: &Declared) -> bool {
    match declared.expectation_of(backup) {
        Some(expectation) => expectation.enabled && backup.newest.is_err(),
        None => expectation::is_checked(entry),
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
fn tolerance(connection: &Connection) -> sqlite::Result<SignedDuration> {
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
