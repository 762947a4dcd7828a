//! The wall clock, read here and nowhere else.

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time, to the millisecond.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The clock of this machine.
    System,
    /// A clock that moves with tokio's, which tests and simulations can pause and move.
    Virtual {
        /// What it showed at `since`.
        start: Timestamp,
        /// When it showed `start`.
        since: Instant,
    },
}

impl Clock {
    /// A clock that shows `start` now. Needs a tokio runtime around it.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self::Virtual {
            start,
            since: Instant::now(),
        }
    }

    /// What the clock shows.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Timestamp {
        let now = match self {
            Self::System => Timestamp::now(),
            Self::Virtual { start, since } => {
                let passed = jiff::SignedDuration::try_from(since.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
                start.checked_add(passed).unwrap_or(Timestamp::MAX)
            }
        };
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}
