//! How far a run is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The rows a run has done so far, for whoever watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(crate) fn set(&self, rows: u64) {
        self.0.store(rows, Ordering::Relaxed);
    }

    pub(crate) fn rows(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
