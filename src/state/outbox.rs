//! A message on its way, as the outbox takes it and as it keeps it.
//!
//! Two databases cannot commit together, so the order of writes is what makes a crash harmless:
//!
//! 1. the rows are written here, unique by subject, cause and channel;
//! 2. a row is claimed (its next attempt put off), then sent;
//! 3. it is marked delivered here;
//! 4. the delivery is noted in the application's database (stamp and audit row);
//! 5. it is marked noted here.
//!
//! A crash after 1 or 2 sends at the next attempt, after 3 or 4 notes at the next check. The cause holds the stamp
//! that was there before and the last message that is noted, so that until step 5 the same cause comes up again and
//! finds its rows in place, and a stamp that the application drops or sets back afterwards is another cause. Only a
//! crash between sending and 3 can send twice, and then under the same id: where 3 fails, the process remembers it and
//! claims the row no more before 3 is done.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::values::write_iso;

/// A message for one channel, before it is put into the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewMessage {
    pub subject: String,
    /// Why it is sent, the same for every attempt.
    pub cause: String,
    pub channel: String,
    /// What takes one message at a time: the server behind the channel, as far as it is known.
    pub turn: String,
    /// Everything that is needed to send it, as JSON.
    pub notification: String,
    /// Whether it takes the place of one about the same subject that still waits; else it is sent after that.
    pub supersedes: bool,
}

/// A row of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboxRow {
    /// Its number, which the message carries so that a receiver can tell a repetition.
    pub id: i64,
    pub subject: String,
    pub turn: String,
    pub notification: String,
    pub attempts: u32,
    pub created_at: Timestamp,
    /// When it was posted, in service time.
    pub posted_at: Timestamp,
    /// When it was delivered or abandoned.
    pub finished_at: Option<Timestamp>,
    /// Held by whoever has claimed it, until what came of it is settled.
    pub claimant: Arc<()>,
}

/// What came of an attempt to send a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// It is tried again at `at`, in service time.
    Retry {
        at: Timestamp,
        error: String,
    },
    Dead {
        error: String,
    },
    /// There is nobody any more to send it to.
    Void,
}

/// A message that waits or was abandoned.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Undelivered {
    pub id: i64,
    pub subject: String,
    pub channel: String,
    pub status: String,
    #[serde(serialize_with = "write_iso")]
    pub created_at: Timestamp,
    pub attempts: u32,
    pub last_error: Option<String>,
}

/// How many messages are in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Still to be sent.
    pub pending: i64,
    /// Abandoned.
    pub dead: i64,
    /// When the oldest of those that wait was posted.
    pub oldest: Option<Timestamp>,
}
