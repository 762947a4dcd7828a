//! What the queries of alerts found: each is told when it is new, again from time to time, and when it is gone.

use jiff::Timestamp;

/// A finding as it was found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What makes it the same as one of another run.
    pub key: String,
    pub message: String,
}

/// What changed about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is there since now, or is due to be told again.
    Told(Finding),
    /// It is gone, and was there since then.
    Gone(Finding, Timestamp),
}
