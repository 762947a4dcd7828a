//! Signals by their names.

use std::str::FromStr;

use rustix::process::Signal;

use crate::values::with_suggestion;

/// The signals that a program may be asked to end with.
const STOPPING: &[(&str, Signal)] = &[
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("KILL", Signal::KILL),
];
/// Others that end one.
const OTHERS: &[(&str, Signal)] = &[
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("ILL", Signal::ILL),
    ("PIPE", Signal::PIPE),
    ("SEGV", Signal::SEGV),
    ("SYS", Signal::SYS),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
];

/// The signal that asks a program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopSignal(pub(super) Signal);

impl Default for StopSignal {
    fn default() -> Self {
        Self(Signal::TERM)
    }
}

impl FromStr for StopSignal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        let found = STOPPING.iter().find(|(known, _)| *known == name);
        found.map(|(_, signal)| Self(*signal)).ok_or_else(|| {
            let names = STOPPING.iter().map(|(name, _)| *name);
            with_suggestion(format!("there is no stop signal `{text}`"), text, names)
        })
    }
}

impl std::fmt::Display for StopSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&in_words(self.0.as_raw()))
    }
}

crate::values::deserialize_from_text!(StopSignal);

crate::values::schema_of_text!(StopSignal, "TERM, INT, QUIT, HUP, USR1, USR2 or KILL");

/// The name of a signal, or its number where it has none here.
pub(super) fn in_words(number: i32) -> String {
    let known = STOPPING
        .iter()
        .chain(OTHERS)
        .find(|(_, signal)| signal.as_raw() == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}
