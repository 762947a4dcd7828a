//! Which overdue backups are to be told now, in which words and by which channels: the application's frequency,
//! its stamps, its template.

use std::path::Path;

use crate::sql::sqlite::{self, Connection};
use jiff::Timestamp;
use serde_json::Value;

use super::channels::{self, Channel};
use super::declared::{Declared, Kinds};
use super::evaluation::Finding;
use super::expectation::{self, Entry};
use super::frequency::Frequency;
use super::interval::{self, Interval};
use super::message::{About, Overdue as Template};
use super::stamps;
use crate::notifications::Message;
use crate::values::{TargetId, TimeZone, iso};

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub finding: Finding,
    pub message: Message,
    pub channels: Vec<Channel>,
    pub targets: Vec<TargetId>,
    /// Why it is sent: the same until it was delivered by one channel at least.
    pub cause: String,
}

/// The circumstances of a check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    pub now: Timestamp,
    /// The zone that messages tell dates in.
    pub zone: &'a TimeZone,
    pub key_file: &'a Path,
    /// What wins over the application's settings.
    pub declared: &'a Declared,
}

/// Finds what is to be told of `overdue` now; `entries` are the settings, brought up to date. Gives it with what is
/// in the way of telling the rest.
pub(crate) fn find(
    connection: &Connection,
    overdue: &[Finding],
    entries: &Entry,
    at: &Circumstances<'_>,
) -> sqlite::Result<(Vec<Due>, Vec<String>)> {
    let (mut due, mut untold) = (Vec::new(), Vec::new());
    let stamps = stamps::read(connection)?;
    let frequency = frequency(connection, at.declared)?;
    let late: Vec<(&Finding, Timestamp, Option<Timestamp>)> = overdue
        .iter()
        .filter_map(|finding| {
            let newest = finding.backup.newest.as_ref().ok().copied()?;
            let stamp = stamps::of(&stamps, &finding.backup.key());
            is_due(stamp, newest, frequency, at.now).then_some((finding, newest, stamp))
        })
        .collect();
    if late.is_empty() {
        return Ok((due, untold));
    }
    let has_mail = channels::has_mail(connection, at.key_file).unwrap_or_else(|why| {
        untold.push(format!("mail cannot be sent: {why}"));
        false
    });
    let template = Template::read(connection, at.declared.language.as_deref())?;
    for (finding, newest, stamp) in late {
        let (channels, targets) = recipients(finding, entries, at.declared, has_mail);
        let (expected, rhythm) = match expected(finding, newest, entries, at.declared) {
            Ok(expected) => expected,
            Err(why) => {
                let (name, server) = (&finding.backup.name, &finding.backup.server_name);
                untold.push(format!(
                    "{name} of {server} is overdue, but no message can be sent: {why}"
                ));
                continue;
            }
        };
        let about = About {
            backup: &finding.backup,
            newest,
            expected,
            interval: &rhythm,
            tolerance: finding.tolerance,
            now: at.now,
            zone: at.zone,
        };
        let message = template.write(connection, &about)?;
        let cause = format!("{} {}", iso(newest), stamp.map_or_else(|| "never told".to_owned(), iso));
        if !channels.is_empty() || !targets.is_empty() {
            due.push(Due {
                finding: finding.clone(),
                message,
                channels,
                targets,
                cause,
            });
        }
    }
    Ok((due, untold))
}

/// How often an overdue backup is told again.
pub(crate) fn frequency(connection: &Connection, declared: &Declared) -> sqlite::Result<Frequency> {
    match declared.frequency {
        Some(frequency) => Ok(frequency),
        None => Frequency::of_application(connection),
    }
}

/// The time a message names as the expected one, and the rhythm in words.
fn expected(
    finding: &Finding,
    newest: Timestamp,
    entries: &Entry,
    declared: &Declared,
) -> Result<(Timestamp, String), String> {
    let known = finding.expected.ok_or("its expected time is unknown")?;
    if let Some(expectation) = declared.expectation_of(&finding.backup) {
        return Ok((known, expectation.rhythm.to_string()));
    }
    let own = entries.get(&finding.backup.key()).and_then(Value::as_object);
    let own = own.ok_or("it has no settings")?;
    let interval = expectation::interval(own)?;
    Interval::parse_strictly(interval)?;
    // It is counted on from the newest backup.
    let expected = interval::next(newest, known, interval, &expectation::weekdays(own)).unwrap_or(known);
    Ok((expected, interval.to_owned()))
}

/// By which of the application's channels, and to which declared targets, a message about `finding` goes.
pub(crate) fn recipients(
    finding: &Finding,
    entries: &Entry,
    declared: &Declared,
    has_mail: bool,
) -> (Vec<Channel>, Vec<TargetId>) {
    let of_expectation = declared
        .expectation_of(&finding.backup)
        .and_then(|expectation| expectation.recipients.as_ref());
    let recipients = of_expectation.or(declared.recipients.as_ref());
    let of_application = |kinds: Kinds| {
        let table = |key: &str| entries.get(key).and_then(Value::as_object);
        let default = table(&format!("{}:__default__", finding.backup.server_id));
        let own = table(&finding.backup.key());
        let mut channels = own.map_or_else(Vec::new, |own| channels::of(own, default, has_mail));
        channels.retain(|channel| kinds.has(channel));
        channels
    };
    recipients.map_or_else(
        || (of_application(Kinds::ALL), Vec::new()),
        |recipients| (of_application(recipients.of_application), recipients.targets.clone()),
    )
}

/// When an overdue backup that was told at `stamp` is told next; at once where it was never told.
pub(crate) fn next_telling(
    stamp: Option<Timestamp>,
    newest: Timestamp,
    frequency: Frequency,
    now: Timestamp,
) -> Option<Timestamp> {
    match (stamp, frequency) {
        (Some(stamp), _) if newest > stamp => Some(now),
        (Some(_), Frequency::Once) => None,
        (Some(stamp), Frequency::Every(every)) => Some(stamp.saturating_add(every).unwrap_or(Timestamp::MAX).max(now)),
        (None, _) => Some(now),
    }
}

/// Whether a backup that is overdue is to be told now.
fn is_due(stamp: Option<Timestamp>, newest: Timestamp, frequency: Frequency, now: Timestamp) -> bool {
    next_telling(stamp, newest, frequency, now).is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

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
