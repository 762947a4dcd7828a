//! The values a declared statement and its message may ask for by name.

use jiff::Timestamp;

use super::iso;

/// How a column writes its instants, and so how `:cutoff` is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CutoffFormat {
    /// `YYYY-MM-DD HH:MM:SS` in UTC, as SQLite's `CURRENT_TIMESTAMP` writes it.
    #[default]
    Sqlite,
    /// RFC 3339 in UTC with milliseconds and Z.
    Rfc3339,
    /// Whole seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
}

impl std::fmt::Display for CutoffFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Rfc3339 => "rfc3339",
            Self::Unix => "unix",
            Self::UnixMs => "unix_ms",
        })
    }
}

impl CutoffFormat {
    /// The instant as a value of such a column.
    pub(crate) fn write(self, at: Timestamp) -> Parameter {
        match self {
            Self::Sqlite => Parameter::Text(at.strftime("%Y-%m-%d %H:%M:%S").to_string()),
            Self::Rfc3339 => Parameter::Text(iso(at)),
            Self::Unix => Parameter::Integer(at.as_second()),
            Self::UnixMs => Parameter::Integer(at.as_millisecond()),
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
        }
    }
}

impl From<Parameter> for serde_json::Value {
    fn from(parameter: Parameter) -> Self {
        match parameter {
            Parameter::Text(text) => text.into(),
            Parameter::Integer(number) => number.into(),
            Parameter::Real(number) => number.into(),
        }
    }
}
