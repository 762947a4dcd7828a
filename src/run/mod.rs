//! What every kind of job can do, what a run of it is given, and what it gives back. Which kinds there are is left to
//! `kinds`, when a run begins and what becomes of its outcome to `engine`.

mod outcome;
mod start;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::docker::{Engines, Turns};
use crate::git::GitHosts;
use crate::notifications::{Delivered, DeliveryWorker, Integration, Targets};
use crate::process::{Kept, Surroundings};
use crate::sql::server::{Rights, Server, ServerSession};
use crate::sql::{CheckedDatabase, Database, Interrupt, Mode, Place, Sandbox, Visit};
use crate::state::{Origin, RunId, Store, Trigger};
use crate::values::{CancellationToken, Clock, Issue, JobId, Moment, Progress, Secret, TargetId, Threads, TimeZone};

pub(crate) use outcome::{DryRun, Failure, Report};
pub(crate) use start::Start;

/// How long work may take to end once it is asked to.
const END_GRACE: Duration = Duration::from_secs(10);
/// How long a run waits for its messages; what is left is delivered in the background.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(20);

/// What every kind of job can do.
pub(crate) trait Kind {
    /// How it uses its database; `None` of a kind that has none.
    fn database(&self) -> Option<Mode>;

    /// The targets it names, by the keys below its own table that name them.
    fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        Vec::new()
    }

    /// What is wrong with its declaration; `database` is the one it works on, if it has one.
    fn check(&self, database: Option<&CheckedDatabase>) -> Vec<Issue>;

    /// Does the work once. It is over soon after `ctx.cancel` asks for that.
    fn run(&self, ctx: &RunContext) -> impl Future<Output = Result<Report, Failure>> + Send;

    /// What a run would do now; changes nothing. `None` of a kind that cannot tell.
    fn plan(&self, _ctx: &RunContext) -> impl Future<Output = Result<Option<DryRun>, Failure>> + Send {
        async { Ok(None) }
    }

    /// The host that it fetches a repository from, for kinds that do.
    fn git_host(&self) -> Option<&str> {
        None
    }
    /// The folder that belongs to it alone, for kinds that have one.
    fn folder(&self) -> Option<&Path> {
        None
    }
    /// What signs the requests that have it run, where others may.
    fn webhook(&self) -> Option<&Secret> {
        None
    }
    /// Whether the container engine that it names is declared, for kinds that work with one.
    ///
    /// # Errors
    /// That it is not.
    fn check_engine(&self, _engines: &Engines) -> Result<(), String> {
        Ok(())
    }
    /// What it changes that no other job may change, by the key that names it and in words.
    fn claims(&self, _engines: &Engines) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    /// The shortest time in which a run could do its work, for kinds that know.
    fn needs(&self) -> Option<Duration> {
        None
    }
    /// What it does to the tables of a database on a server.
    fn rights(&self) -> Rights {
        Rights::new()
    }
    /// Whether a run changes nothing but what it tells.
    fn only_looks(&self) -> bool {
        false
    }
    /// How long it may take to end once it is asked to; then its run is over without it.
    fn takes_to_end(&self) -> Duration {
        END_GRACE
    }

    /// What there is against a run now, which only looking at what it works with tells.
    fn examine(&self, _ctx: &RunContext) -> impl Future<Output = Result<Vec<Issue>, Failure>> + Send {
        async { Ok(Vec::new()) }
    }
}

/// Everything a run may touch: a kind reads no clock and no variable.
#[derive(Clone, Debug)]
pub(crate) struct RunContext {
    pub job: JobId,
    /// None of a run that changes nothing.
    pub run: Option<RunId>,
    pub trigger: Trigger,
    /// The run that it repeats, as that was cut off, or itself.
    pub origin: Option<Origin>,
    /// How often it has been tried, this time included.
    pub attempt: Arc<AtomicU32>,
    pub now: Timestamp,
    pub scheduled_at: Timestamp,
    /// How long it may take.
    pub timeout: Duration,
    /// The job's database, for kinds that have one.
    pub visit: Option<Arc<Visit>>,
    /// The threads it works on.
    pub threads: Threads,
    /// The threads of the messages that runs send.
    pub delivery_threads: Threads,
    /// Whether its work has begun.
    pub start: Arc<Start>,
    /// Gone with the last copy of the context, and so with the last thread of the run.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub alive: Option<Arc<oneshot::Sender<()>>>,
    /// Asked for when the run must end.
    pub cancel: CancellationToken,
    /// What the programs it runs inherit.
    pub surroundings: Arc<Surroundings>,
    /// What they have printed.
    pub output: Kept,
    /// What hosts of repositories ask for.
    pub git_hosts: Arc<GitHosts>,
    /// The container engines, by name.
    pub engines: Arc<Engines>,
    /// Whose turn it is to change containers.
    pub turns: Turns,
    /// Told how far the run is.
    pub progress: Progress,
    /// The service's own state, which has the outbox.
    pub store: Store,
    pub clock: Clock,
    pub targets: Arc<Targets>,
    /// Sends what does not go to a declared target.
    pub integration: &'static dyn Integration,
    /// The zone that messages tell dates in.
    pub zone: TimeZone,
    /// The zone of the job's schedule.
    pub schedule_zone: TimeZone,
}

impl RunContext {
    /// Does `work` with a copy of `given`, such as the kind itself, on a thread that may wait, once one is free.
    pub(crate) async fn blocking<G: Clone + Send + 'static, T: Send + 'static>(
        &self,
        given: &G,
        work: impl FnOnce(&G, &Self) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        const WAITED: &str = "it was still waiting for a thread";
        let turn = Arc::new(Start::default());
        let (given, ctx, its_turn) = (given.clone(), self.clone(), Arc::clone(&turn));
        let mut work = std::pin::pin!(self.threads.run(move || {
            if !its_turn.begin() || !ctx.start.begin() {
                return Err(Failure::before_it_began(WAITED));
            }
            let began = Instant::now();
            let done = work(&given, &ctx);
            ctx.start.add(began.elapsed());
            done
        }));
        tokio::select! {
            done = &mut work => return done,
            () = self.cancel.cancelled() => {}
        }
        if turn.take_back() {
            return Err(Failure::before_it_began(WAITED));
        }
        work.await
    }

    /// Whether someone asked for it, and so wants everything tried at once.
    pub(crate) fn is_manual(&self) -> bool {
        self.trigger == Trigger::Manual
    }

    /// The number of the run, for people and programs; 0 of one that changes nothing.
    pub(crate) fn run_number(&self) -> i64 {
        self.run.map_or(0, |run| run.0)
    }

    /// What tells a server that a request is the same as before: in all attempts of a run, and in the run that repeats one
    /// which was cut off.
    pub(crate) fn idempotency_key(&self) -> String {
        let origin = self.origin.map_or_else(String::new, |origin| {
            format!("-{}-{}", origin.run, origin.scheduled_at.as_millisecond())
        });
        format!("{}{origin}", self.job)
    }

    /// Ends SQLite's work when the run is to end.
    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt::new(&self.cancel)
    }

    /// The job's database; a declaration whose job lacks one does not become a plan.
    pub(crate) fn database(&self) -> Result<&Database, Failure> {
        Ok(&self.visit()?.database)
    }

    fn visit(&self) -> Result<&Visit, Failure> {
        let none = || Failure::lasting("the job has no database");
        self.visit.as_deref().ok_or_else(none)
    }

    /// Now, by both clocks; the wall clock's time is that of the run's beginning.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            wall: self.now,
            service: self.clock.service_time(),
        }
    }

    /// The file of the job's database.
    pub(crate) fn database_path(&self) -> Result<&Path, Failure> {
        let database = self.database()?;
        let none = || Failure::lasting(format!("database {} is not a SQLite file", database.shown()));
        database.file().ok_or_else(none)
    }

    /// The server of the job's database, where it is on one.
    pub(crate) fn server(&self) -> Option<&Server> {
        match &self.visit.as_ref()?.database.place {
            Place::File(_) => None,
            Place::Server(server) => Some(server),
        }
    }

    /// A session on the server of the job's database, which ends what it does with the run.
    pub(crate) fn session_on(&self, server: &Server) -> Result<ServerSession, Failure> {
        let locks = self.database()?.busy_timeout;
        let mut session = ServerSession::open(server, self.job.as_str(), self.timeout, locks)?;
        session.end_with(&self.cancel);
        Ok(session)
    }

    /// Does `work` on the job's database, on a connection that ends with the run and lets declared SQL touch `tables`.
    pub(crate) fn connected<T>(
        &self,
        mode: Mode,
        interrupt: &Interrupt,
        tables: &[&str],
        work: impl FnOnce(&Sandbox) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.visit()?.connected(mode, interrupt, tables, work)
    }

    /// Sees to the first attempt of the messages that the run has posted.
    pub(crate) async fn deliver(&self, tells_failures: bool) -> Result<Delivered, Failure> {
        let mut worker = DeliveryWorker {
            store: self.store.clone(),
            targets: Arc::clone(&self.targets),
            integration: self.integration,
            clock: self.clock.clone(),
            threads: self.delivery_threads.clone(),
            tells_failures,
            cancel: self.cancel.clone(),
        };
        worker.note_what_was_not().await?;
        let until = Instant::now() + DELIVERY_PATIENCE;
        Ok(worker.deliver(|_| Instant::now() < until).await?)
    }
}
