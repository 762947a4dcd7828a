//! What a check would find now, backup by backup, without changing anything.

use crate::sql::sqlite::{self, Connection};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::OverdueBackups;
use crate::duplistatus::backups::{self, read_instant};
use crate::duplistatus::declared::{Declared, Rhythm};
use crate::duplistatus::evaluation::{Evaluation, Finding, Verdict};
use crate::duplistatus::frequency::Frequency;
use crate::duplistatus::interval::Interval;
use crate::duplistatus::{channels, due, expectation, key_file, stamps};
use crate::run::{DryRun, Failure, RunContext};
use crate::sql::open_read;
use crate::values::{TimeZone, iso};

/// How many of the newest backups tell at what time one usually comes.
const USUAL: i64 = 20;
/// How far the usual time may be from the expected one.
const DRIFT: i64 = 60;
const DAY: i64 = 24 * 60;

pub(super) fn of(kind: &OverdueBackups, ctx: &RunContext) -> Result<DryRun, Failure> {
    let connection = open_read(ctx.database_path()?)?;
    let declared = kind.declared(&ctx.schedule_zone, &ctx.targets);
    let backups = backups::read(&connection)?;
    let evaluation = Evaluation::take(&connection, &backups, &declared, ctx.now)?;
    let mut notes = [evaluation.warnings.clone(), declared.warnings(&backups)].concat();
    let has_mail = channels::has_mail(&connection, &key_file(ctx.database_path()?)).unwrap_or_else(|why| {
        notes.push(format!("mail cannot be sent: {why}"));
        false
    });
    let looked = Looked {
        stamps: stamps::read(&connection)?,
        frequency: due::frequency(&connection, &declared)?,
        evaluation: &evaluation,
        declared: &declared,
        has_mail,
    };
    let rows = evaluation
        .findings
        .iter()
        .map(|finding| Ok((finding, row(finding, &connection, &looked, ctx)?)))
        .collect::<sqlite::Result<Vec<_>>>()?;
    let lines = rows
        .iter()
        .map(|(finding, row)| line(finding, row))
        .chain(notes.iter().cloned())
        .collect();
    let json = json!({
        "backups": rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>(),
        "notes": notes,
    });
    Ok(DryRun {
        lines,
        json,
        refusal: None,
    })
}

/// What was looked at once for all backups.
struct Looked<'a> {
    stamps: Map<String, Value>,
    frequency: Frequency,
    evaluation: &'a Evaluation,
    declared: &'a Declared,
    has_mail: bool,
}

fn row(finding: &Finding, connection: &Connection, looked: &Looked<'_>, ctx: &RunContext) -> sqlite::Result<Value> {
    let backup = &finding.backup;
    let newest = backup.newest.as_ref().ok().copied();
    let stamp = stamps::of(&looked.stamps, &backup.key());
    let (channels, targets) = due::recipients(finding, &looked.evaluation.entries, looked.declared, looked.has_mail);
    let ways = channels.iter().map(|channel| channel.label().to_owned());
    let ways: Vec<String> = ways.chain(targets.iter().map(ToString::to_string)).collect();
    let deadline = finding.expected.and_then(|at| at.checked_add(finding.tolerance).ok());
    let told = match finding.verdict {
        Verdict::Unchecked | Verdict::Unknown => None,
        Verdict::OnTime | Verdict::Late => deadline,
        Verdict::Overdue => newest.and_then(|newest| due::next_telling(stamp, newest, looked.frequency, ctx.now)),
    };
    Ok(json!({
        "server": backup.server_name,
        "backup": backup.name,
        "last": newest.map(iso),
        "expected": finding.expected.map(iso),
        "source": finding.expectation.as_ref().map_or_else(
            || "application settings".to_owned(),
            |id| format!("expect.{id}"),
        ),
        "tolerance_minutes": finding.tolerance.as_mins(),
        "verdict": finding.verdict.as_str(),
        "next_notification": told.filter(|_| !ways.is_empty()).map(iso),
        "channels": ways,
        "drift": drift(connection, finding, looked, &ctx.zone)?,
    }))
}

fn line(finding: &Finding, row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or("unknown").to_owned();
    let ways: Vec<&str> = row["channels"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let told = match row["next_notification"].as_str() {
        Some(at) => format!("told at {at} by {}", ways.join(", ")),
        None => "not told".to_owned(),
    };
    let drift = row["drift"]
        .as_str()
        .map_or_else(String::new, |drift| format!("; {drift}"));
    format!(
        "{:<9} {} / {}: last {}, expected {} ({}), {told}{drift}",
        finding.verdict.as_str(),
        finding.backup.server_name,
        finding.backup.name,
        text("last"),
        text("expected"),
        text("source"),
    )
}

/// Where a backup usually comes at quite another time of day than it is expected.
fn drift(
    connection: &Connection,
    finding: &Finding,
    looked: &Looked<'_>,
    zone: &TimeZone,
) -> sqlite::Result<Option<String>> {
    let backup = &finding.backup;
    let Some(expected) = finding.expected.filter(|_| is_daily(finding, looked)) else {
        return Ok(None);
    };
    let dates: Vec<String> = connection
        .prepare_cached(
            "SELECT date FROM backups WHERE server_id = ?1 AND backup_name = ?2 ORDER BY date DESC LIMIT ?3",
        )?
        .query_map((&backup.server_id, &backup.name, USUAL), |row| row.get(0))?
        .collect::<sqlite::Result<_>>()?;
    let arrivals: Vec<Timestamp> = dates.iter().filter_map(|date| read_instant(date)).collect();
    // One that comes just before it is expected by a declared schedule counts for the time before.
    let is_early = |usual: i64| finding.expectation.is_some() && (-DRIFT..0).contains(&usual);
    let usual = usual_distance(&arrivals, expected, zone);
    let Some(usual) = usual.filter(|usual| usual.abs() > DRIFT || is_early(*usual)) else {
        return Ok(None);
    };
    let clock = |at: Timestamp| at.to_zoned(zone.get().clone()).strftime("%H:%M").to_string();
    let usual = expected + SignedDuration::from_mins(usual);
    Ok(Some(format!(
        "usually arrives {}, expected {}",
        clock(usual),
        clock(expected)
    )))
}

/// Whether the backup is expected at one time of the day.
fn is_daily(finding: &Finding, looked: &Looked<'_>) -> bool {
    let days = |seconds: i64| seconds % (DAY * 60) == 0;
    match looked
        .declared
        .expectation_of(&finding.backup)
        .map(|expectation| &expectation.rhythm)
    {
        Some(Rhythm::Interval(interval)) => days(i64::try_from(interval.to_std().as_secs()).unwrap_or(1)),
        Some(Rhythm::Schedule(schedule, zone)) => finding.expected.is_some_and(|expected| {
            let next = schedule.next_after(expected, zone);
            next.is_some_and(|next| next.duration_since(expected) >= SignedDuration::from_hours(20))
        }),
        None => {
            let entry = looked
                .evaluation
                .entries
                .get(&finding.backup.key())
                .and_then(Value::as_object);
            entry
                .and_then(|entry| Interval::parse(expectation::interval(entry).ok()?).ok())
                .is_some_and(|interval| days(interval.length().as_secs()))
        }
    }
}

/// How many minutes of the day the arrivals usually are from the expected time, where they agree.
fn usual_distance(arrivals: &[Timestamp], expected: Timestamp, zone: &TimeZone) -> Option<i64> {
    let minute = |at: Timestamp| {
        let there = at.to_zoned(zone.get().clone());
        i64::from(there.hour()) * 60 + i64::from(there.minute())
    };
    let mut distances: Vec<i64> = arrivals
        .iter()
        .map(|at| (minute(*at) - minute(expected) + DAY / 2).rem_euclid(DAY) - DAY / 2)
        .collect();
    distances.sort_unstable();
    let median = *distances.get(distances.len() / 2)?;
    let near = distances
        .iter()
        .filter(|distance| (*distance - median).abs() <= DRIFT)
        .count();
    (distances.len() >= 3 && near * 4 >= distances.len() * 3).then_some(median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_seen_where_arrivals_agree_on_another_time() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let expected = at("2026-11-20T14:00:00Z");
        let utc = TimeZone::utc();
        for (times, distance) in [
            (["05:30", "05:31", "05:29", "05:30"], Some(-510)),
            (["14:10", "13:59", "14:40", "14:00"], Some(10)),
            (["01:00", "07:00", "13:00", "19:00"], None),
            (["23:55", "00:10", "23:58", "00:05"], Some(600)),
        ] {
            let arrivals: Vec<Timestamp> = times.iter().map(|time| at(&format!("2026-11-19T{time}:00Z"))).collect();
            let found = usual_distance(&arrivals, expected, &utc);
            assert_eq!(
                found.map(|minutes| minutes / 15),
                distance.map(|minutes: i64| minutes / 15),
                "{times:?}"
            );
        }
    }
}
