//! Until when this process may act: of several replicas only one may, and for as long as it is sure of its lease. Time
//! counts that the machine spends asleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long this machine has been up, awake and asleep.
pub(crate) fn awake_and_asleep() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Until when this process may act, shared by all who do.
#[derive(Clone, Debug)]
pub(crate) struct Deadline(Arc<AtomicI64>);

impl Deadline {
    /// It may act for ever.
    pub(crate) fn never() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MAX)))
    }

    /// It may not act yet.
    pub(crate) fn passed() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MIN)))
    }

    /// Whether it may act no more.
    pub(crate) fn is_over(&self) -> bool {
        let until = self.0.load(Ordering::Relaxed);
        until != i64::MAX && until <= millis(awake_and_asleep())
    }

    /// Waits until it may act no more; no other part of the program has to get on for that.
    pub(crate) async fn over(&self) {
        const LONGEST: Duration = Duration::from_secs(1);
        loop {
            let until = self.0.load(Ordering::Relaxed);
            if until == i64::MAX {
                return std::future::pending().await;
            }
            let left = u64::try_from(until.saturating_sub(millis(awake_and_asleep()))).unwrap_or(0);
            if left == 0 {
                return;
            }
            // It may end earlier, and time may pass asleep.
            tokio::time::sleep(Duration::from_millis(left).min(LONGEST)).await;
        }
    }

    /// Lets it act until then, as [`awake_and_asleep`] counts.
    pub(crate) fn set(&self, until: Duration) {
        self.0.store(millis(until), Ordering::Relaxed);
    }

    /// Lets it act no more.
    pub(crate) fn end(&self) {
        self.0.store(i64::MIN, Ordering::Relaxed);
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::never()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX - 1)
}
