//! How instants are written for people and programs.

use jiff::Timestamp;

/// RFC 3339 in UTC with milliseconds and Z, as JavaScript's `toISOString` writes it.
pub(crate) fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Writes an instant as [`iso`] does.
pub(crate) fn write_iso<S: serde::Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&iso(*at))
}

/// The instant `wait` after `at`; the last one there is, where that is later.
pub(crate) fn later(at: Timestamp, wait: jiff::SignedDuration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
