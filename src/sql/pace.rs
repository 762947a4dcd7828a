//! How large batches are and how long the pauses between them, so that others get to write as well.

use std::time::Duration;

/// The rows of the first batch: nobody knows yet what goes with each of them.
const FIRST: usize = 8;
/// The rows of a batch, at most.
const LARGEST: usize = 20_000;
/// The share of the budget that a batch aims at: SQLite's waits grow with every try in vain, so that many short holds
/// are better to wait for than a few long ones.
const AIM: f64 = 0.14;
/// How long a pause is, as a share of the batch before it.
const REST: f64 = 0.8;
/// How many times its budget a batch may take, before it is taken back and a smaller one tried.
const PATIENCE: u32 = 4;

/// How a batch is steered: its rows, by the time the lock was held for the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    budget: Duration,
    rows: usize,
}

impl Pace {
    pub(crate) fn new(budget: Duration) -> Self {
        Self { budget, rows: FIRST }
    }

    /// How many rows the next batch may have.
    pub(crate) fn rows(self) -> usize {
        self.rows
    }

    /// How long a batch may take before it is taken back.
    pub(crate) fn patience(self) -> Option<Duration> {
        (self.rows > 1).then(|| self.budget * PATIENCE)
    }

    /// Learns from a batch that held the lock for so long; gives how long to pause, so that others get their turn.
    pub(crate) fn learn(&mut self, held: Duration) -> Duration {
        let target = self.budget.as_secs_f64() * AIM;
        let factor = (target / held.as_secs_f64().max(1e-6)).clamp(0.5, 4.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few rows more or less"
        )]
        let rows = (self.rows as f64 * factor) as usize;
        self.rows = rows.clamp(1, LARGEST);
        held.mul_f64(REST)
    }

    /// Learns that a batch took too long.
    pub(crate) fn shrink(&mut self) {
        self.rows = (self.rows / 8).max(1);
    }
}
