//! The clock as the engine goes by it: whether it was set since the last look.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::values::{Clock, Moment};

/// How far the clock may fall behind what was seen before it counts as set back.
const SET_BACK: SignedDuration = SignedDuration::from_secs(1);
/// A jump forward up to this long is time that was missed; a longer one corrects a wrong clock.
const MOST_MISSED: SignedDuration = SignedDuration::from_hours(3);

/// A clock that is looked at again and again.
#[derive(Debug)]
pub(super) struct ClockWatch {
    clock: Clock,
    pub(super) started_at: Timestamp,
    last_seen: Timestamp,
    last_instant: Instant,
}

impl ClockWatch {
    pub(super) fn new(clock: Clock) -> Self {
        let now = clock.now();
        Self {
            clock,
            started_at: now,
            last_seen: now,
            last_instant: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// The moment at which the wall clock shows `wall`, as of what was read a while ago.
    pub(super) fn moment_at(&self, wall: Timestamp) -> Moment {
        Moment {
            wall,
            ..self.clock.moment()
        }
    }

    /// Has the service time go on from what an earlier process noted last.
    pub(super) fn resume(&self, last: Moment) {
        self.clock.resume(last);
    }

    /// Reads the clock; whether it was set back, or far forward, since the last look.
    pub(super) fn look(&mut self) -> (Timestamp, bool) {
        let (now, instant) = (self.clock.now(), Instant::now());
        let passed = SignedDuration::try_from(instant.duration_since(self.last_instant)).unwrap_or_default();
        let jump = now.duration_since(self.last_seen).saturating_sub(passed);
        let was_set = jump < -SET_BACK || jump > MOST_MISSED;
        if was_set {
            tracing::warn!(from = %self.last_seen, to = %now, "the clock was changed; the next times were computed again");
        }
        (self.last_seen, self.last_instant) = (now, instant);
        (now, was_set)
    }
}
