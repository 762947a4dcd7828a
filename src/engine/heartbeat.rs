//! What the engine tells without being asked: whether it gets on, how far it is, and how things were.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::LONGEST_SLEEP;
use super::command::Report;
use crate::values::lock;

/// How the engine gets on.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    since: Instant,
    is_asleep: bool,
    is_ending: bool,
    handled_until: Timestamp,
    last_report: Option<Arc<Report>>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            since: Instant::now(),
            is_asleep: false,
            is_ending: false,
            handled_until: Timestamp::UNIX_EPOCH,
            last_report: None,
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
        let mut state = self.lock();
        (state.since, state.is_asleep) = (Instant::now(), is_asleep);
    }

    /// For how long it has been at one thing, or slept longer than it ever does.
    pub(crate) fn busy_for(&self) -> Duration {
        let state = self.lock();
        let slept = if state.is_asleep { LONGEST_SLEEP } else { Duration::ZERO };
        state.since.elapsed().saturating_sub(slept)
    }

    /// The service is about to end.
    pub(super) fn end(&self) {
        self.lock().is_ending = true;
    }

    pub(super) fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    /// Everything that was due up to `now` is handled.
    pub(super) fn handled(&self, now: Timestamp) {
        let mut state = self.lock();
        state.handled_until = state.handled_until.max(now);
    }

    /// Up to when everything that was due is handled.
    pub(crate) fn handled_until(&self) -> Timestamp {
        self.lock().handled_until
    }

    /// Keeps a report for whoever asks while the engine is busy.
    pub(super) fn tell(&self, report: Report) {
        self.lock().last_report = Some(Arc::new(report));
    }

    /// How things were when the engine last told.
    pub(crate) fn last_report(&self) -> Option<Arc<Report>> {
        self.lock().last_report.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}
