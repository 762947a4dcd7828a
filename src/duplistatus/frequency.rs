//! How often an overdue backup is told again.

use std::str::FromStr;

use crate::sql::sqlite::{self, Connection};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};

use super::settings;
use crate::values::Duration;

const FREQUENCY: &str = "notification_frequency";

/// How often an overdue backup is told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frequency {
    /// Never, until another backup has come.
    Once,
    /// So long after the last time.
    Every(SignedDuration),
}

impl Frequency {
    /// The application's setting; a day where it has none, or one that is not known.
    pub(crate) fn of_application(connection: &Connection) -> sqlite::Result<Self> {
        let text = settings::get(connection, FREQUENCY)?.unwrap_or_default();
        Ok(Self::from_word(text.trim().trim_matches('"')).unwrap_or(Self::days(1)))
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "onetime" => Self::Once,
            "every_day" => Self::days(1),
            "every_week" => Self::days(7),
            "every_month" => Self::days(30),
            _ => return None,
        })
    }

    fn days(days: i64) -> Self {
        Self::Every(SignedDuration::from_hours(24 * days))
    }
}

impl FromStr for Frequency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let of_duration = || {
            let every = text.parse::<Duration>().ok()?.to_std();
            SignedDuration::try_from(every).ok().map(Self::Every)
        };
        Self::from_word(text).or_else(of_duration).ok_or_else(|| {
            format!("`{text}` is not a frequency: onetime, every_day, every_week, every_month or a duration such as \"12h\" is expected")
        })
    }
}

impl<'de> Deserialize<'de> for Frequency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

crate::values::schema_of_text!(Frequency, "onetime, every_day, every_week, every_month, or a duration");
