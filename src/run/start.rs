//! Whether a run has begun its work, or still waits for a thread: then it may be taken back, and its time has not begun.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Decided once: the work begins, or it is taken back.
#[derive(Debug, Default)]
pub(crate) struct Start {
    decided: OnceLock<Decision>,
    begun: Notify,
    /// How long the work took on its threads, in microseconds.
    worked: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
enum Decision {
    Begun(Instant),
    TakenBack,
}

impl Start {
    /// Begins, where that has not been done yet; false where the run was taken back.
    pub(crate) fn begin(&self) -> bool {
        if self.decided.set(Decision::Begun(Instant::now())).is_ok() {
            self.begun.notify_one();
        }
        self.begun_at().is_some()
    }

    /// Takes the run back; false where it has begun.
    pub(crate) fn take_back(&self) -> bool {
        self.decided.set(Decision::TakenBack).is_ok()
    }

    /// When the work began, if it did.
    pub(crate) fn begun_at(&self) -> Option<Instant> {
        match self.decided.get() {
            Some(Decision::Begun(at)) => Some(*at),
            _ => None,
        }
    }

    /// Waits until the work begins, and gives when that was. One waits, the run itself.
    pub(crate) async fn begun(&self) -> Instant {
        loop {
            if let Some(at) = self.begun_at() {
                return at;
            }
            self.begun.notified().await;
        }
    }

    /// Adds time that the work took on a thread.
    pub(crate) fn add(&self, worked: Duration) {
        let micros = u64::try_from(worked.as_micros()).unwrap_or(u64::MAX);
        self.worked.fetch_add(micros, Ordering::Relaxed);
    }

    /// How long the work took on its threads; none where it has not been on any.
    pub(crate) fn worked(&self) -> Option<Duration> {
        let micros = self.worked.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }
}
