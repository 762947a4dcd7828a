//! One expression of a schedule: cron fields, a nickname, `@every 90s`, or `@reboot`.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::date;

use super::super::{Duration, TimeZone};
use super::fields;
use super::times::Times;
use super::{words, zoned};

/// One expression, known to come again.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    text: String,
    meaning: Meaning,
}

#[derive(Clone, Debug)]
enum Meaning {
    /// Times of the day, each once a day that has it.
    Fixed(Arc<Times>),
    /// Minute or hour begins with `*`: a rhythm of real time.
    Rhythm(Arc<Times>),
    /// At every multiple of a length of time since 1970.
    Every(Duration),
    /// When the service starts.
    Start,
}

const NICKNAMES: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Expression {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let meaning = Meaning::parse(&text)?;
        Ok(Self { text, meaning })
    }

    pub(super) fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.meaning {
            Meaning::Fixed(times) => zoned::next_of_fixed(times, after, zone.get()),
            Meaning::Rhythm(times) => zoned::next_of_rhythm(times, after, zone.get()),
            Meaning::Every(length) => {
                let length = i64::try_from(length.to_std().as_millis()).ok()?;
                let next = (after.as_millisecond().div_euclid(length) + 1).checked_mul(length)?;
                Timestamp::from_millisecond(next).ok()
            }
            Meaning::Start => None,
        }
    }

    /// What it means, in words.
    pub(super) fn in_words(&self) -> String {
        match &self.meaning {
            Meaning::Every(length) => format!("every {length}"),
            Meaning::Start => "when the service starts".to_owned(),
            Meaning::Fixed(_) | Meaning::Rhythm(_) => {
                words::describe(&without_nickname(&self.text).split(' ').collect::<Vec<_>>())
            }
        }
    }

    /// Whether it means the start of the service.
    pub(super) fn is_start(&self) -> bool {
        matches!(self.meaning, Meaning::Start)
    }
}

/// The fields that a nickname stands for; what is none stays.
fn without_nickname(text: &str) -> &str {
    let known = NICKNAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    known.map_or(text, |(_, expression)| expression)
}

impl Meaning {
    fn parse(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("`{text}` is not a cron expression: {why}");
        if let Some((name, length)) = text.split_once(' ')
            && name.eq_ignore_ascii_case("@every")
        {
            let length: Duration = length.parse().map_err(|why: String| refuse(&why))?;
            if length.to_std() < std::time::Duration::from_secs(1) {
                return Err(refuse("the shortest interval is one second"));
            }
            return Ok(Self::Every(length));
        }
        if text.eq_ignore_ascii_case("@reboot") {
            return Ok(Self::Start);
        }
        let expression = without_nickname(text);
        if expression.starts_with('@') {
            let names: Vec<&str> = NICKNAMES.iter().map(|(name, _)| *name).collect();
            return Err(refuse(&format!(
                "nicknames are {}, @reboot and @every with a duration",
                names.join(", ")
            )));
        }
        let fields: Vec<&str> = expression.split(' ').collect();
        fields::check(&fields).map_err(|why| refuse(&why))?;
        let times = Times::parse(&fields).map_err(|error| refuse(&error.to_string()))?;
        // Any time will do to start from: what comes at all comes within half a century.
        if times.next_after(date(2000, 1, 1).at(0, 0, 0, 0)).is_none() {
            return Err(format!("`{text}` never occurs: there is no such date"));
        }
        let is_rhythm = fields[fields.len() - 5].starts_with('*') || fields[fields.len() - 4].starts_with('*');
        Ok(if is_rhythm {
            Self::Rhythm(Arc::new(times))
        } else {
            Self::Fixed(Arc::new(times))
        })
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
