//! Messages on their way: takes letters from the outbox, sends each by its channel, and notes in the application's
//! database what was delivered. One file for each kind of channel. What is said, and to whom, is decided elsewhere.

mod email;
mod ntfy;
mod route;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::duplistatus::channels::Channel;
use crate::duplistatus::message::Message;
use crate::duplistatus::{audit, stamps};
use crate::store::outbox::{Outbox, Posted};
use crate::store::sqlite::{Unusable, open_write};
use route::Route;

/// The wait after the first failed attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// How long a letter is tried.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// Everything that is needed to send one message by one channel, as the outbox keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The application's database, whose settings tell how the channel is reached.
    pub database: PathBuf,
    /// The channel.
    pub channel: Channel,
    /// The message.
    pub message: Message,
    /// The server it is about.
    pub server_id: String,
    /// The server's name.
    pub server_name: String,
    /// The backup job it is about.
    pub backup_name: String,
}

/// Why a message was not delivered.
#[derive(Debug)]
struct Undelivered {
    error: String,
    /// How long the other side asks to wait.
    wait: Option<Duration>,
}

impl Undelivered {
    fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            wait: None,
        }
    }
}

/// What came of a round of deliveries.
#[derive(Debug, Default)]
pub struct Delivered {
    /// The subjects of letters that were delivered.
    pub subjects: BTreeSet<String>,
}

/// Someone who delivers letters: by hand of a run, or the background.
#[expect(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Courier<'a> {
    /// The state database with the outbox.
    pub state: &'a Path,
    /// The time.
    pub now: &'a dyn Fn() -> Timestamp,
    /// Whether every failed attempt is told in the audit log, or the last one only.
    pub tells_failures: bool,
}

impl Courier<'_> {
    /// Notes what was delivered before but not noted, then delivers what is due until `until`.
    ///
    /// # Errors
    /// When the outbox cannot be used.
    pub fn deliver(&self, until: Instant) -> Result<Delivered, Unusable> {
        let mut outbox = Outbox::open(self.state)?;
        self.deliver_from(&mut outbox, until)
            .map_err(|error| Unusable::from_sqlite(self.state, &error))
    }

    fn deliver_from(&self, outbox: &mut Outbox, until: Instant) -> rusqlite::Result<Delivered> {
        let mut delivered = Delivered::default();
        for posted in outbox.to_be_noted()? {
            match Opened::of(&posted) {
                Some(opened) => opened.note(outbox, posted.id, posted.finished_at.unwrap_or(posted.created_at))?,
                None => outbox.noted(posted.id)?,
            }
        }
        while Instant::now() < until
            && let Some(posted) = outbox.claim((self.now)())?
        {
            let Some(opened) = Opened::of(&posted) else {
                outbox.give_up(posted.id, (self.now)(), "the letter cannot be read")?;
                continue;
            };
            match opened.send(&posted) {
                Ok(()) => {
                    let now = (self.now)();
                    outbox.delivered(posted.id, now)?;
                    opened.note(outbox, posted.id, now)?;
                    delivered.subjects.insert(posted.letter.subject);
                }
                Err(undelivered) => self.put_off(outbox, &posted, &opened, &undelivered)?,
            }
        }
        Ok(delivered)
    }

    fn put_off(
        &self,
        outbox: &mut Outbox,
        posted: &Posted,
        opened: &Opened,
        undelivered: &Undelivered,
    ) -> rusqlite::Result<()> {
        let (now, error) = ((self.now)(), undelivered.error.as_str());
        let dead = now.duration_since(posted.created_at) >= GIVEN_UP_AFTER;
        tracing::warn!(
            message = posted.id,
            attempt = posted.attempts,
            dead,
            "not delivered: {error}"
        );
        if dead || self.tells_failures {
            opened.note_failure(error);
        }
        if dead {
            return outbox.give_up(posted.id, now, error);
        }
        let wait = undelivered.wait.unwrap_or_default().max(wait_after(posted));
        let until = now
            .checked_add(SignedDuration::try_from(wait).unwrap_or_default())
            .unwrap_or(now);
        outbox.put_off(posted.id, until, error)
    }
}

/// The wait after an attempt, spread by a fifth so that letters that failed together do not come back together.
fn wait_after(posted: &Posted) -> Duration {
    let doubled = FIRST_WAIT
        .saturating_mul(1 << posted.attempts.saturating_sub(1).min(10))
        .min(LONGEST_WAIT);
    let spread = u32::try_from((posted.id * 7919).rem_euclid(41)).unwrap_or(20);
    doubled * (80 + spread) / 100
}

/// The application's master key, beside its database.
#[must_use]
pub fn key_file(database: &Path) -> PathBuf {
    database.with_file_name(".duplistatus.key")
}

/// A letter taken out of its envelope, and the way it takes, or why there is none.
struct Opened {
    envelope: Envelope,
    route: Result<Route, String>,
}

impl Opened {
    fn of(posted: &Posted) -> Option<Self> {
        let envelope: Envelope = serde_json::from_str(&posted.letter.envelope).ok()?;
        let route = open_write(&envelope.database)
            .map_err(|unusable| unusable.to_string())
            .and_then(|connection| Route::find(&envelope.channel, &envelope.database, &connection));
        Some(Self { envelope, route })
    }

    fn send(&self, posted: &Posted) -> Result<(), Undelivered> {
        let id = format!("{}-{}", posted.created_at.as_millisecond(), posted.id);
        let route = self.route.as_ref().map_err(Undelivered::new)?;
        route.send(&self.envelope.message, &id)
    }

    /// Notes the delivery in the application's database. What cannot be noted now is noted the next time.
    fn note(&self, outbox: &mut Outbox, id: i64, at: Timestamp) -> rusqlite::Result<()> {
        match self.note_in_application(at) {
            Ok(()) => outbox.noted(id),
            Err(why) => {
                tracing::error!(message = id, "a delivery cannot be noted yet: {why}");
                Ok(())
            }
        }
    }

    fn note_in_application(&self, at: Timestamp) -> Result<(), String> {
        let mut connection = open_write(&self.envelope.database).map_err(|unusable| unusable.to_string())?;
        let key = format!("{}:{}", self.envelope.server_id, self.envelope.backup_name);
        let action = if self.is_mail() {
            "email_sent"
        } else {
            "notification_sent"
        };
        let note = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            stamps::set(&transaction, &key, &self.envelope.server_name, at)?;
            audit::write(&transaction, action, &self.details(None), None)?;
            transaction.commit()
        };
        note(&mut connection).map_err(|error: rusqlite::Error| error.to_string())
    }

    /// Tells a failure in the application's audit log. It may have none; the outbox keeps the error in any case.
    fn note_failure(&self, error: &str) {
        if let Ok(connection) = open_write(&self.envelope.database) {
            let action = if self.is_mail() {
                "email_failed"
            } else {
                "notification_failed"
            };
            let _ = audit::write(&connection, action, &self.details(Some(error)), Some(error));
        }
    }

    fn is_mail(&self) -> bool {
        matches!(self.envelope.channel, Channel::Email | Channel::AdditionalEmail(_))
    }

    /// What the audit log tells of the message.
    fn details(&self, error: Option<&str>) -> Value {
        let mut details = json!({
            "type": "overdue",
            "channel": self.envelope.channel.label(),
            "serverId": self.envelope.server_id,
            "serverName": self.envelope.server_name,
            "backupName": self.envelope.backup_name,
        });
        if let Channel::AdditionalEmail(address) = &self.envelope.channel {
            details["recipientEmail"] = address.clone().into();
        }
        let route = self.route.as_ref().map(Route::details).unwrap_or_default();
        for (key, value) in route.as_object().into_iter().flatten() {
            details[key] = value.clone();
        }
        if let Some(error) = error {
            details["error"] = error.into();
        }
        details
    }
}
