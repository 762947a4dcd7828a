//! How a column writes its points in time, told by its values: so that nothing is compared that only looks alike.

use jiff::Timestamp;
use jiff::civil::DateTime;
use rusqlite::types::Value;

use crate::values::CutoffFormat;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    kind: Kind,
    is_text: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
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
    /// `2026-11-20 12:30:00`
    DateBlankTime,
    /// `2026-11-20T12:30:00Z`
    DateTTime,
    /// `2026-11-20`
    Date,
    /// A number or a text that may mean anything, such as 0 or "never".
    Other,
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

/// Numbers that stand for "never": the last second of the year 9999, in several units, and the largest there are.
const NEVER: &[i64] = &[
    253_402_300_799,
    253_402_300_800,
    253_402_300_799_000,
    253_402_300_799_999,
    253_402_300_800_000,
    i64::MAX,
    i64::MIN,
];

impl Look {
    /// The look of a value; `None` of NULL.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let number = |kind| Some(Self { kind, is_text: false });
        #[expect(clippy::cast_precision_loss, reason = "the magnitude is what counts")]
        match value {
            Value::Null => None,
            Value::Integer(found) if NEVER.contains(found) => number(Kind::Other),
            Value::Integer(found) => number(Kind::of_number(*found as f64)),
            Value::Real(found) => number(Kind::of_number(*found)),
            Value::Blob(_) => number(Kind::Blob),
            Value::Text(text) => Some(Self {
                kind: Kind::of_text(text),
                is_text: true,
            }),
        }
    }

    /// Whether it is a point in time for sure.
    pub(super) fn is_time(self) -> bool {
        !matches!(self.kind, Kind::Other | Kind::Blob)
    }

    /// Whether a value of this look can be compared with one that looks like `time`, which is a time. Where a column
    /// `converts`, SQLite takes numbers and their texts for the same.
    pub(super) fn fit(self, time: Self, converts: bool) -> Fit {
        let is_of_another_type = self.is_text != time.is_text && !converts;
        match (self.kind, time.kind) {
            (Kind::Blob, _) => Fit::No,
            _ if is_of_another_type => Fit::No,
            (one, other) if one == other => Fit::Yes,
            (Kind::Date, other) | (other, Kind::Date) if other.is_date() => Fit::Yes,
            (one, other) if one.is_date() && other.is_date() => Fit::Nearly,
            // A number is less than any date, whatever it means.
            (Kind::Other, other) if self.is_text || !other.is_date() => Fit::Unknown,
            _ => Fit::No,
        }
    }

    /// The `cutoff_format` that writes such values.
    pub(super) fn format(self) -> Option<CutoffFormat> {
        match self.kind {
            Kind::Seconds => Some(CutoffFormat::Unix),
            Kind::Milliseconds => Some(CutoffFormat::UnixMs),
            Kind::DateTTime => Some(CutoffFormat::Rfc3339),
            Kind::DateBlankTime | Kind::Date => Some(CutoffFormat::Sqlite),
            _ => None,
        }
    }
}

impl Kind {
    fn of_number(number: f64) -> Self {
        match number.abs() {
            2_400_000.0..2_500_000.0 => Self::JulianDays,
            1e8..1e11 => Self::Seconds,
            1e11..1e14 => Self::Milliseconds,
            1e14..1e17 => Self::Microseconds,
            1e17.. => Self::Nanoseconds,
            _ => Self::Other,
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
            _ => Self::Other,
        }
    }

    fn is_date(self) -> bool {
        matches!(self, Self::Date | Self::DateBlankTime | Self::DateTTime)
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
    match Look::of(value)?.kind {
        Kind::Seconds => seconds(number, 1.0),
        Kind::Milliseconds => seconds(number, 1e3),
        Kind::Microseconds => seconds(number, 1e6),
        Kind::Nanoseconds => seconds(number, 1e9),
        Kind::JulianDays => seconds((number - 2_440_587.5) * 86_400.0, 1.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart_and_fitted() {
        let text = |text: &str| Value::Text(text.to_owned());
        let (sqlite, unix) = (text("2026-08-23 00:00:00"), Value::Integer(1_755_907_200));
        for (value, with_sqlite, with_unix) in [
            (Value::Integer(1_763_712_000), Fit::No, Fit::Yes),
            (Value::Real(1_763_712_000.5), Fit::No, Fit::Yes),
            (Value::Integer(1_763_712_000_000), Fit::No, Fit::No),
            (Value::Integer(253_402_300_799), Fit::No, Fit::Unknown),
            (Value::Integer(0), Fit::No, Fit::Unknown),
            (Value::Real(2_461_000.5), Fit::No, Fit::No),
            (text("2026-11-20 12:30:00"), Fit::Yes, Fit::No),
            (text("2026-11-20T12:30:00Z"), Fit::Nearly, Fit::No),
            (text("2026-11-20"), Fit::Yes, Fit::No),
            (text("1763712000"), Fit::No, Fit::No),
            (text("0"), Fit::Unknown, Fit::No),
            (text("never"), Fit::Unknown, Fit::No),
            (Value::Blob(vec![1]), Fit::No, Fit::No),
        ] {
            let fit = |time: &Value, converts| Look::of(&value).unwrap().fit(Look::of(time).unwrap(), converts);
            assert_eq!(fit(&sqlite, false), with_sqlite, "{value:?}");
            assert_eq!(fit(&unix, false), with_unix, "{value:?}");
        }
        let digits = Look::of(&text("1763712000")).unwrap();
        assert_eq!(
            digits.fit(Look::of(&unix).unwrap(), true),
            Fit::Yes,
            "a column with a type"
        );
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
