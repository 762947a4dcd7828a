//! The clocks, read here and nowhere else: the wall clock, by which jobs are due, and the service time, by which
//! everything is measured that has to wait or to grow old.
//!
//! The wall clock may be set, forward or back, at any moment. The service time cannot: it goes on steadily while the
//! service runs, and at the next start from where it was, the time in between as the wall clock tells it. It began with
//! what the wall clock showed when the state was made, and may be far from that since.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{awake_and_asleep, later, lock};

/// By so little another clock that is heard may seem to differ.
const NOT_WORTH_IT: SignedDuration = SignedDuration::from_millis(50);
/// What counts of a time in which the service was down, at most: that it was longer only a clock says which may be wrong.
const LONGEST_DOWN: SignedDuration = SignedDuration::from_hours(24);

/// Tells the time, to the millisecond.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Wall,
    /// When it was made.
    made: Instant,
    /// The service time then, in milliseconds.
    service_time: Arc<AtomicI64>,
}

/// What shows the date.
#[derive(Clone, Debug)]
enum Wall {
    /// The clock of this machine; or another one that is heard, by what that showed when this machine was started. Setting
    /// this machine's changes nothing then.
    System(Arc<Mutex<Option<Timestamp>>>),
    /// A clock that moves with tokio's, which tests and simulations can pause and move.
    Virtual {
        /// What it showed when it was made.
        start: Timestamp,
        /// By how many milliseconds it was put forward, or back.
        put: Arc<AtomicI64>,
    },
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub wall: Timestamp,
    pub service: Timestamp,
}

impl Clock {
    /// The clock of this machine. Whoever is to share its service time has a clone of it.
    pub fn system() -> Self {
        Self::new(Wall::System(Arc::default()))
    }

    /// Goes by another clock from here on, which showed `heard` when this machine had been up for `uptime`; gives by how much
    /// this machine's is behind it.
    pub(crate) fn hear(&self, heard: Timestamp, uptime: Duration) -> SignedDuration {
        let Wall::System(at_boot) = &self.wall else {
            return SignedDuration::ZERO;
        };
        let shown = later(heard, -signed(uptime));
        let mut at_boot = lock(at_boot);
        // What the way there and back may account for is not worth a jump.
        if at_boot.is_none_or(|known| shown.duration_since(known).abs() > NOT_WORTH_IT) {
            *at_boot = Some(shown);
        }
        later(shown, signed(awake_and_asleep())).duration_since(now_of_machine())
    }

    /// A clock that shows `start` now, and moves with tokio's.
    pub fn starting_at(start: Timestamp) -> Self {
        let put = Arc::default();
        Self::new(Wall::Virtual { start, put })
    }

    fn new(wall: Wall) -> Self {
        let clock = Self {
            wall,
            made: Instant::now(),
            service_time: Arc::default(),
        };
        clock
            .service_time
            .store(clock.now().as_millisecond(), Ordering::Relaxed);
        clock
    }

    /// Has the service time go on from what an earlier process noted last.
    pub(crate) fn resume(&self, last: Moment) {
        let down = self.now().duration_since(last.wall);
        let down = down.clamp(SignedDuration::ZERO, LONGEST_DOWN);
        let now = later(last.service, down).as_millisecond();
        let passed = i64::try_from(self.made.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.service_time.store(now.saturating_sub(passed), Ordering::Relaxed);
    }

    /// Puts a virtual clock forward, or back.
    pub fn put(&self, by: SignedDuration) {
        if let Wall::Virtual { put, .. } = &self.wall {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            put.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// What the wall clock shows.
    pub fn now(&self) -> Timestamp {
        let now = match &self.wall {
            Wall::System(at_boot) => match *lock(at_boot) {
                Some(at_boot) => later(at_boot, signed(awake_and_asleep())),
                None => now_of_machine(),
            },
            Wall::Virtual { start, put } => {
                let put = SignedDuration::from_millis(put.load(Ordering::Relaxed));
                later(*start, self.passed().saturating_add(put))
            }
        };
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// The service time.
    pub(crate) fn service_time(&self) -> Timestamp {
        let began = Timestamp::from_millisecond(self.service_time.load(Ordering::Relaxed)).unwrap_or_default();
        let now = later(began, self.passed());
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// This moment by both clocks.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            wall: self.now(),
            service: self.service_time(),
        }
    }

    /// How long it has been there.
    fn passed(&self) -> SignedDuration {
        SignedDuration::try_from(self.made.elapsed()).unwrap_or(SignedDuration::MAX)
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn now_of_machine() -> Timestamp {
    // One that shows more than there is in the calendar shows its last moment.
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_service_time_goes_on_whatever_the_wall_clock_shows() {
        let start: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let hours = SignedDuration::from_hours;
        let clock = Clock::starting_at(start);
        assert_eq!(
            clock.moment(),
            Moment {
                wall: start,
                service: start
            }
        );
        clock.put(hours(96));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(clock.service_time(), start + SignedDuration::from_mins(1));
        // A day later, after a start with a clock that is right, one that is a year behind, and one that was.
        for (wall, service, expected) in [
            (start, start, start + hours(24)),
            (start - hours(9000), start, start + hours(24)),
            (start + hours(9000), start, start),
            (start, start - hours(9000), start - hours(9000) + hours(24)),
        ] {
            let next = Clock::starting_at(start + hours(24));
            next.resume(Moment { wall, service });
            assert_eq!(next.service_time(), expected);
            tokio::time::advance(Duration::from_secs(5)).await;
            assert_eq!(next.service_time(), expected + SignedDuration::from_secs(5));
        }
    }
}
