//! A time zone by its IANA name.

use std::fmt;
use std::str::FromStr;

use super::deserialize_from_text;

/// A time zone of the IANA database, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZone(jiff::tz::TimeZone);

impl TimeZone {
    /// The zone for calculations.
    pub fn get(&self) -> &jiff::tz::TimeZone {
        &self.0
    }

    /// The zone this machine is set to; UTC where that is not known.
    pub fn of_machine() -> Self {
        let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
        Self(zone)
    }

    /// What clocks and calendars of this zone show at an instant.
    pub(crate) fn civil(&self, at: jiff::Timestamp) -> jiff::civil::DateTime {
        at.to_zoned(self.0.clone()).datetime()
    }

    /// Coordinated Universal Time.
    pub fn utc() -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }
}

impl FromStr for TimeZone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let zone = jiff::tz::TimeZone::get(text).map_err(|_| {
            let expected = "an IANA name is expected, such as \"Europe/Berlin\" or \"UTC\"";
            let shown: String = text.chars().take(LONGEST_NAME).collect();
            let text = if shown.len() < text.len() {
                format!("{shown}…")
            } else {
                shown
            };
            match nearest(&text) {
                Some(near) => format!("`{text}` is not a time zone: {expected}; did you mean `{near}`?"),
                None => format!("`{text}` is not a time zone: {expected}"),
            }
        })?;
        Ok(Self(zone))
    }
}

/// No zone has a longer name, and comparing one takes long.
const LONGEST_NAME: usize = 64;

/// The zone whose name, or whose city, is nearest to `text`.
fn nearest(text: &str) -> Option<String> {
    if text.len() > LONGEST_NAME {
        return None;
    }
    let lower = text.to_lowercase().replace(' ', "_");
    let distance = |name: &str| {
        let name = name.to_lowercase();
        let city = name.rsplit('/').next().unwrap_or_default();
        strsim::damerau_levenshtein(&lower, &name).min(strsim::damerau_levenshtein(&lower, city))
    };
    jiff::tz::db()
        .available()
        .map(|name| (distance(name.as_str()), name.as_str().to_owned()))
        .filter(|(distance, _)| *distance <= (text.len() / 4).max(1))
        .min()
        .map(|(_, name)| name)
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

deserialize_from_text!(TimeZone);

super::schema_of_text!(TimeZone, "An IANA name, such as Europe/Berlin or UTC");
