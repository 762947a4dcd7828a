//! What the application's setting `backup_settings` expects of each backup job, and how an entry is brought up to
//! date when a backup has come. Fields this program does not know stay as they are.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::backups::read_instant;
use super::interval;
use crate::values::iso;

/// The settings of one backup job, as the application stores them.
pub(crate) type Entry = Map<String, Value>;

const ALL_WEEK: [u8; 7] = [0, 1, 2, 3, 4, 5, 6];

/// The entry of a backup job that has none.
pub(crate) fn default_entry() -> Entry {
    let Value::Object(entry) = json!({
        "notificationEvent": "warnings",
        "overdueBackupCheckEnabled": true,
        "expectedInterval": "1D",
        "allowedWeekDays": ALL_WEEK,
        "time": "",
        "ntfyEnabled": true,
        "emailEnabled": true,
    }) else {
        return Entry::new();
    };
    entry
}

/// Gives an entry the fields every entry has, in the form they have now.
pub(crate) fn complete(entry: &mut Entry) {
    convert_old_interval(entry);
    if !entry.get("allowedWeekDays").is_some_and(Value::is_array) {
        entry.insert("allowedWeekDays".to_owned(), json!(ALL_WEEK));
    }
    if time(entry).is_none() {
        entry.insert("time".to_owned(), "".into());
    }
    for channel in ["ntfyEnabled", "emailEnabled"] {
        entry.entry(channel).or_insert(true.into());
    }
}

/// Before intervals were texts, they were a number of hours or days.
fn convert_old_interval(entry: &mut Entry) {
    let letter = match entry.get("intervalUnit").and_then(Value::as_str) {
        Some("hour" | "hours") => "h",
        Some("day" | "days") => "D",
        _ => return,
    };
    if let Some(count) = entry.get("expectedInterval").filter(|interval| interval.is_number()) {
        let interval = format!("{count}{letter}");
        entry.insert("expectedInterval".to_owned(), interval.into());
    }
    entry.shift_remove("intervalUnit");
}

/// Moves the expected time of a complete entry past the newest backup, if that is not the one it was set for.
pub(crate) fn follow(entry: &mut Entry, newest: Timestamp) -> Result<(), String> {
    let is_followed = instant(entry, "lastBackupDate") == Some(newest);
    let old = time(entry);
    if is_followed && old.is_some() {
        return Ok(());
    }
    let base = match old {
        Some(old) if old > newest => same_time_of_day(old, newest)
            .filter(|at| *at <= newest)
            .unwrap_or(newest),
        Some(old) => old,
        None => newest,
    };
    let next = interval::next(newest, base, interval(entry)?, &weekdays(entry))?;
    entry.insert("time".to_owned(), iso(next).into());
    entry.insert("lastBackupDate".to_owned(), iso(newest).into());
    Ok(())
}

/// The date of `date` with the time of day of `time`, in UTC.
fn same_time_of_day(time: Timestamp, date: Timestamp) -> Option<Timestamp> {
    let (time, date) = (time.to_zoned(TimeZone::UTC), date.to_zoned(TimeZone::UTC));
    date.date()
        .to_datetime(time.time())
        .to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// When the next backup is expected, where that is known.
pub(crate) fn time(entry: &Entry) -> Option<Timestamp> {
    instant(entry, "time")
}

fn instant(entry: &Entry, key: &str) -> Option<Timestamp> {
    entry.get(key).and_then(Value::as_str).and_then(read_instant)
}

/// The interval as it is written.
pub(crate) fn interval(entry: &Entry) -> Result<&str, String> {
    let interval = entry.get("expectedInterval").unwrap_or(&Value::Null);
    interval
        .as_str()
        .ok_or_else(|| format!("expectedInterval is {interval}, not a string such as \"1D\""))
}

/// The days of the week on which a backup is expected, 0 being Sunday.
pub(crate) fn weekdays(entry: &Entry) -> Vec<u8> {
    let days = entry.get("allowedWeekDays").and_then(Value::as_array);
    days.into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .filter_map(|day| u8::try_from(day).ok())
        .collect()
}

/// Whether the job is to be checked.
pub(crate) fn is_checked(entry: &Entry) -> bool {
    entry
        .get("overdueBackupCheckEnabled")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &Value) -> Entry {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn an_entry_gets_the_fields_it_lacks_and_keeps_those_of_others() {
        for (before, after) in [
            (
                json!({"additionalEmails": "x"}),
                json!({"additionalEmails": "x", "allowedWeekDays": ALL_WEEK, "time": "", "ntfyEnabled": true, "emailEnabled": true}),
            ),
            (
                json!({"time": "garbage", "allowedWeekDays": [], "ntfyEnabled": false, "emailEnabled": true, "new": [1]}),
                json!({"time": "", "allowedWeekDays": [], "ntfyEnabled": false, "emailEnabled": true, "new": [1]}),
            ),
            (
                json!({"intervalUnit": "hour", "expectedInterval": 36}),
                json!({"expectedInterval": "36h", "allowedWeekDays": ALL_WEEK, "time": "", "ntfyEnabled": true, "emailEnabled": true}),
            ),
            (
                json!({"intervalUnit": "day", "expectedInterval": 2}),
                json!({"expectedInterval": "2D", "allowedWeekDays": ALL_WEEK, "time": "", "ntfyEnabled": true, "emailEnabled": true}),
            ),
        ] {
            let mut found = entry(&before);
            complete(&mut found);
            assert_eq!(Value::Object(found), after);
        }
    }

    #[test]
    fn the_expected_time_follows_the_newest_backup() {
        let newest = "2026-11-16T22:15:30.000Z";
        for (time, interval, expected) in [
            ("2026-11-16T10:15:30.000Z", "12h", "2026-11-17T10:15:30.000Z"),
            ("", "1D", "2026-11-17T22:15:30.000Z"),
            // Later than the newest backup: taken back to its date, at the old time of day, or to the backup itself.
            ("2026-11-20T07:00:00.000Z", "1D", "2026-11-17T07:00:00.000Z"),
            ("2026-11-20T23:00:00.000Z", "1D", "2026-11-17T22:15:30.000Z"),
        ] {
            let mut found = entry(&json!({"time": time, "expectedInterval": interval, "allowedWeekDays": ALL_WEEK}));
            follow(&mut found, newest.parse().unwrap()).unwrap();
            assert_eq!(
                (&found["time"], &found["lastBackupDate"]),
                (&json!(expected), &json!(newest)),
                "{time} {interval}"
            );
        }
    }

    #[test]
    fn an_entry_that_was_set_for_the_newest_backup_stays() {
        let before = entry(
            &json!({"time": "2026-11-18T07:00:00.000Z", "lastBackupDate": "2026-11-17T08:00:00.000Z", "expectedInterval": "bad"}),
        );
        let mut found = before.clone();
        follow(&mut found, "2026-11-17T08:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(found, before);
        let error = follow(&mut found, "2026-11-18T08:00:00Z".parse().unwrap()).unwrap_err();
        assert!(
            error.contains("Invalid interval format: bad") && found == before,
            "{error}"
        );
    }
}
