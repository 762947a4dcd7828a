//! The wall clock, read here and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time, to the millisecond.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The clock of this machine.
    System,
    /// A clock that moves with tokio's, which tests and simulations can pause and move.
    Virtual {
        /// What it showed at `since`.
        start: Timestamp,
        /// When it showed `start`.
        since: Instant,
        /// By how many milliseconds it was put forward, or back.
        put: Arc<AtomicI64>,
    },
}

impl Clock {
    /// A clock that shows `start` now. Needs a tokio runtime around it.
    pub fn starting_at(start: Timestamp) -> Self {
        Self::Virtual {
            start,
            since: Instant::now(),
            put: Arc::default(),
        }
    }

    /// Puts a virtual clock forward, or back.
    pub fn put(&self, by: jiff::SignedDuration) {
        if let Self::Virtual { put, .. } = self {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            put.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// What the clock shows.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Timestamp {
        let now = match self {
            // One that shows more than there is in the calendar shows its last moment.
            Self::System => Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::MAX),
            Self::Virtual { start, since, put } => {
                let passed = jiff::SignedDuration::try_from(since.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
                let put = jiff::SignedDuration::from_millis(put.load(Ordering::Relaxed));
                start.checked_add(passed.saturating_add(put)).unwrap_or(Timestamp::MAX)
            }
        };
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}
