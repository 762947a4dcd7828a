//! The engine: one task that owns the plan, the scheduler, the runs under way and the state, and takes its orders from
//! one inbox. It does what is due, then sleeps until the next time or until it is told something.

mod alerting;
mod clock_watch;
pub(crate) mod command;
mod election;
mod heartbeat;
mod job_state;
mod journal;
mod left_queued;
mod missed;
mod places;
mod queue;
mod recovery;
mod reload;
mod replicas;
mod report;
mod requests;
mod runner;
mod runs;
mod scheduler;
pub(crate) mod simulation;
mod standby;
#[cfg(test)]
mod tests;
mod under_way;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

pub use command::{Command, Inbox};
pub(crate) use heartbeat::Heartbeat;
pub(crate) use reload::keep_last_good;
pub(crate) use replicas::{Replicas, Seen};
pub(crate) use runner::RunResult;

use crate::config::{Loaded, Plan, Problems, Services, Sources};
use crate::state::{Skip, Store, Term};
use crate::values::{Clock, JobId, Threads};
use clock_watch::ClockWatch;
use command::{Cause, Refusal};
use election::Election;
use journal::Journal;
use reload::{Fresh, Reloader};
use runs::MOST_WAIT;
use scheduler::Scheduler;
use standby::LeadersRuns;
use under_way::{BETWEEN_PROGRESS, Next, Runs};

/// The longest sleep, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How soon to look again for a database that is not there.
const SOON: Duration = Duration::from_secs(5);
/// How long runs that were asked to end may take to do so.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// What the engine starts from.
#[derive(Debug)]
pub struct Setup {
    /// The time.
    pub clock: Clock,
    /// The service's own state.
    pub store: Store,
    /// What is read again at a reload.
    pub sources: Sources,
    /// What was loaded for the start.
    pub loaded: Loaded,
    /// The port the service answers on, told to the application.
    pub port: u16,
    /// Told when messages are posted.
    pub posted: Arc<Notify>,
}

/// The engine. Build it with [`Engine::new`], then drive it with [`Engine::run`].
#[derive(Debug)]
pub struct Engine {
    clock: ClockWatch,
    inbox: mpsc::Receiver<Command>,
    plans: watch::Sender<Arc<Plan>>,
    scheduler: Scheduler,
    runs: Runs,
    journal: Journal,
    reloader: Reloader,
    heartbeat: Heartbeat,
    shutdown: Option<Shutdown>,
    /// The term in which this replica leads, as it was told, and as it goes by.
    leadership: watch::Receiver<Option<Term>>,
    term: Option<Term>,
    replicas: Option<Replicas>,
    leaders_runs: LeadersRuns,
}

/// What wakes the engine before something is due.
enum Event {
    /// A command, or that nobody can send one any more.
    Told(Option<Command>),
    Run(Next),
    Leadership,
    Loaded(Option<Box<Result<Fresh, Problems>>>),
}

/// A shutdown under way.
#[derive(Debug)]
struct Shutdown {
    next_step: Instant,
    has_asked_runs: bool,
}

impl Engine {
    /// An engine with its jobs active as declared, and the place to put commands for it.
    pub fn new(setup: Setup) -> (Self, Inbox) {
        let (sender, inbox) = mpsc::channel(64);
        let now = setup.clock.now();
        let plan = Arc::new(setup.loaded.plan.clone());
        let plans = watch::Sender::new(plan.clone());
        let heartbeat = Heartbeat::default();
        // A service whose state is a file always leads.
        let alone = setup.store.candidate().is_none().then(Term::default);
        let (teller, leadership) = watch::channel(alone.clone());
        let replicas = setup.store.candidate().map(|candidate| Replicas::new(candidate.id()));
        if let (Some(candidate), Some(replicas)) = (setup.store.candidate(), &replicas) {
            let election = Election {
                candidate: candidate.clone(),
                store: setup.store.clone(),
                clock: setup.clock.clone(),
                plans: plans.subscribe(),
                heartbeat: heartbeat.clone(),
                leadership: teller,
                engine: sender.downgrade(),
                replicas: replicas.clone(),
                renewed: None,
                known: None,
            };
            tokio::spawn(election.run());
        }
        let engine = Self {
            leadership,
            term: alone,
            replicas,
            leaders_runs: LeadersRuns::default(),
            scheduler: Scheduler::new(&plan, now),
            runs: Runs::new(Services::new(setup.store.clone(), setup.clock.clone())),
            journal: Journal::new(setup.store, setup.posted),
            reloader: Reloader::new(setup.sources, setup.loaded, setup.port, now),
            clock: ClockWatch::new(setup.clock),
            plans,
            inbox,
            heartbeat,
            shutdown: None,
        };
        (engine, sender)
    }

    /// The plan in force, as reloads change it.
    pub(crate) fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plans.subscribe()
    }

    /// What it tells without being asked.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// The term in which this replica leads; its lease is renewed for as long as anybody has this.
    pub(crate) fn leadership(&self) -> watch::Receiver<Option<Term>> {
        self.leadership.clone()
    }

    /// The replicas, where there may be several.
    pub(crate) fn replicas(&self) -> Option<Replicas> {
        self.replicas.clone()
    }

    /// Whether this replica leads: nothing else begins runs, or changes the state.
    fn is_leading(&self) -> bool {
        self.term.is_some()
    }

    /// Begins or ceases to lead, as it is told.
    async fn look_at_the_leadership(&mut self) {
        let mut told = self.leadership.borrow_and_update().clone();
        // Nobody renews the lease any more, as that has failed by a bug.
        if self.replicas.is_some() && self.leadership.has_changed().is_err() {
            told = None;
        }
        if told == self.term {
            return;
        }
        if self.term.is_some() {
            self.step_down();
        }
        self.forget_leaders_runs();
        self.term = told;
        if self.is_leading() {
            self.scheduler.start_over(&self.plan(), self.clock.now());
            self.reloader.keep_last_good(&self.journal.store).await;
        }
    }

    /// Leads no more: what is under way ends, and what becomes of it is the next leader's to see to.
    fn step_down(&mut self) {
        tracing::warn!(runs = self.runs.len(), "this replica no longer leads");
        self.runs.end_without_lease();
        self.scheduler.start_over(&self.plan(), self.clock.now());
        self.journal.start_over();
    }

    /// Notes up to when everything is handled that was due.
    fn note_handled(&mut self, now: Timestamp) {
        let is_handled = self.scheduler.next_wake().is_none_or(|next| next > now) && self.scheduler.is_recorded();
        if is_handled && !self.journal.store.deadline().is_over() && self.journal.is_recovered && self.journal.is_well()
        {
            self.heartbeat.handled(now);
            self.scheduler.late_since = None;
        }
    }

    /// The threads that messages are sent on.
    pub(crate) fn delivery_threads(&self) -> Threads {
        self.runs.delivery_threads()
    }

    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plans.borrow())
    }

    /// Runs until it is told to end, or every sender of its inbox is gone; whether nothing of any run goes on then.
    pub async fn run(mut self) -> bool {
        // A state that cannot be read now is read later, and nothing begins before.
        if self.is_leading() {
            let _ = self.recover(self.clock.started_at).await;
        }
        self.reloader.publish_port(self.plan().default_database_path()).await;
        loop {
            self.heartbeat.beat();
            self.look_at_the_leadership().await;
            let now = self.look_at_the_clock().await;
            self.journal
                .maintain(self.clock.moment(), self.plan().state.history)
                .await;
            if self.shutdown.is_none() {
                self.take_back_stuck(MOST_WAIT, now).await;
                if self.is_leading() {
                    self.start_what_is_due(now).await;
                    self.note_handled(now);
                }
                self.reloader.look_again(now, &self.plan());
            } else if self.has_ended() {
                break;
            }
            self.record_progress().await;
            let sleep = self.sleep_from(now);
            self.heartbeat.rest();
            let event = tokio::select! {
                command = self.inbox.recv() => Event::Told(command),
                Some(next) = self.runs.next() => Event::Run(next),
                Ok(()) = self.leadership.changed() => Event::Leadership,
                Some(loaded) = self.reloader.next_loaded() => Event::Loaded(loaded.map(Box::new)),
                () = tokio::time::sleep(sleep) => continue,
            };
            self.heartbeat.beat();
            self.look_at_the_clock().await;
            match event {
                Event::Told(Some(command)) => self.handle(command).await,
                Event::Told(None) => self.begin_shutdown().await,
                Event::Run(Next::Ended(ended)) => self.finish(ended).await,
                Event::Run(Next::Over(ticket)) => self.free(ticket).await,
                Event::Run(Next::Recovered) | Event::Leadership => {}
                Event::Loaded(Some(loaded)) => self.apply_reload(*loaded).await,
                Event::Loaded(None) => self.reloader.pass_over(),
            }
        }
        // The next start needs to know since when nothing ran.
        if self.is_leading() {
            self.journal.note_time(self.clock.moment()).await;
        }
        tracing::info!("ended");
        self.heartbeat.rest();
        self.runs.are_over()
    }

    async fn handle(&mut self, command: Command) {
        let is_of_leader = matches!(
            &command,
            Command::Trigger { .. }
                | Command::Announce { .. }
                | Command::Start { .. }
                | Command::Stop { .. }
                | Command::Cancel { .. }
        );
        if is_of_leader && !self.is_leading() {
            return requests::pass_on(&self.journal.store, command);
        }
        // The requester may have disconnected; the order is executed all the same.
        match command {
            Command::Trigger { job, reply } => drop(reply.send(self.trigger(&job).await)),
            Command::Announce { job, reply } => drop(reply.send(self.announce(&job).await)),
            Command::Start { job, reply } => drop(reply.send(self.start(&job).await)),
            Command::Stop { job, reply } => drop(reply.send(self.stop(&job).await)),
            Command::Cancel { run, reply } => drop(reply.send(self.cancel(run).await)),
            Command::Reload {
                cause: Cause::Operator,
                reply: Some(reply),
            } if !self.is_leading() => self.reload_everywhere(reply),
            Command::Reload { cause, reply } => self.reloader.ask(cause, reply),
            Command::Rows { texts } => self.reloader.look_at_rows(texts),
            // Whoever asked may have gone on with what was known before, where something was.
            Command::Report { reply } if reply.is_closed() && self.heartbeat.last_report().is_some() => {}
            Command::Report { reply } => {
                let report = self.report().await;
                self.heartbeat.tell(report.clone());
                drop(reply.send(report));
            }
            Command::Shutdown => self.begin_shutdown().await,
        }
    }

    /// Reads the clock. Where it was set, no time in between counts: next times are set anew.
    async fn look_at_the_clock(&mut self) -> Timestamp {
        let (now, was_set) = self.clock.look();
        if was_set {
            self.journal.note_time(self.clock.moment()).await;
            self.scheduler.recompute(now);
            self.journal.postpone_clearing(now);
            // What the clock never showed, or shows again, was not missed.
            let active = self.scheduler.active();
            let active = active.iter().map(|job| (job.id.clone(), job.times())).collect();
            self.record_activations(active, now).await;
        }
        now
    }

    /// How long to sleep from `now`, where nothing happens.
    fn sleep_from(&self, now: Timestamp) -> Duration {
        let look_again = self.reloader.looks_again_after().unwrap_or(LONGEST_SLEEP);
        let of_runs = match (self.runs.is_empty(), self.runs.has_waiting()) {
            (true, _) => LONGEST_SLEEP,
            (false, false) => BETWEEN_PROGRESS,
            (false, true) => MOST_WAIT,
        };
        let longest = look_again.min(of_runs).min(self.journal.looks_again_after());
        let until_due = match (&self.shutdown, self.scheduler.next_wake()) {
            (Some(shutdown), _) => Some(shutdown.next_step.saturating_duration_since(Instant::now())),
            // While the state cannot be written nothing can begin, and trying again at once would only burn time.
            (None, _) if !self.journal.is_well() => None,
            (None, _) if !self.is_leading() => None,
            (None, next) => next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default()),
        };
        until_due.map_or(longest, |until| until.min(longest))
    }

    async fn start(&mut self, job: &str) -> Result<(), Refusal> {
        let (job, now) = (self.declared(job)?, self.clock.now());
        self.recover(now).await.map_err(Refusal::State)?;
        let lifted = self.journal.store.lift_stops(Some(job.id.clone())).await;
        lifted.map_err(|error| Refusal::State(error.message))?;
        self.journal.stopped.remove(&job.id);
        self.activate(&job.id, now).await;
        tracing::info!(job = %job.id, "started");
        Ok(())
    }

    async fn stop(&mut self, job: &str) -> Result<(), Refusal> {
        let (job, now) = (self.declared(job)?, self.clock.now());
        if self.scheduler.get(&job.id).is_none_or(|state| state.active.is_none()) {
            return Err(Refusal::Unknown);
        }
        self.recover(now).await.map_err(Refusal::State)?;
        let stopped = self.journal.store.stop(job.id.clone(), now).await;
        stopped.map_err(|error| Refusal::State(error.message))?;
        self.journal.stopped.insert(job.id.clone());
        self.deactivate(&job.id).await;
        tracing::info!(job = %job.id, "stopped");
        Ok(())
    }

    /// Has a job run by its schedule from `now` on.
    async fn activate(&mut self, id: &JobId, now: Timestamp) {
        let service_time = self.clock.moment().service;
        if self.scheduler.activate(id, now)
            && let Some(state) = self.scheduler.get_mut(id)
        {
            state.fresh_at = service_time;
            let times = state.job.times();
            self.record_activations(vec![(id.clone(), times)], now).await;
        }
    }

    /// Has a job not run by its schedule any more; its queued runs are withdrawn.
    async fn deactivate(&mut self, job: &JobId) {
        if self.scheduler.deactivate(job) {
            let queued = self.scheduler.withdraw(job);
            self.drop_queued(queued, Skip::unwanted()).await;
            if self.journal.is_recovered {
                // What cannot be recorded now is told by the store, and looked at again at the next start.
                let _ = self.journal.store.deactivate(vec![job.clone()]).await;
            }
        }
    }

    async fn record_activations(&mut self, jobs: Vec<(JobId, String)>, now: Timestamp) {
        if self.journal.is_recovered {
            // What cannot be recorded now is told by the store, and counts from the next start on.
            let _ = self.journal.store.activate(jobs, self.clock.moment_at(now)).await;
        }
    }

    async fn record_progress(&mut self) {
        let progress = self.runs.take_progress();
        if !progress.is_empty() {
            // It is told in the log as well, and again in a moment.
            let _ = self.journal.store.note_progress(progress).await;
        }
    }

    async fn begin_shutdown(&mut self) {
        if self.shutdown.is_none() {
            let grace = self.plan().server.shutdown_grace.to_std();
            tracing::info!(runs = self.runs.len(), "shutting down");
            self.runs.announce_end();
            self.heartbeat.end();
            self.shutdown = Some(Shutdown {
                next_step: Instant::now() + grace,
                has_asked_runs: false,
            });
            let now = self.clock.now();
            self.take_back_stuck(Duration::ZERO, now).await;
            self.leave_queued();
        }
    }

    /// Whether every run is over, or has had its time to end.
    fn has_ended(&mut self) -> bool {
        let Some(shutdown) = &mut self.shutdown else {
            return false;
        };
        if self.runs.is_empty() && !self.runs.is_recovering() {
            return true;
        }
        if Instant::now() < shutdown.next_step {
            return false;
        }
        if shutdown.has_asked_runs {
            return true; // Their rows stay "running" and are closed at the next start.
        }
        *shutdown = Shutdown {
            next_step: Instant::now() + LAST_GRACE,
            has_asked_runs: true,
        };
        self.runs.cancel_all();
        false
    }
}
