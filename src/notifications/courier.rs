//! Delivers letters one after the other. Where one is held up, because its target hangs, the others go on beside it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Undelivered;
use super::opened::Opened;
use super::target::Targets;
use crate::store::outbox::{Outbox, Posted};
use crate::store::sqlite::{Stop, Unusable};
use crate::values::spread;

/// How many letters are on their way at once, at most.
const AT_ONCE: u32 = 4;
/// A letter that takes so long is held up.
const HELD_UP: Duration = Duration::from_secs(1);
/// The wait after the first failed attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// An attempt that takes so long is one of a server that hangs.
const HANGING: Duration = Duration::from_secs(3);
/// How long a letter is tried.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// What came of a round of deliveries.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// The subjects of letters that were delivered.
    pub subjects: BTreeSet<String>,
}

impl Delivered {
    fn and(mut self, other: Self) -> Self {
        self.subjects.extend(other.subjects);
        self
    }
}

/// A round of deliveries, shared by those who serve it.
#[derive(Default)]
struct Round {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The channels a letter is on its way to: the letters of each are sent in their order.
    served: BTreeSet<String>,
    /// How many letters were seen to.
    sent: usize,
    over: bool,
}

impl Round {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self, outbox: &mut Outbox, now: Timestamp) -> rusqlite::Result<Option<Posted>> {
        let mut state = self.lock();
        let claimed = outbox.claim(now, &state.served)?;
        state
            .served
            .extend(claimed.iter().map(|posted| posted.letter.channel.clone()));
        Ok(claimed)
    }

    fn release(&self, posted: &Posted) {
        let mut state = self.lock();
        state.served.remove(&posted.letter.channel);
        state.sent += 1;
        self.changed.notify_all();
    }

    fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// Waits until a letter is held up; false when the round is over before.
    fn is_held_up(&self) -> bool {
        let mut state = self.lock();
        while !state.over {
            let sent = state.sent;
            let waited = self
                .changed
                .wait_timeout_while(state, HELD_UP, |state| !state.over && state.sent == sent);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return true;
            }
            state = now;
        }
        false
    }
}

/// Someone who delivers letters: by hand of a run, or the background.
pub(crate) struct Courier<'a> {
    /// The state database with the outbox.
    pub state: &'a Path,
    /// The declared targets.
    pub targets: &'a Targets,
    /// The time.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// Whether every failed attempt is told in the audit log, or the last one only.
    pub tells_failures: bool,
    /// Asked when no further letter is to be taken up.
    pub stop: &'a Stop,
}

impl Courier<'_> {
    /// Notes what was delivered before but not noted, then delivers what is due until `until`.
    pub(crate) fn deliver(&self, until: Instant) -> Result<Delivered, Unusable> {
        let unusable = |error| Unusable::from_sqlite(self.state, &error);
        let mut outbox = Outbox::open(self.state)?;
        self.note_what_was_not(&mut outbox).map_err(unusable)?;
        let channels = outbox.channels_due((self.now)()).map_err(unusable)?;
        let round = Round::default();
        thread::scope(|scope| {
            let help = || {
                if !round.is_held_up() {
                    return Ok(Delivered::default());
                }
                let mut outbox = Outbox::open(self.state)?;
                self.serve(&mut outbox, &round, until).map_err(unusable)
            };
            // Without help, whoever hangs is waited for.
            let helpers: Vec<_> = (1..channels.min(AT_ONCE))
                .filter_map(|_| thread::Builder::new().spawn_scoped(scope, help).ok())
                .collect();
            let mut delivered = self.serve(&mut outbox, &round, until).map_err(unusable);
            round.end();
            for helper in helpers {
                // One that panicked has said so; its letter is tried again.
                let Ok(helped) = helper.join() else { continue };
                delivered = delivered.and_then(|delivered| Ok(delivered.and(helped?)));
            }
            delivered
        })
    }

    fn note_what_was_not(&self, outbox: &mut Outbox) -> rusqlite::Result<()> {
        for posted in outbox.to_be_noted()? {
            match Opened::of(&posted, self.targets) {
                Some(opened) => opened.note(outbox, posted.id, posted.finished_at.unwrap_or(posted.created_at))?,
                None => outbox.noted(posted.id)?,
            }
        }
        Ok(())
    }

    fn serve(&self, outbox: &mut Outbox, round: &Round, until: Instant) -> rusqlite::Result<Delivered> {
        let mut delivered = Delivered::default();
        while Instant::now() < until
            && self.stop.asked().is_none()
            && let Some(posted) = round.claim(outbox, (self.now)())?
        {
            let sent = self.send(outbox, &posted);
            round.release(&posted);
            if sent? {
                delivered.subjects.insert(posted.letter.subject);
            }
        }
        Ok(delivered)
    }

    /// Sends one letter, and takes down how that went; whether it was delivered.
    fn send(&self, outbox: &mut Outbox, posted: &Posted) -> rusqlite::Result<bool> {
        let Some(opened) = Opened::of(posted, self.targets) else {
            outbox.give_up(posted.id, (self.now)(), "the letter cannot be read")?;
            return Ok(false);
        };
        let began = Instant::now();
        match opened.send(posted) {
            Ok(said) => {
                tracing::info!(letter = posted.id, to = opened.to(), "delivered: {said}");
                let now = (self.now)();
                outbox.delivered(posted.id, now)?;
                opened.note(outbox, posted.id, now)?;
                Ok(true)
            }
            Err(undelivered) => {
                self.put_off(outbox, posted, &opened, &undelivered)?;
                if began.elapsed() >= HANGING {
                    // What else goes there would hang as well.
                    outbox.hold(&posted.letter.channel, later((self.now)(), FIRST_WAIT))?;
                }
                Ok(false)
            }
        }
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

/// The wait after an attempt.
fn wait_after(posted: &Posted) -> Duration {
    let doubled = FIRST_WAIT
        .saturating_mul(1 << posted.attempts.saturating_sub(1).min(10))
        .min(LONGEST_WAIT);
    let number = u32::try_from((posted.id * 7919).rem_euclid(41)).unwrap_or(20);
    spread(doubled, number)
}
