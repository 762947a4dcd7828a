//! Messages on their way: takes letters from the outbox, sends each to its address, and notes in the application's
//! database what was delivered there. One file for each kind of target. What is said, and to whom, is decided
//! elsewhere, but for [`alert`]: what a job's runs have to tell.

pub mod alert;
mod application;
mod call;
mod email;
mod healthchecks;
mod html;
pub mod letter;
mod log;
mod ntfy;
mod opened;
mod route;
mod target;
mod webhook;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::duplistatus::message::Message;
use crate::store::outbox::{Outbox, Posted};
use crate::store::sqlite::{Stop, Unusable};
pub use letter::Envelope;
use letter::{About, Address, Event, Parcel};
use opened::Opened;
use route::Route;
pub use target::{Target, Targets};

/// The wait after the first failed attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// An attempt that takes so long is one of a server that hangs.
const HANGING: Duration = Duration::from_secs(3);
/// How long a letter is tried.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// Sends a message that says so to `target`, at once and past the outbox.
///
/// # Errors
/// Why it was not delivered.
pub fn test(target: &Target, address: Address, now: Timestamp) -> Result<String, String> {
    let targets = match &address {
        Address::Target(id) | Address::Recipient { target: id, .. } => Targets::from([(id.clone(), target.clone())]),
        Address::Application { .. } => Targets::new(),
    };
    let route = Route::find(&address, &targets)?;
    let envelope = Envelope {
        address,
        event: Event::Test,
        about: About::Nothing,
        message: Message {
            title: "Test message".to_owned(),
            text: "duplistatus-cron can reach you here.".to_owned(),
            priority: "default".to_owned(),
            tags: "wave".to_owned(),
        },
    };
    let id = format!("{}-test", now.as_millisecond());
    let parcel = Parcel {
        id: &id,
        envelope: &envelope,
        at: now,
    };
    route.send(&parcel).map_err(|undelivered| undelivered.error)
}

/// Why a message was not delivered.
#[derive(Debug)]
struct Undelivered {
    error: String,
    /// How long the other side asks to wait.
    wait: Option<Duration>,
    /// Whether another attempt would be in vain.
    is_final: bool,
}

impl Undelivered {
    fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            wait: None,
            is_final: false,
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
    /// The declared targets.
    pub targets: &'a Targets,
    /// The time.
    pub now: &'a dyn Fn() -> Timestamp,
    /// Whether every failed attempt is told in the audit log, or the last one only.
    pub tells_failures: bool,
    /// Asked when no further letter is to be taken up.
    pub stop: &'a Stop,
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
            match Opened::of(&posted, self.targets) {
                Some(opened) => opened.note(outbox, posted.id, posted.finished_at.unwrap_or(posted.created_at))?,
                None => outbox.noted(posted.id)?,
            }
        }
        while Instant::now() < until
            && self.stop.asked().is_none()
            && let Some(posted) = outbox.claim((self.now)())?
        {
            let Some(opened) = Opened::of(&posted, self.targets) else {
                outbox.give_up(posted.id, (self.now)(), "the letter cannot be read")?;
                continue;
            };
            let began = Instant::now();
            match opened.send(&posted) {
                Ok(said) => {
                    tracing::info!(letter = posted.id, to = opened.to(), "delivered: {said}");
                    let now = (self.now)();
                    outbox.delivered(posted.id, now)?;
                    opened.note(outbox, posted.id, now)?;
                    delivered.subjects.insert(posted.letter.subject);
                }
                Err(undelivered) => {
                    self.put_off(outbox, &posted, &opened, &undelivered)?;
                    if began.elapsed() >= HANGING {
                        // What else goes there waits, so that one that hangs does not hold up everyone.
                        outbox.hold(&posted.letter.channel, later((self.now)(), FIRST_WAIT))?;
                    }
                }
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
        let dead = undelivered.is_final || now.duration_since(posted.created_at) >= GIVEN_UP_AFTER;
        tracing::warn!(
            letter = posted.id,
            to = opened.to(),
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
        outbox.put_off(posted.id, later(now, wait), error)
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(SignedDuration::try_from(wait).unwrap_or_default())
        .unwrap_or(now)
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
