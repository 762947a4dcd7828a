//! Short dates and times as a language writes them, in the zone of the reader. The only place that knows ICU.

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
}
