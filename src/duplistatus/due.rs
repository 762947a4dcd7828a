//! Which overdue backups are to be told now, in which words and by which channels: the application's frequency,
//! its stamps, its template.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::Value;

use super::backups::Backup;
use super::channels::{self, Channel};
use super::expectation::{self, Entry};
use super::frequency::Frequency;
use super::interval::{self, Interval};
use super::message::{About, Message, Overdue as Template};
use super::overdue::{Check, Overdue};
use super::stamps;
use crate::values::{TimeZone, iso};

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What it is about.
    pub overdue: Overdue,
    /// What it says.
    pub message: Message,
    /// Where it goes.
    pub channels: Vec<Channel>,
    /// Why it is sent: the same until it was delivered by one channel at least.
    pub cause: String,
}

/// The circumstances of a check.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// The zone that messages tell dates in.
    pub zone: &'a TimeZone,
    /// The file that opens stored credentials.
    pub key_file: &'a Path,
    /// What wins over the application's settings.
    pub declared: &'a Declared,
}

/// What a declaration may say in the place of the application's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// How late a backup may come.
    pub tolerance: Option<SignedDuration>,
    /// How often one that is overdue is told again.
    pub frequency: Option<Frequency>,
    /// The language of the messages.
    pub language: Option<String>,
}

/// Finds what is to be told of what `check` found; `entries` are the settings, brought up to date. What is in the
/// way is added to the check.
///
/// # Errors
/// When the database cannot be read.
pub fn find(
    connection: &Connection,
    check: &mut Check,
    entries: &Entry,
    at: &Circumstances<'_>,
) -> rusqlite::Result<Vec<Due>> {
    let stamps = stamps::read(connection)?;
    let frequency = match at.declared.frequency {
        Some(frequency) => frequency,
        None => Frequency::of_application(connection)?,
    };
    let mut due = Vec::new();
    let late: Vec<(Overdue, Option<Timestamp>)> = check
        .overdue
        .iter()
        .map(|overdue| (overdue.clone(), stamps::of(&stamps, &overdue.backup.key())))
        .filter(|(overdue, stamp)| is_due(*stamp, overdue.newest, frequency, at.now))
        .collect();
    if late.is_empty() {
        return Ok(due);
    }
    let has_mail = match channels::smtp(connection, at.key_file) {
        Ok(smtp) => smtp.is_some(),
        Err(why) => {
            check.untold.push(format!("mail cannot be sent: {why}"));
            false
        }
    };
    let template = Template::read(connection, at.declared.language.as_deref())?;
    for (overdue, stamp) in late {
        let own = entries.get(&overdue.backup.key()).and_then(Value::as_object);
        let Some(own) = own else { continue };
        let default = entries
            .get(&format!("{}:__default__", overdue.backup.server_id))
            .and_then(Value::as_object);
        let channels = channels::of(own, default, has_mail);
        let interval = match expectation::interval(own).and_then(|text| Interval::parse_strictly(text).map(|_| text)) {
            Ok(interval) => interval,
            Err(why) => {
                let Backup { name, server_name, .. } = &overdue.backup;
                check
                    .untold
                    .push(format!("{name} of {server_name} is overdue, but cannot be told: {why}"));
                continue;
            }
        };
        // The time a message names is counted on from the newest backup.
        let expected = interval::next(overdue.newest, overdue.expected, interval, &expectation::weekdays(own))
            .unwrap_or(overdue.expected);
        let about = About {
            backup: &overdue.backup,
            newest: overdue.newest,
            expected,
            interval,
            tolerance: check.tolerance,
            now: at.now,
            zone: at.zone,
        };
        let message = template.write(connection, &about)?;
        let cause = format!(
            "{} {}",
            iso(overdue.newest),
            stamp.map_or_else(|| "never told".to_owned(), iso)
        );
        if !channels.is_empty() {
            due.push(Due {
                overdue,
                message,
                channels,
                cause,
            });
        }
    }
    Ok(due)
}

/// Whether a backup that is overdue is to be told again: never told, told before its newest backup, or long enough ago.
fn is_due(stamp: Option<Timestamp>, newest: Timestamp, frequency: Frequency, now: Timestamp) -> bool {
    let Some(stamp) = stamp else { return true };
    let is_time = match frequency {
        Frequency::Once => false,
        Frequency::Every(every) => now.duration_since(stamp) >= every,
    };
    newest > stamp || is_time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdue_backup_is_told_again_when_its_time_has_come() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (newest, now) = (at("2026-11-17T08:00:00Z"), at("2026-11-20T12:00:00Z"));
        let day = Frequency::Every(SignedDuration::from_hours(24));
        for (stamp, frequency, due) in [
            (None, Frequency::Once, true),
            (Some("2026-11-16T00:00:00Z"), Frequency::Once, true),
            (Some("2026-11-18T00:00:00Z"), Frequency::Once, false),
            (Some("2026-11-19T12:00:00Z"), day, true),
            (Some("2026-11-19T12:00:01Z"), day, false),
        ] {
            assert_eq!(is_due(stamp.map(at), newest, frequency, now), due, "{stamp:?}");
        }
    }
}
