//! Ends what SQLite does: all of it when a run is cancelled, or one statement that takes too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::values::CancellationToken;

/// What SQLite looks at while it works.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    token: CancellationToken,
    made: Instant,
    /// Microseconds after `made` at which the statement under way is to end, though not the run.
    late_after: Arc<AtomicU64>,
}

impl Interrupt {
    pub(crate) fn new(token: &CancellationToken) -> Self {
        Self {
            token: token.clone(),
            made: Instant::now(),
            late_after: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// Has the statement under way end at `end`; never, with none.
    pub(super) fn end_statement_at(&self, end: Option<Instant>) {
        let after = end.map(|end| end.saturating_duration_since(self.made).as_micros());
        let after = after.and_then(|after| u64::try_from(after).ok()).unwrap_or(u64::MAX);
        self.late_after.store(after, Ordering::Relaxed);
    }

    /// Whether the statement under way is to end.
    pub(super) fn is_late(&self) -> bool {
        let after = self.late_after.load(Ordering::Relaxed);
        after != u64::MAX && self.made.elapsed().as_micros() >= u128::from(after)
    }

    /// Whether the run is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Makes `connection` end its statement when it should, and its wait for another writer then or after `patience`.
    pub(crate) fn govern(&self, connection: &mut Connection, patience: Duration) -> rusqlite::Result<()> {
        // Each step may be a call of a function that takes a while.
        const STEPS_BETWEEN_LOOKS: i32 = 100;
        const FIRST_WAITS: Duration = Duration::from_micros(500);
        const WAIT: Duration = Duration::from_millis(5);
        let (working, waiting) = (self.clone(), self.clone());
        connection.progress_handler(
            STEPS_BETWEEN_LOOKS,
            Some(move || working.is_cancelled() || working.is_late()),
        )?;
        connection.busy_handler(Some(move |waits: i32| {
            if waiting.is_late() {
                return false;
            }
            std::thread::sleep(if waits < 10 { FIRST_WAITS } else { WAIT });
            !waiting.is_cancelled() && WAIT.saturating_mul(waits.unsigned_abs()) < patience
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::CancelReason;

    #[test]
    fn an_endless_statement_ends_when_its_run_is_cancelled() {
        let mut connection = Connection::open_in_memory().unwrap();
        let token = CancellationToken::default();
        Interrupt::new(&token)
            .govern(&mut connection, Duration::from_secs(1))
            .unwrap();
        token.cancel(CancelReason::TimedOut);
        token.cancel(CancelReason::Shutdown);
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let error = connection.query_row(endless, [], |_| Ok(())).unwrap_err();
        assert_eq!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::OperationInterrupted)
        );
        assert_eq!(token.reason(), Some(CancelReason::TimedOut));
    }
}
