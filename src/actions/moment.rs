//! How a column writes its points in time, told by its values: so that nothing is compared that only looks alike.

use jiff::Timestamp;
use jiff::civil::DateTime;
use rusqlite::types::Value;

use crate::values::CutoffFormat;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Microseconds since 1970.
    Microseconds,
    /// Nanoseconds since 1970.
    Nanoseconds,
    /// Days of the Julian calendar.
    JulianDays,
    /// A number that may be anything, such as 0.
    Number,
    /// `2026-11-20 12:30:00`
    DateBlankTime,
    /// `2026-11-20T12:30:00Z`
    DateTTime,
    /// `2026-11-20`
    Date,
    /// Any other text.
    Text,
    /// Bytes.
    Blob,
}

/// Whether two values can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Never: which is the smaller says nothing of time.
    No,
    /// The value says nothing of its format.
    Unknown,
    /// To the day: both are dates, but the times after them are written in different ways.
    Nearly,
    /// Yes.
    Yes,
}

impl Look {
    /// The look of a value; `None` of NULL.
    pub(super) fn of(value: &Value) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "the magnitude is what counts")]
        match value {
            Value::Null => None,
            Value::Integer(number) => Some(Self::of_number(*number as f64)),
            Value::Real(number) => Some(Self::of_number(*number)),
            Value::Text(text) => Some(Self::of_text(text)),
            Value::Blob(_) => Some(Self::Blob),
        }
    }

    fn of_number(number: f64) -> Self {
        match number.abs() {
            2_400_000.0..2_500_000.0 => Self::JulianDays,
            1e8..1e11 => Self::Seconds,
            1e11..1e14 => Self::Milliseconds,
            1e14..1e17 => Self::Microseconds,
            1e17.. => Self::Nanoseconds,
            _ => Self::Number,
        }
    }

    fn of_text(text: &str) -> Self {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if let Some(number) = is_number.then(|| text.parse().ok()).flatten() {
            return Self::of_number(number);
        }
        let pattern: String = text
            .chars()
            .take(11)
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        match pattern.as_str() {
            "0000-00-00" => Self::Date,
            "0000-00-00 " => Self::DateBlankTime,
            "0000-00-00T" => Self::DateTTime,
            _ => Self::Text,
        }
    }

    fn is_date(self) -> bool {
        matches!(self, Self::Date | Self::DateBlankTime | Self::DateTTime)
    }

    /// Whether it is a point in time for sure.
    pub(super) fn is_time(self) -> bool {
        !matches!(self, Self::Number | Self::Text | Self::Blob)
    }

    /// Whether a value of this look can be compared with one that looks like `other`, which is a time.
    pub(super) fn fit(self, other: Self) -> Fit {
        match (self, other) {
            (one, other) if one == other => Fit::Yes,
            (Self::Date, other) | (other, Self::Date) if other.is_date() => Fit::Yes,
            (one, other) if one.is_date() && other.is_date() => Fit::Nearly,
            (Self::Text, other) if other.is_date() => Fit::Unknown,
            (Self::Number, other) if !other.is_date() => Fit::Unknown,
            _ => Fit::No,
        }
    }

    /// The `cutoff_format` that writes such values.
    pub(super) fn format(self) -> Option<CutoffFormat> {
        match self {
            Self::Seconds => Some(CutoffFormat::Unix),
            Self::Milliseconds => Some(CutoffFormat::UnixMs),
            Self::DateTTime => Some(CutoffFormat::Rfc3339),
            Self::DateBlankTime | Self::Date => Some(CutoffFormat::Sqlite),
            _ => None,
        }
    }
}

/// The point in time that a value means, as far as its look tells.
pub(super) fn time_of(value: &Value) -> Option<Timestamp> {
    if let Value::Text(text) = value {
        if let Ok(at) = text.parse() {
            return Some(at);
        }
        let civil: DateTime = text.trim_end_matches('Z').parse().ok()?;
        return civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp());
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds are exact enough")]
    let seconds = |number: f64, per_second: f64| Timestamp::from_second((number / per_second) as i64).ok();
    #[expect(clippy::cast_precision_loss, reason = "seconds are exact enough")]
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Real(number) => *number,
        _ => return None,
    };
    match Look::of(value)? {
        Look::Seconds => seconds(number, 1.0),
        Look::Milliseconds => seconds(number, 1e3),
        Look::Microseconds => seconds(number, 1e6),
        Look::Nanoseconds => seconds(number, 1e9),
        Look::JulianDays => seconds((number - 2_440_587.5) * 86_400.0, 1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_and_fitted() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (value, look, with_sqlite, with_unix) in [
            (Value::Integer(1_763_712_000), Look::Seconds, Fit::No, Fit::Yes),
            (Value::Real(1_763_712_000.5), Look::Seconds, Fit::No, Fit::Yes),
            (Value::Integer(1_763_712_000_000), Look::Milliseconds, Fit::No, Fit::No),
            (Value::Integer(0), Look::Number, Fit::No, Fit::Unknown),
            (Value::Real(2_461_000.5), Look::JulianDays, Fit::No, Fit::No),
            (text("2026-11-20 12:30:00"), Look::DateBlankTime, Fit::Yes, Fit::No),
            (text("2026-11-20T12:30:00Z"), Look::DateTTime, Fit::Nearly, Fit::No),
            (text("2026-11-20"), Look::Date, Fit::Yes, Fit::No),
            (text("1763712000"), Look::Seconds, Fit::No, Fit::Yes),
            (text("never"), Look::Text, Fit::Unknown, Fit::No),
            (Value::Blob(vec![1]), Look::Blob, Fit::No, Fit::No),
        ] {
            let found = Look::of(&value).unwrap();
            assert_eq!(found, look, "{value:?}");
            assert_eq!(found.fit(Look::DateBlankTime), with_sqlite, "{value:?}");
            assert_eq!(found.fit(Look::Seconds), with_unix, "{value:?}");
        }
        assert_eq!(Look::of(&Value::Null), None);
        for value in [
            Value::Integer(1_763_712_000),
            text("2025-11-21 08:00:00"),
            text("2025-11-21T08:00:00Z"),
            Value::Real(2_461_000.833_333_4),
        ] {
            let time = time_of(&value).map(|at| at.to_string());
            assert_eq!(time.as_deref(), Some("2025-11-21T08:00:00Z"), "{value:?}");
        }
    }
}
