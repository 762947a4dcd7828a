//! Tells others whether the engine gets on, without asking it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::LONGEST_SLEEP;
use crate::values::lock;

/// Since when the engine has been at what it is at.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    since: Instant,
    is_asleep: bool,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            since: Instant::now(),
            is_asleep: false,
        })))
    }
}

impl Heartbeat {
    /// The engine takes something up.
    pub(super) fn beat(&self) {
        self.set(false);
    }

    /// The engine waits for something to do.
    pub(super) fn rest(&self) {
        self.set(true);
    }

    fn set(&self, is_asleep: bool) {
        *lock(&self.0) = State {
            since: Instant::now(),
            is_asleep,
        };
    }

    /// For how long it has been at one thing, or slept longer than it ever does.
    pub(crate) fn busy_for(&self) -> Duration {
        let state = lock(&self.0);
        let slept = if state.is_asleep { LONGEST_SLEEP } else { Duration::ZERO };
        state.since.elapsed().saturating_sub(slept)
    }
}
