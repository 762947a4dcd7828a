//! When a job runs: one or more cron expressions in a time zone. The only place that knows croner.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::TimeZone;

/// One cron expression of five fields, or six with leading seconds.
#[derive(Clone)]
struct Expression {
    text: String,
    cron: Cron,
}

/// One or more cron expressions, each known to come again.
#[derive(Clone, PartialEq)]
pub struct Schedule(Vec<Expression>);

/// The names of the fields, seconds first, with the lowest and the highest value.
const FIELDS: [(&str, u32, u32); 6] = [
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
];

impl Schedule {
    /// Reads one expression; runs of spaces count as one.
    ///
    /// # Errors
    /// A sentence saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(vec![Expression::parse(text)?]))
    }

    /// The first instant after `after` at which one of the expressions matches a clock in `zone`.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = after.to_zoned(zone.get().clone());
        self.0
            .iter()
            .filter_map(|expression| expression.cron.find_next_occurrence(&from, false).ok())
            .map(|at| at.timestamp())
            .min()
    }
}

impl Expression {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let refuse = |why: &str| format!("`{text}` is not a cron expression: {why}");
        if !text.starts_with('@') {
            check_fields(&text).map_err(|why| refuse(&why))?;
        }
        let cron = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build()
            .parse(&text)
            .map_err(|error| refuse(&error.to_string()))?;
        let expression = Self { text, cron };
        if !expression.comes() {
            return Err(format!("`{}` never comes: no year has such a day", expression.text));
        }
        Ok(expression)
    }

    /// Whether it ever matches. Without a year field any instant will do to start from.
    fn comes(&self) -> bool {
        let start = Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
        self.cron.find_next_occurrence(&start, false).is_ok()
    }
}

/// Refuses what croner lets through although it means nothing, and what would cost it seconds to search.
fn check_fields(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split(' ').collect();
    if !matches!(fields.len(), 5 | 6) {
        return Err(format!(
            "it has {} fields; five are expected, or six with leading seconds",
            fields.len()
        ));
    }
    for (field, (name, lowest, highest)) in fields.iter().zip(&FIELDS[FIELDS.len() - fields.len()..]) {
        for item in field.split(',') {
            check_item(item, *lowest, *highest).map_err(|why| format!("{why} in the {name} field `{field}`"))?;
        }
    }
    Ok(())
}

/// One item of a field's list: `*`, a value or a range, perhaps with a step.
fn check_item(item: &str, lowest: u32, highest: u32) -> Result<(), String> {
    if item.is_empty() {
        return Err("an empty place between commas".to_owned());
    }
    let (range, step) = item
        .split_once('/')
        .map_or((item, None), |(range, step)| (range, Some(step)));
    if let Some(step) = step
        && !step.parse::<u32>().is_ok_and(|step| (1..=highest).contains(&step))
    {
        return Err(format!("the step `{step}` is not between 1 and {highest}"));
    }
    for word in range.split(['-', '#']) {
        let letters = word
            .trim_start_matches('+')
            .chars()
            .filter(char::is_ascii_alphabetic)
            .count();
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let nearest = word.ends_with(['L', 'l', 'W', 'w']);
        if digits > 2 || (letters > 0 && digits > 0 && !nearest) {
            return Err(format!("`{word}` is neither a number nor a name"));
        }
        if let Ok(number) = word.parse::<u32>()
            && !(lowest..=highest).contains(&number)
        {
            return Err(format!("{number} is not between {lowest} and {highest}"));
        }
    }
    Ok(())
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|expression| expression.text.as_str()).collect();
        f.write_str(&texts.join(" | "))
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({self})")
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Schedule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cron expression such as \"0 2 * * *\", or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Schedule, E> {
        Schedule::parse(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Schedule, A::Error> {
        let mut expressions = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            expressions.push(Expression::parse(&text).map_err(de::Error::custom)?);
        }
        if expressions.is_empty() {
            return Err(de::Error::custom("the list of cron expressions is empty"));
        }
        Ok(Schedule(expressions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, after: &str, zone: &str) -> String {
        let schedule = Schedule::parse(expression).unwrap();
        let at = schedule
            .next_after(after.parse().unwrap(), &zone.parse().unwrap())
            .unwrap();
        super::super::iso(at)
    }

    #[test]
    fn the_next_time_is_found_in_the_zone() {
        for (expression, zone, expected) in [
            ("*/5 * * * *", "UTC", "2026-11-20T12:35:00.000Z"),
            ("0      */2  *            *     *", "UTC", "2026-11-20T14:00:00.000Z"),
            ("0 2 * * *", "Europe/Berlin", "2026-11-21T01:00:00.000Z"),
            ("*/10 * * * * *", "UTC", "2026-11-20T12:30:10.000Z"),
            ("@daily", "UTC", "2026-11-21T00:00:00.000Z"),
            ("0 0 29 2 *", "UTC", "2028-02-29T00:00:00.000Z"),
            ("0 8 L * *", "UTC", "2026-11-30T08:00:00.000Z"),
            ("0 8 * JAN MON#2", "UTC", "2027-01-11T08:00:00.000Z"),
        ] {
            assert_eq!(next(expression, "2026-11-20T12:30:00Z", zone), expected, "{expression}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_field_that_holds_it() {
        for (bad, word) in [
            ("", "1 fields"),
            ("* * * *", "4 fields"),
            ("* * * * * * *", "7 fields"),
            (", * * * *", "minute"),
            ("1,,2 * * * *", "minute"),
            ("*/70 * * * *", "minute"),
            ("* */0 * * *", "hour"),
            ("0 0 1 JAN2 *", "month"),
            ("00 000 01 * *", "hour"),
            ("61 * * * *", "61 is not between 0 and 59 in the minute field"),
            ("0 0 0 * *", "day of month"),
            ("0 0 31 2 *", "never comes"),
            ("@sometimes", "@sometimes"),
            ("every day at two o clock", "every"),
        ] {
            let message = Schedule::parse(bad).unwrap_err();
            assert!(message.contains(word), "{bad:?}: {message}");
        }
    }
}
