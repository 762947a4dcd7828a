//! How long ago, or how far ahead, in English words: the application writes it so in every language.

use jiff::Timestamp;

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
