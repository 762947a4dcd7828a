//! What a declaration says in the place of the application's settings: tolerance, frequency, language, recipients,
//! and when backups are expected.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::backups::Backup;
use super::channels::Channel;
use super::frequency::Frequency;
use crate::values::{Duration, ExpectationId, Pattern, Schedule, TargetId, TimeZone};

/// Everything that wins over the application's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Declared {
    pub tolerance: Option<SignedDuration>,
    /// How often one that is overdue is told again.
    pub frequency: Option<Frequency>,
    pub language: Option<String>,
    /// Who is told.
    pub recipients: Option<Recipients>,
    pub expectations: Vec<Expectation>,
}

/// Who is told of an overdue backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recipients {
    /// Whether the application's settings say who, and by which kinds of channels.
    pub of_application: Kinds,
    pub targets: Vec<TargetId>,
}

/// Kinds of the application's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Topics of ntfy.
    pub ntfy: bool,
    pub email: bool,
}

impl Kinds {
    /// Every kind.
    pub(crate) const ALL: Self = Self {
        ntfy: true,
        email: true,
    };

    /// Whether `channel` is of one of them.
    pub(crate) fn has(self, channel: &Channel) -> bool {
        match channel {
            Channel::Ntfy | Channel::AdditionalNtfy(_) => self.ntfy,
            Channel::Email | Channel::AdditionalEmail(_) => self.email,
        }
    }
}

/// When backups of some names are expected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expectation {
    pub id: ExpectationId,
    /// The servers meant, by name or id.
    pub server: Pattern,
    pub backup: Pattern,
    pub rhythm: Rhythm,
    pub tolerance: Option<SignedDuration>,
    pub enabled: bool,
    /// Who is told.
    pub recipients: Option<Recipients>,
}

/// When the backup after another is expected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rhythm {
    /// At the next of these times.
    Schedule(Schedule, TimeZone),
    /// So long after it.
    Interval(Duration),
}

impl Rhythm {
    /// When the backup after the one at `newest` is expected.
    pub(crate) fn next(&self, newest: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Schedule(schedule, zone) => schedule.next_after(newest, zone),
            Self::Interval(interval) => newest.checked_add(interval.signed()).ok(),
        }
    }
}

impl fmt::Display for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule(schedule, zone) => write!(f, "{schedule} ({zone})"),
            Self::Interval(interval) => interval.fmt(f),
        }
    }
}

impl Expectation {
    fn matches(&self, backup: &Backup) -> bool {
        let is_server = self.server.matches(&backup.server_name) || self.server.matches(&backup.server_id);
        is_server && self.backup.matches(&backup.name)
    }
}

impl Declared {
    /// What is expected of `backup`: the first expectation that means it.
    pub(crate) fn expectation_of(&self, backup: &Backup) -> Option<&Expectation> {
        self.expectations.iter().find(|expectation| expectation.matches(backup))
    }

    /// What does not fit between the expectations and the backups there are: two that match one backup, one that matches none.
    pub(crate) fn warnings(&self, backups: &[Backup]) -> Vec<String> {
        let mut warnings = Vec::new();
        for backup in backups {
            let ids: Vec<&str> = self
                .expectations
                .iter()
                .filter(|expectation| expectation.matches(backup))
                .map(|expectation| expectation.id.as_str())
                .collect();
            if let [first, _, ..] = ids.as_slice() {
                warnings.push(format!(
                    "{} of {} is matched by the expectations {}; {first} applies",
                    backup.name,
                    backup.server_name,
                    ids.join(" and ")
                ));
            }
        }
        for expectation in &self.expectations {
            if !backups.iter().any(|backup| expectation.matches(backup)) {
                warnings.push(format!("expectation `{}` matches no known backup", expectation.id));
            }
        }
        warnings
    }
}
