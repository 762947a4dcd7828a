//! What a run of a planned job is given, and runs that change nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use jiff::Timestamp;

use super::plan::{Job, Plan};
use crate::docker::Turns;
use crate::kinds::INTEGRATION;
use crate::process::Kept;
use crate::run::{DryRun, Failure, RunContext};
use crate::sql::{Mode, Pool};
use crate::state::{Origin, RunId, Store, Trigger};
use crate::values::{CancellationToken, Clock, Issue, Progress, Threads};

/// Why a run begins, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invocation {
    pub now: Timestamp,
    pub scheduled_at: Timestamp,
    /// None of a run that changes nothing.
    pub run: Option<RunId>,
    pub trigger: Trigger,
    pub origin: Option<Origin>,
}

/// What all runs share.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    pub store: Store,
    pub clock: Clock,
    pool: Arc<Pool>,
    /// The threads of runs that work on no database.
    threads: Threads,
    /// Whether all runs work on those, whatever their database.
    is_dry: bool,
    /// The threads of messages.
    pub delivery_threads: Threads,
    /// Whose turn it is to change containers.
    pub turns: Turns,
}

/// Threads of runs that work on no database.
const THREADS: usize = 64;
/// Threads that messages are sent on.
const DELIVERY_THREADS: usize = 64;
/// Threads of runs that change nothing.
pub(crate) const DRY_THREADS: usize = 4;

impl Services {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self {
            store,
            clock,
            pool: Arc::default(),
            threads: Threads::new(THREADS),
            is_dry: false,
            delivery_threads: Threads::new(DELIVERY_THREADS),
            turns: Turns::default(),
        }
    }

    /// For runs that change nothing.
    pub(crate) fn dry(store: Store, clock: Clock) -> Self {
        Self {
            threads: Threads::new(DRY_THREADS),
            is_dry: true,
            ..Self::new(store, clock)
        }
    }
}

impl Plan {
    /// Everything a run of `job` may touch.
    pub(crate) fn context(&self, job: &Job, invocation: Invocation, services: &Services) -> RunContext {
        let mode = job.action.database().unwrap_or(Mode::Read);
        let database = job.database.as_ref();
        let visit = database.map(|database| Arc::new(services.pool.visit(database, mode)));
        let of_database = visit.as_ref().filter(|_| !services.is_dry);
        RunContext {
            job: job.id.clone(),
            now: invocation.now,
            scheduled_at: invocation.scheduled_at,
            timeout: job.timeout.to_std(),
            run: invocation.run,
            trigger: invocation.trigger,
            origin: invocation.origin,
            attempt: Arc::new(AtomicU32::new(1)),
            threads: of_database.map_or(&services.threads, |visit| &visit.threads).clone(),
            visit,
            delivery_threads: services.delivery_threads.clone(),
            start: Arc::default(),
            alive: None,
            // Whoever changes nothing needs no lease.
            cancel: if services.is_dry {
                CancellationToken::default()
            } else {
                CancellationToken::within(services.store.deadline())
            },
            surroundings: Arc::clone(&self.surroundings),
            output: Kept::default(),
            git_hosts: Arc::clone(&self.git_hosts),
            engines: Arc::clone(&self.engines),
            turns: services.turns.clone(),
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

    /// What there is against a run of `job` at `now`.
    pub(super) async fn examine(&self, job: &Job, now: Timestamp, services: &Services) -> Result<Vec<Issue>, Failure> {
        job.action.examine(&self.dry_context(job, now, services)).await
    }

    fn dry_context(&self, job: &Job, now: Timestamp, services: &Services) -> RunContext {
        let invocation = Invocation {
            now,
            scheduled_at: now,
            run: None,
            trigger: Trigger::Manual,
            origin: None,
        };
        self.context(job, invocation, services)
    }
}
