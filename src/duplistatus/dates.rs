//! Short dates and times, and how long ago something was, as a language writes them. The only place that knows ICU.

use icu_calendar::Gregorian;
use icu_datetime::FixedCalendarDateTimeFormatter;
use icu_datetime::fieldsets::{YMD, YMDT};
use icu_datetime::input::{Date, DateTime, Time};
use icu_locale_core::Locale;
use jiff::Timestamp;

use crate::values::TimeZone;

/// The language of messages where none, or an unknown one, is asked for.
pub(crate) const DEFAULT_LANGUAGE: &str = "en-GB";

/// `at` as a short date and time of `language`, a tag such as `pt-BR`, on a clock in `zone`.
pub(crate) fn short(at: Timestamp, language: &str, zone: &TimeZone) -> String {
    let found = formatter(language)
        .or_else(|| formatter(DEFAULT_LANGUAGE))
        .zip(date_time(at, zone));
    let Some((pattern, date_time)) = found else {
        return at.to_string();
    };
    // Two places in which browsers, and so the application, write otherwise.
    let text = pattern.format(&date_time).to_string().replace('\u{202f}', " ");
    if language.starts_with("es") {
        text.replace(", 0", ", ")
    } else {
        text
    }
}

type Formatter = FixedCalendarDateTimeFormatter<Gregorian, YMDT>;

fn formatter(language: &str) -> Option<Formatter> {
    let locale: Locale = language.parse().ok()?;
    FixedCalendarDateTimeFormatter::try_new(locale.into(), YMD::short().with_time_hm()).ok()
}

fn date_time(at: Timestamp, zone: &TimeZone) -> Option<DateTime<Gregorian>> {
    let local = at.to_zoned(zone.get().clone());
    let number = |field: i8| u8::try_from(field).ok();
    let date = Date::try_new_gregorian(i32::from(local.year()), number(local.month())?, number(local.day())?).ok()?;
    let time = Time::try_new(
        number(local.hour())?,
        number(local.minute())?,
        number(local.second())?,
        0,
    )
    .ok()?;
    Some(DateTime { date, time })
}

/// Below so many seconds, it is now.
const JUST_NOW: i64 = 15;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The words for the time from `date` to `now`.
pub(crate) fn elapsed(date: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_millisecond() - date.as_millisecond();
    let ahead = seconds < 0;
    let seconds = seconds.abs() / 1000;
    match words(seconds) {
        None => "just now".to_owned(),
        Some(words) if ahead => format!("in {words}"),
        Some(words) => format!("{words} ago"),
    }
}

fn words(seconds: i64) -> Option<String> {
    let days = seconds / DAY;
    let (weeks, months, years) = (days / 7, days / 30, days / 365);
    Some(match seconds {
        ..JUST_NOW => return None,
        JUST_NOW..MINUTE => count(seconds, "second"),
        MINUTE..HOUR => count(seconds / MINUTE, "minute"),
        HOUR..DAY => count(seconds / HOUR, "hour"),
        _ if weeks == 0 => count(days, "day"),
        _ if months == 0 => count(weeks, "week"),
        _ if years == 0 => count(months, "month"),
        _ => match (days % 365) / 30 {
            0 => count(years, "year"),
            months => format!("{} and {}", count(years, "year"), count(months, "month")),
        },
    })
}

fn count(number: i64, unit: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_recorded_date_is_written_alike() {
        let (mut wrong, mut count) = (Vec::new(), 0);
        for line in include_str!("../../tests/vectors/datetime.jsonl").lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let at: Timestamp = vector["date"].as_str().unwrap().parse().unwrap();
            let zone: TimeZone = vector["tz"].as_str().unwrap().parse().unwrap();
            for (language, expected) in vector
                .as_object()
                .unwrap()
                .iter()
                .filter(|(key, _)| !["date", "tz"].contains(&key.as_str()))
            {
                let found = short(at, language, &zone);
                if *expected != found {
                    wrong.push(format!("{language}: {found} instead of {expected}"));
                }
                count += 1;
            }
        }
        assert!(
            wrong.is_empty() && count == 480,
            "{} of {count} wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    #[test]
    fn an_unknown_language_is_written_as_english() {
        let at = "2026-11-20T12:30:00Z".parse().unwrap();
        assert_eq!(short(at, "not a tag!", &TimeZone::utc()), "20/11/2026, 12:30");
    }

    #[test]
    fn every_recorded_time_is_put_into_the_same_words() {
        let mut wrong = Vec::new();
        for line in include_str!("../../tests/vectors/relative-time.jsonl").lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let instant = |key: &str| vector[key].as_str().unwrap().parse::<Timestamp>().unwrap();
            let found = elapsed(instant("date"), instant("now"));
            if vector["text"] != found {
                wrong.push(format!("{line} {found}"));
            }
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
}
