//! A time zone by its IANA name.

use std::fmt;
use std::str::FromStr;

use super::deserialize_from_text;

/// A time zone of the IANA database, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZone(jiff::tz::TimeZone);

impl TimeZone {
    /// The zone for calculations.
    #[must_use]
    pub fn get(&self) -> &jiff::tz::TimeZone {
        &self.0
    }

    /// The zone this machine is set to; UTC where that is not known.
    #[must_use]
    pub fn of_machine() -> Self {
        let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
        Self(zone)
    }

    /// Coordinated Universal Time.
    #[must_use]
    pub fn utc() -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }
}

impl FromStr for TimeZone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let zone = jiff::tz::TimeZone::get(text).map_err(|_| {
            format!("`{text}` is not a time zone: an IANA name is expected, such as \"Europe/Berlin\" or \"UTC\"")
        })?;
        Ok(Self(zone))
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

deserialize_from_text!(TimeZone);
