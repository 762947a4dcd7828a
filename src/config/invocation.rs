//! What a run of a planned job is given, and runs that change nothing.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::plan::{Job, Plan};
use crate::kinds::INTEGRATION;
use crate::run::{DryRun, Failure, RunContext};
use crate::sql::Pool;
use crate::state::Store;
use crate::values::{CancellationToken, Clock, Issue, Progress};

/// Why a run begins, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invocation {
    pub now: Timestamp,
    pub scheduled_at: Timestamp,
    pub manual: bool,
}

/// What all runs share.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    pub store: Store,
    pub clock: Clock,
    pub pool: Arc<Pool>,
    /// How many runs may wait for a database or a server at once.
    threads: Arc<Semaphore>,
    /// How many messages of theirs.
    delivery_threads: Arc<Semaphore>,
}

/// Threads of runs.
const THREADS: usize = 64;
/// Threads of the messages they send.
const DELIVERY_THREADS: usize = 8;
/// Threads of runs that change nothing.
const DRY_THREADS: usize = 4;

impl Services {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self::with_threads(store, clock, THREADS)
    }

    /// For runs that change nothing.
    pub(crate) fn dry(store: Store, clock: Clock) -> Self {
        Self::with_threads(store, clock, DRY_THREADS)
    }

    #[cfg(test)]
    pub(crate) fn free_threads(&self) -> usize {
        self.threads.available_permits()
    }

    fn with_threads(store: Store, clock: Clock, threads: usize) -> Self {
        Self {
            store,
            clock,
            pool: Arc::default(),
            threads: Arc::new(Semaphore::new(threads)),
            delivery_threads: Arc::new(Semaphore::new(DELIVERY_THREADS)),
        }
    }
}

impl Plan {
    /// Everything a run of `job` may touch.
    pub(crate) fn context(&self, job: &Job, invocation: Invocation, services: &Services) -> RunContext {
        RunContext {
            job: job.id.clone(),
            now: invocation.now,
            scheduled_at: invocation.scheduled_at,
            manual: invocation.manual,
            database: job.database.clone(),
            pool: Arc::clone(&services.pool),
            threads: Arc::clone(&services.threads),
            delivery_threads: Arc::clone(&services.delivery_threads),
            alive: None,
            cancel: CancellationToken::default(),
            progress: Progress::default(),
            store: services.store.clone(),
            clock: services.clock.clone(),
            targets: Arc::clone(&self.targets),
            integration: INTEGRATION,
            zone: self.time_zone.clone(),
            schedule_zone: job.time_zone.clone(),
        }
    }

    /// What a run of `job` would do at `now`; `None` of a kind that cannot tell.
    pub(crate) async fn dry_run(
        &self,
        job: &Job,
        now: Timestamp,
        services: &Services,
    ) -> Result<Option<DryRun>, Failure> {
        job.action.plan(&self.dry_context(job, now, services)).await
    }

    /// What the rows of a job's database have against a run at `now`.
    pub(super) async fn check_rows(&self, job: &Job, now: Timestamp) -> Result<Vec<Issue>, Failure> {
        // Nothing is asked of the state, so that none is made.
        let services = Services::dry(Store::at(&self.state.path), Clock::System);
        job.action.check_rows(&self.dry_context(job, now, &services)).await
    }

    fn dry_context(&self, job: &Job, now: Timestamp, services: &Services) -> RunContext {
        let invocation = Invocation {
            now,
            scheduled_at: now,
            manual: true,
        };
        self.context(job, invocation, services)
    }
}
