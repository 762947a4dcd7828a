//! Messages on their way: takes letters from the outbox, sends each by its channel, and notes in the application's
//! database what was delivered. One file for each kind of channel. What is said, and to whom, is decided elsewhere.

mod email;
mod ntfy;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::duplistatus::channels::{self, Channel, Smtp};
use crate::duplistatus::message::Message;
use crate::duplistatus::{audit, stamps};
use crate::store::outbox::{Outbox, Posted};
use crate::store::sqlite::{Unusable, open_write};

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
    /// Why others were not.
    pub errors: BTreeSet<String>,
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
            Self::note(outbox, &posted)?;
        }
        while Instant::now() < until
            && let Some(posted) = outbox.claim((self.now)())?
        {
            match attempt(&posted) {
                Ok(()) => {
                    let now = (self.now)();
                    outbox.delivered(posted.id, now)?;
                    delivered.subjects.insert(posted.letter.subject.clone());
                    Self::note(
                        outbox,
                        &Posted {
                            finished_at: Some(now),
                            ..posted
                        },
                    )?;
                }
                Err(undelivered) => {
                    delivered.errors.insert(undelivered.error.clone());
                    self.put_off(outbox, &posted, &undelivered)?;
                }
            }
        }
        Ok(delivered)
    }

    /// Notes a delivery in the application's database. What cannot be noted now is noted the next time.
    fn note(outbox: &mut Outbox, posted: &Posted) -> rusqlite::Result<()> {
        let Some(envelope) = open(posted) else {
            return outbox.noted(posted.id);
        };
        let at = posted.finished_at.unwrap_or(posted.created_at);
        match note_in_application(&envelope, at) {
            Ok(()) => outbox.noted(posted.id),
            Err(why) => {
                tracing::error!(message = posted.id, "a delivery cannot be noted yet: {why}");
                Ok(())
            }
        }
    }

    fn put_off(&self, outbox: &mut Outbox, posted: &Posted, undelivered: &Undelivered) -> rusqlite::Result<()> {
        let now = (self.now)();
        let dead = now.duration_since(posted.created_at) >= GIVEN_UP_AFTER;
        tracing::warn!(
            message = posted.id,
            attempt = posted.attempts,
            dead,
            "not delivered: {}",
            undelivered.error
        );
        if (dead || self.tells_failures)
            && let Some(envelope) = open(posted)
            && let Ok(connection) = open_write(&envelope.database)
        {
            let details = details(&envelope, &connection, Some(&undelivered.error));
            let action = if is_mail(&envelope.channel) {
                "email_failed"
            } else {
                "notification_failed"
            };
            // The application may have no audit log; the message's own row keeps the error.
            let _ = audit::write(&connection, action, &details, Some(&undelivered.error));
        }
        if dead {
            return outbox.give_up(posted.id, now, &undelivered.error);
        }
        let wait = undelivered.wait.unwrap_or_default().max(wait_after(posted));
        let until = now
            .checked_add(SignedDuration::try_from(wait).unwrap_or_default())
            .unwrap_or(now);
        outbox.put_off(posted.id, until, &undelivered.error)
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

fn open(posted: &Posted) -> Option<Envelope> {
    serde_json::from_str(&posted.letter.envelope).ok()
}

fn is_mail(channel: &Channel) -> bool {
    matches!(channel, Channel::Email | Channel::AdditionalEmail(_))
}

/// Sends one letter by its channel, reached as the application's settings say now.
fn attempt(posted: &Posted) -> Result<(), Undelivered> {
    let envelope = open(posted).ok_or_else(|| Undelivered::new("the letter cannot be read"))?;
    let connection = open_write(&envelope.database).map_err(|unusable| Undelivered::new(unusable.to_string()))?;
    let id = format!("{}-{}", posted.created_at.as_millisecond(), posted.id);
    match &envelope.channel {
        Channel::Ntfy | Channel::AdditionalNtfy(_) => {
            let settings = channels::ntfy(&connection).map_err(Undelivered::new)?;
            let topic = if let Channel::AdditionalNtfy(topic) = &envelope.channel {
                topic
            } else {
                &settings.topic
            };
            ntfy::send(&settings, topic, &envelope.message, &id)
        }
        Channel::Email | Channel::AdditionalEmail(_) => {
            let settings = mail_settings(&envelope, &connection).map_err(Undelivered::new)?;
            let recipient = if let Channel::AdditionalEmail(address) = &envelope.channel {
                address
            } else {
                &settings.mailto
            };
            email::send(&settings, recipient, &envelope.message, &id)
        }
    }
}

fn mail_settings(envelope: &Envelope, connection: &Connection) -> Result<Smtp, String> {
    channels::smtp(connection, &key_file(&envelope.database))?
        .ok_or_else(|| "mail is not configured any more".to_owned())
}

/// The application's master key, beside its database.
#[must_use]
pub fn key_file(database: &Path) -> PathBuf {
    database.with_file_name(".duplistatus.key")
}

fn note_in_application(envelope: &Envelope, at: Timestamp) -> Result<(), String> {
    let mut connection = open_write(&envelope.database).map_err(|unusable| unusable.to_string())?;
    let details = details(envelope, &connection, None);
    let action = if is_mail(&envelope.channel) {
        "email_sent"
    } else {
        "notification_sent"
    };
    let key = format!("{}:{}", envelope.server_id, envelope.backup_name);
    let note = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        stamps::set(&transaction, &key, &envelope.server_name, at)?;
        audit::write(&transaction, action, &details, None)?;
        transaction.commit()
    };
    note(&mut connection).map_err(|error: rusqlite::Error| error.to_string())
}

/// What the audit log tells of a message.
fn details(envelope: &Envelope, connection: &Connection, error: Option<&str>) -> Value {
    let mut details = json!({
        "type": "overdue",
        "channel": envelope.channel.label(),
        "serverId": envelope.server_id,
        "serverName": envelope.server_name,
        "backupName": envelope.backup_name,
    });
    let more = match &envelope.channel {
        Channel::Ntfy | Channel::AdditionalNtfy(_) => channels::ntfy(connection).map(|ntfy| {
            let topic = if let Channel::AdditionalNtfy(topic) = &envelope.channel {
                topic.clone()
            } else {
                ntfy.topic
            };
            json!({ "url": ntfy.url, "topic": topic })
        }),
        Channel::Email | Channel::AdditionalEmail(_) => mail_settings(envelope, connection).map(|smtp| smtp.details()),
    };
    if let Channel::AdditionalEmail(address) = &envelope.channel {
        details["recipientEmail"] = address.clone().into();
    }
    let more = more.unwrap_or_default();
    for (key, value) in more.as_object().into_iter().flatten() {
        details[key] = value.clone();
    }
    if let Some(error) = error {
        details["error"] = error.into();
    }
    details
}
