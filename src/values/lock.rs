//! A mutex that goes on after a panic: what it guards is whole between any two statements of ours.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whatever became of whoever had it before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
