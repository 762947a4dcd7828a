//! A message as the outbox takes it, and as it keeps it.

use jiff::Timestamp;

/// A message for one channel, before it is put into the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// What it is about.
    pub subject: String,
    /// Why it is sent, the same for every attempt.
    pub cause: String,
    /// The channel it goes by.
    pub channel: String,
    /// Everything that is needed to send it, as JSON.
    pub envelope: String,
    /// Whether it takes the place of one about the same subject that still waits; else it is sent after that.
    pub supersedes: bool,
}

/// A row of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    /// Its number, which the message carries so that a receiver can tell a repetition.
    pub id: i64,
    /// The letter.
    pub letter: Letter,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
}
