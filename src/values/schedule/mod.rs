//! When a job runs: one or more cron expressions in a time zone. The only place that knows croner.

mod expression;
mod fields;
mod times;
mod words;
mod zoned;

use std::fmt;

use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::TimeZone;
use expression::Expression;

/// One or more expressions, each known to come again.
#[derive(Clone, PartialEq)]
pub struct Schedule(Vec<Expression>);

impl Schedule {
    /// Reads one expression; runs of spaces count as one.
    ///
    /// # Errors
    /// A sentence saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(vec![Expression::parse(text)?]))
    }

    /// The first instant after `after` at which one of the expressions matches a clock in `zone`.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        self.0
            .iter()
            .filter_map(|expression| expression.next_after(after, zone))
            .min()
    }

    /// What it means, in words.
    pub(crate) fn in_words(&self) -> String {
        let words: Vec<String> = self.0.iter().map(Expression::in_words).collect();
        words.join("; ")
    }

    /// Whether it names the start of the service, too.
    pub fn has_start(&self) -> bool {
        self.0.iter().any(Expression::is_start)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
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
        let (mut expressions, mut wrong) = (Vec::new(), Vec::new());
        while let Some(text) = list.next_element::<String>()? {
            match Expression::parse(&text) {
                Ok(expression) => expressions.push(expression),
                Err(why) => wrong.push(why),
            }
        }
        if !wrong.is_empty() {
            return Err(de::Error::custom(wrong.join("; ")));
        }
        if expressions.is_empty() {
            return Err(de::Error::custom("the list of cron expressions is empty"));
        }
        Ok(Schedule(expressions))
    }
}

impl schemars::JsonSchema for Schedule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Schedule".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "One cron expression or several: five fields, or six with leading seconds; @daily and the like; @every 90s; @reboot",
            "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
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
            ("", "1 field"),
            ("* * * *", "4 fields"),
            ("* * * * * * *", "7 fields"),
            (", * * * *", "minute"),
            ("1,,2 * * * *", "minute"),
            ("*/70 * * * *", "minute"),
            ("* */0 * * *", "hour"),
            ("0 0 1 JAN2 *", "month"),
            ("00 000 01 * *", "hour"),
            ("0 0 L,15,LW * *", "two expressions"),
            ("61 * * * *", "61 is not between 0 and 59 in the minute field"),
            ("0 0 0 * *", "day of month"),
            ("0 0 31 2 *", "never occurs"),
            ("@sometimes", "@sometimes"),
            ("every day at two o clock", "every"),
        ] {
            let message = Schedule::parse(bad).unwrap_err();
            assert!(message.contains(word), "{bad:?}: {message}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(3000))]
        #[test]
        fn whatever_is_written_is_refused_or_comes_after_the_time_asked_for(
            text in "([0-9*/,LW#?A-Z-]{1,6} ){4,5}[0-9*/,LW#A-Z+-]{1,6}|@[a-z]{1,8}( [0-9]{1,3}[smhd])?",
            after in -3_000_000_000_i64..8_000_000_000,
        ) {
            if let Ok(schedule) = Schedule::parse(&text) {
                let after = Timestamp::from_second(after).unwrap();
                for zone in ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"] {
                    let zone = zone.parse().unwrap();
                    let next = schedule.next_after(after, &zone);
                    proptest::prop_assert!(next.is_none_or(|next| next > after), "{text} in {zone}");
                    proptest::prop_assert!(next.is_some() || schedule.has_start(), "{text} in {zone} never occurs");
                }
            }
        }
    }
}
