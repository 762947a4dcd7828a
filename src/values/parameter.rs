//! The values a declared statement and its message may ask for by name.

use jiff::{Timestamp, civil};

use super::{TimeZone, iso};

/// How a column writes its instants, and so how `:cutoff` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CutoffFormat {
    /// `YYYY-MM-DD HH:MM:SS` in UTC, as SQLite's `CURRENT_TIMESTAMP` writes it.
    Sqlite,
    /// RFC 3339 in UTC with milliseconds and Z.
    Rfc3339,
    /// Whole seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// PostgreSQL's `timestamp with time zone`.
    Timestamptz,
    /// PostgreSQL's `timestamp without time zone`, in the time zone of the database.
    Timestamp,
    /// PostgreSQL's `date`, in the time zone of the database.
    Date,
}

impl std::fmt::Display for CutoffFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Rfc3339 => "rfc3339",
            Self::Unix => "unix",
            Self::UnixMs => "unix_ms",
            Self::Timestamptz => "timestamptz",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
        })
    }
}

impl CutoffFormat {
    /// Whether only PostgreSQL has columns of that type.
    pub(crate) fn is_of_postgresql(self) -> bool {
        matches!(self, Self::Timestamptz | Self::Timestamp | Self::Date)
    }

    /// The instant as a value of such a column, which is written in `zone` where it says none.
    pub(crate) fn write(self, at: Timestamp, zone: &TimeZone) -> Parameter {
        match self {
            Self::Sqlite => Parameter::Text(at.strftime("%Y-%m-%d %H:%M:%S").to_string()),
            Self::Rfc3339 => Parameter::Text(iso(at)),
            Self::Unix => Parameter::Integer(at.as_second()),
            Self::UnixMs => Parameter::Integer(at.as_millisecond()),
            Self::Timestamptz => Parameter::Instant(at),
            Self::Timestamp => Parameter::DateTime(zone.civil(at)),
            Self::Date => Parameter::Date(zone.civil(at).date()),
        }
    }
}

/// One value of a statement's parameter or a message's field.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Real(f64),
    /// A point in time.
    Instant(Timestamp),
    /// A date and a time of day.
    DateTime(civil::DateTime),
    /// A date.
    Date(civil::Date),
}

impl Parameter {
    /// A number of days: whole where it is whole.
    pub fn days(days: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be whole; a declared retention is far below 2^53 days"
        )]
        if days.fract() == 0.0 {
            Self::Integer(days as i64)
        } else {
            Self::Real(days)
        }
    }
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
            Self::Instant(at) => f.write_str(&iso(*at)),
            Self::DateTime(at) => write!(f, "{}", at.strftime("%Y-%m-%d %H:%M:%S")),
            Self::Date(date) => date.fmt(f),
        }
    }
}

impl From<Parameter> for serde_json::Value {
    fn from(parameter: Parameter) -> Self {
        match parameter {
            Parameter::Text(text) => text.into(),
            Parameter::Integer(number) => number.into(),
            Parameter::Real(number) => number.into(),
            other => other.to_string().into(),
        }
    }
}
