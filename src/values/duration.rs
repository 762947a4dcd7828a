//! A length of time as the declaration writes it: a number with its unit ("90s", "10m", "30d").

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Span, SpanRelativeTo, Unit};

use super::deserialize_from_text;

/// A length of time, at least a millisecond; a day has 24 hours here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Duration(std::time::Duration);

impl Duration {
    /// The same length for the standard library.
    pub(crate) fn to_std(self) -> std::time::Duration {
        self.0
    }

    /// The same length for calculations with instants.
    pub(crate) fn signed(self) -> SignedDuration {
        SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX)
    }

    /// The length in days of 24 hours.
    pub(crate) fn as_days(self) -> f64 {
        self.0.as_secs_f64() / 86_400.0
    }

    /// A length of whole seconds.
    pub(crate) const fn from_seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// A length of whole milliseconds.
    pub(crate) const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    /// A length of whole days.
    pub(crate) fn from_days(days: u32) -> Self {
        Self(std::time::Duration::from_secs(u64::from(days) * 86_400))
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("`{text}` is not a duration: {why}");
        if !text.contains(|c: char| c.is_ascii_alphabetic()) {
            return Err(refuse(
                "a number with its unit is expected, such as \"90s\", \"10m\", \"12h\" or \"30d\"",
            ));
        }
        let span: Span = text
            .parse()
            .map_err(|_| refuse("units are ms, s, m, h, d and w, such as \"90s\" or \"1h 30m\""))?;
        if span.get_years() != 0 || span.get_months() != 0 {
            return Err(refuse("months and years differ in length; use days"));
        }
        let length = span
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .ok()
            .and_then(|length| std::time::Duration::try_from(length).ok())
            .ok_or_else(|| refuse("it must not be negative"))?;
        if length < std::time::Duration::from_millis(1) {
            return Err(refuse("it must be greater than zero"));
        }
        Ok(Self(length))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX);
        let span = Span::new()
            .milliseconds(millis)
            .round(jiff::SpanRound::new().largest(Unit::Day).days_are_24_hours());
        match span {
            Ok(span) => write!(f, "{span:#}"),
            Err(_) => write!(f, "{millis}ms"),
        }
    }
}

deserialize_from_text!(Duration);

super::schema_of_text!(
    Duration,
    "A length of time: a number with its unit, such as 90s, 10m, 12h, 30d or 1h 30m"
);

/// `wait` changed by up to a fifth, by `number`, so that those who failed together do not come back together.
pub(crate) fn spread(wait: std::time::Duration, number: u32) -> std::time::Duration {
    wait * (80 + number % 41) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_unit_and_is_written_back_short() {
        for (text, seconds, shown) in [
            ("90s", 90, "1m 30s"),
            ("10m", 600, "10m"),
            ("1h 30m", 5400, "1h 30m"),
            ("30d", 2_592_000, "30d"),
            ("2w", 1_209_600, "14d"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.to_std().as_secs(), seconds, "{text}");
            assert_eq!(duration.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in ["", "30", "-5m", "0s", "1mo", "1y", "abc", "5 lightyears"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad:?}");
        }
    }
}
