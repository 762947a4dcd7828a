//! How often a backup is expected, and the arithmetic of its next expected time. Calendar steps are taken in UTC.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// The most steps that are taken to reach a time after the last backup.
const MOST_STEPS: u32 = 50_000;
/// How much later than the last backup the next one must be.
const AT_LEAST: SignedDuration = SignedDuration::from_secs(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const ALL_WEEK: [u8; 7] = [0, 1, 2, 3, 4, 5, 6];

/// An interval of one or more steps: `1D2h30m`, or a number of seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interval(Vec<(i64, Unit)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            's' => Self::Second,
            'm' => Self::Minute,
            'h' => Self::Hour,
            'D' => Self::Day,
            'W' => Self::Week,
            'M' => Self::Month,
            'Y' => Self::Year,
            _ => return None,
        })
    }

    /// Its length in seconds; a month counts 30 days, a year 365.
    fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
            Self::Year => 365 * 86_400,
        }
    }
}

impl Interval {
    /// Reads an interval of which every character counts.
    pub(crate) fn parse_strictly(text: &str) -> Result<Self, String> {
        let interval = Self::parse(text)?;
        let is_clean = text
            .trim()
            .chars()
            .all(|c| c.is_ascii_digit() || Unit::from_letter(c).is_some());
        let is_number = text.trim().chars().all(|c| c.is_ascii_digit());
        let ends_well = is_number || !text.trim().ends_with(|c: char| c.is_ascii_digit());
        if is_clean && ends_well {
            Ok(interval)
        } else {
            Err(invalid(text))
        }
    }

    /// Reads an interval, skipping over characters that mean nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("Interval must be a non-empty string".to_owned());
        }
        if text.chars().all(|c| c.is_ascii_digit()) {
            let seconds = text.parse().map_err(|_| invalid(text))?;
            return Self::of(vec![(seconds, Unit::Second)], text);
        }
        let (mut steps, mut number) = (Vec::new(), String::new());
        for c in text.chars() {
            if c.is_ascii_digit() {
                number.push(c);
                continue;
            }
            if let (Some(unit), false) = (Unit::from_letter(c), number.is_empty()) {
                steps.push((number.parse().map_err(|_| invalid(text))?, unit));
            }
            number.clear();
        }
        Self::of(steps, text)
    }

    fn of(steps: Vec<(i64, Unit)>, text: &str) -> Result<Self, String> {
        if steps.is_empty() || steps.iter().any(|(count, _)| *count < 1) {
            return Err(invalid(text));
        }
        Ok(Self(steps))
    }

    /// Its length, months and years counted by their rule of thumb.
    pub(crate) fn length(&self) -> SignedDuration {
        let seconds = self
            .0
            .iter()
            .map(|(count, unit)| count.saturating_mul(unit.seconds()))
            .fold(0, i64::saturating_add);
        SignedDuration::from_secs(seconds)
    }

    /// The instant one interval after `from`; `None` beyond the calendar.
    fn after(&self, from: Timestamp) -> Option<Timestamp> {
        self.0.iter().try_fold(from, |at, &(count, unit)| match unit {
            Unit::Month => add_months(at, count),
            Unit::Year => add_months(at, count.checked_mul(12)?),
            _ => at
                .checked_add(SignedDuration::from_secs(count.checked_mul(unit.seconds())?))
                .ok(),
        })
    }

    /// The first instant later than `earliest`, in steps from `at`, on a day of the week that is allowed.
    fn step(&self, mut at: Timestamp, earliest: Timestamp, weekdays: &[u8]) -> Result<Timestamp, String> {
        for _ in 0..MOST_STEPS {
            if at > earliest {
                if weekdays.contains(&weekday(at)) {
                    return Ok(at);
                }
                if self.length() >= DAY {
                    return (1..=8)
                        .filter_map(|days| at.checked_add(DAY * days).ok())
                        .find(|at| weekdays.contains(&weekday(*at)))
                        .ok_or_else(|| "no day of the week is allowed".to_owned());
                }
            }
            at = self.after(at).ok_or_else(beyond)?;
        }
        Err(format!(
            "the next expected time was not reached in {MOST_STEPS} intervals"
        ))
    }
}

/// When the next backup is expected, after one at `last`, counted from `base` in steps of `interval`, on days of the
/// week that are allowed (0 is Sunday; none named means all).
pub(crate) fn next(last: Timestamp, base: Timestamp, interval: &str, weekdays: &[u8]) -> Result<Timestamp, String> {
    let weekdays = if weekdays.is_empty() { &ALL_WEEK } else { weekdays };
    let earliest = last.checked_add(AT_LEAST).map_err(|_| beyond())?;
    if base >= earliest && weekdays.contains(&weekday(base)) {
        return Ok(base);
    }
    Interval::parse(interval)?.step(base, earliest, weekdays)
}

fn beyond() -> String {
    "the next expected time is beyond the calendar".to_owned()
}

fn invalid(text: &str) -> String {
    format!(
        "Invalid interval format: {}. Expected format like \"1D2h30m\"",
        text.trim()
    )
}

/// The day of the week in UTC, 0 being Sunday.
fn weekday(at: Timestamp) -> u8 {
    u8::try_from(at.to_zoned(TimeZone::UTC).weekday().to_sunday_zero_offset()).unwrap_or(0)
}

/// Adds calendar months in UTC; a day the month does not have runs over into the next one.
fn add_months(at: Timestamp, months: i64) -> Option<Timestamp> {
    let from: DateTime = at.to_zoned(TimeZone::UTC).datetime();
    let months = Span::new().try_months(months).ok()?;
    let first = from.first_of_month().checked_add(months).ok()?;
    let days = Span::new().try_days(i64::from(from.day()) - 1).ok()?;
    first
        .checked_add(days)
        .ok()?
        .to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_recorded_next_time_is_found() {
        let (mut wrong, mut count) = (Vec::new(), 0);
        for line in include_str!("../../tests/vectors/next-run.jsonl").lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let instant = |key: &str| {
                vector[key]
                    .as_str()
                    .unwrap()
                    .parse::<Timestamp>()
                    .map_err(|error| error.to_string())
            };
            let weekdays: Vec<u8> = serde_json::from_value(vector["allowed_week_days"].clone()).unwrap();
            let find = || {
                next(
                    instant("last_backup")?,
                    instant("base_time")?,
                    vector["interval"].as_str().unwrap(),
                    &weekdays,
                )
            };
            let found = find();
            let expected = vector["next"].as_str().map(|next| next.parse::<Timestamp>().unwrap());
            if found.clone().ok() != expected {
                wrong.push(format!("{line}\n  {found:?}"));
            }
            count += 1;
        }
        assert!(
            wrong.is_empty() && count == 500,
            "{} wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    #[test]
    fn a_stray_character_spoils_what_is_read_strictly() {
        for (text, strictly, loosely) in [
            ("1D", true, true),
            (" 1D2h30m ", true, true),
            ("3600", true, true),
            ("1D 2h", false, true),
            ("1Dx", false, true),
            ("1D5", false, true),
            ("0D", false, false),
            ("1d", false, false),
            ("", false, false),
            ("D", false, false),
        ] {
            assert_eq!(Interval::parse_strictly(text).is_ok(), strictly, "{text:?}");
            assert_eq!(Interval::parse(text).is_ok(), loosely, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_next_time_is_after_the_backup_on_an_allowed_day_and_stays_when_asked_again(
            last in 1_600_000_000_i64..1_900_000_000,
            behind in -40_000_000_i64..40_000_000,
            parts in (0_u8..3, 0_u8..3, 0_u8..4, 0_u8..30, 0_u16..120),
            days in proptest::collection::btree_set(0_u8..7, 0..7),
        ) {
            let (years, months, weeks, hours, minutes) = parts;
            let parts = [(years.into(), "Y"), (months.into(), "M"), (weeks.into(), "W"), (hours.into(), "h"), (minutes + 1, "m")];
            let given = parts.iter().filter(|(count, _): &&(u16, &str)| *count > 0);
            let interval = given.fold(String::new(), |interval, (count, unit)| format!("{interval}{count}{unit}"));
            let days: Vec<u8> = days.into_iter().collect();
            let last = Timestamp::from_second(last).unwrap();
            let base = last - SignedDuration::from_secs(behind);
            // Short intervals from a base far back run out of steps, and say so.
            if let Ok(found) = next(last, base, &interval, &days) {
                proptest::prop_assert!(found > last, "{interval}: {found} is not after {last}");
                proptest::prop_assert!(days.is_empty() || days.contains(&weekday(found)));
                proptest::prop_assert_eq!(next(last, found, &interval, &days), Ok(found));
            }
        }
    }
}
