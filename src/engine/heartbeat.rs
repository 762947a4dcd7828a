//! Tells others whether the engine gets on, without asking it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::values::lock;

/// The moment at which the engine last took something up.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat(Arc<Mutex<Instant>>);

impl Default for Heartbeat {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Heartbeat {
    pub(super) fn beat(&self) {
        *lock(&self.0) = Instant::now();
    }

    /// How long ago that was. An engine that sleeps answers at once; one that does not answer has been busy for so long.
    pub(crate) fn age(&self) -> Duration {
        lock(&self.0).elapsed()
    }
}
