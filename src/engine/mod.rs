//! The engine: one task that owns the plan, the timetable, the runs under way and the state database, and takes
//! its orders from one inbox. It does what is due, then sleeps until the next time or until it is told something.

pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod dispatcher;
mod ends;
mod journal;
mod missed;
mod reload;
mod report;
mod runner;
mod runs;
pub(crate) mod simulation;
mod start;
mod takeover;
mod telling;
pub(crate) mod timetable;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

pub use clock::Clock;
pub use command::{Command, Inbox};
pub(crate) use dispatcher::Dispatcher;
pub(crate) use reload::keep_last_good;

use crate::config::{Job, Loaded, Plan, Sources};
use crate::store::alerts::Failing;
use crate::values::JobId;
use command::{LastRuns, Refusal};
use journal::Journal;
use reload::Reloads;
use runs::Runs;

/// The longest sleep, so that a clock that was set is noticed.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// How often long runs tell how far they are.
const BETWEEN_PROGRESS: Duration = Duration::from_secs(10);
/// How soon to look again for a database that is not there, or a state that cannot be written.
const SOON: Duration = Duration::from_secs(5);
/// How far the clock may fall behind what was seen before it counts as set back.
const SET_BACK: SignedDuration = SignedDuration::from_secs(1);
/// A jump forward up to this long is time that was missed; a longer one corrects a wrong clock.
const MOST_MISSED: SignedDuration = SignedDuration::from_hours(3);
/// How long runs that were asked to end may take to do so.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// What the engine starts from.
#[derive(Debug)]
pub struct Setup {
    /// The time.
    pub clock: Clock,
    /// What is read again at a reload.
    pub sources: Sources,
    /// What was loaded for the start.
    pub loaded: Loaded,
    /// The port the service answers on, told to the application.
    pub port: u16,
    /// Told when messages were posted.
    pub posted: Arc<Notify>,
}

/// The engine. Build it with [`Engine::new`] and let [`Engine::run`] have it.
#[derive(Debug)]
pub struct Engine {
    clock: Clock,
    started_at: Timestamp,
    last_seen: Timestamp,
    plan: Arc<Plan>,
    dispatcher: Dispatcher,
    last_instant: Instant,
    last_progress: Instant,
    active_since: BTreeMap<JobId, Timestamp>,
    runs: Runs,
    last_runs: LastRuns,
    journal: Journal,
    reloads: Reloads,
    inbox: mpsc::Receiver<Command>,
    plans: watch::Sender<Arc<Plan>>,
    failing: BTreeMap<JobId, Failing>,
    posted: Arc<Notify>,
    ending: Option<Ending>,
}

/// A shutdown under way.
#[derive(Debug)]
struct Ending {
    next_step: Instant,
    asked_runs: bool,
}

impl Engine {
    /// An engine with its jobs active as declared, the place to put commands for it, and the plan as reloads change
    /// it.
    pub fn new(setup: Setup) -> (Self, Inbox) {
        let (sender, inbox) = mpsc::channel(64);
        let now = setup.clock.now();
        let plan = Arc::new(setup.loaded.plan.clone());
        let (plans, _) = watch::channel(Arc::clone(&plan));
        let mut engine = Self {
            clock: setup.clock,
            started_at: now,
            last_seen: now,
            dispatcher: Dispatcher::default(),
            last_instant: Instant::now(),
            last_progress: Instant::now(),
            active_since: BTreeMap::new(),
            runs: Runs::default(),
            last_runs: LastRuns::new(),
            journal: Journal::new(&plan.state.path),
            reloads: Reloads::new(setup.sources, &setup.loaded, setup.port, now),
            plan,
            inbox,
            plans,
            failing: BTreeMap::new(),
            posted: setup.posted,
            ending: None,
        };
        for job in engine.plan.jobs_in_order().into_iter().filter(|job| job.enabled) {
            engine.dispatcher.timetable.activate(job, now);
        }
        // A state that cannot be read now is opened later, and nothing begins before.
        let _ = engine.open_state(now);
        (engine, sender)
    }

    /// The plan in force, as reloads change it.
    pub(crate) fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plans.subscribe()
    }

    /// Runs until it is told to end, or every sender of its inbox is gone.
    pub async fn run(mut self) {
        self.publish_port().await;
        loop {
            let now = self.look_at_the_clock();
            self.journal.tend(now, self.plan.state.history);
            if self.ending.is_none() {
                self.start_what_is_due(now);
                self.look_again(now);
            } else if self.has_ended() {
                break;
            }
            self.tell_progress();
            let nap = self.nap(now);
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => self.begin_to_end(),
                },
                Some(ended) = self.runs.next_ended() => self.finish(ended),
                Some(loaded) = self.reloads.next_loaded() => self.take_over(loaded),
                () = tokio::time::sleep(nap) => {}
            }
        }
        tracing::info!("ended");
    }

    /// Reads the clock. Where it was set back, or far forward, no time in between counts: next times are set anew.
    fn look_at_the_clock(&mut self) -> Timestamp {
        let (now, instant) = (self.clock.now(), Instant::now());
        let passed = SignedDuration::try_from(instant.duration_since(self.last_instant)).unwrap_or_default();
        let jump = now.duration_since(self.last_seen).saturating_sub(passed);
        if jump < -SET_BACK || jump > MOST_MISSED {
            tracing::warn!(from = %self.last_seen, to = %now, "the clock was set; next times are set anew");
            self.dispatcher.timetable.recompute(now);
            self.journal.put_off_clearing(now);
            // What the clock never showed, or shows again, was not missed.
            let active = self.dispatcher.timetable.active_jobs();
            self.journal.mark(&active, now);
        }
        (self.last_seen, self.last_instant) = (now, instant);
        now
    }

    fn nap(&self, now: Timestamp) -> Duration {
        let look_again = self.reloads.looks_again_after().unwrap_or(LONGEST_NAP);
        let longest = match (self.journal.is_well(), self.runs.is_empty()) {
            (false, _) => SOON,
            (true, false) => look_again.min(BETWEEN_PROGRESS),
            (true, true) => look_again,
        };
        let until_due = match (&self.ending, self.dispatcher.timetable.next_wake()) {
            (Some(ending), _) => Some(ending.next_step.saturating_duration_since(Instant::now())),
            // While the state cannot be written nothing can begin, and trying again at once would only burn time.
            (None, _) if !self.journal.is_well() => None,
            (None, next) => next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default()),
        };
        until_due.map_or(longest, |until| until.min(longest))
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked may be gone by now; the order stands all the same.
        match command {
            Command::Trigger { job, reply } => drop(reply.send(self.trigger(&job))),
            Command::Start { job, reply } => drop(reply.send(self.start(&job))),
            Command::Stop { job, reply } => drop(reply.send(self.stop(&job))),
            Command::Reload { cause, reply } => self.reloads.ask(cause, reply),
            Command::Rows { texts } => self.reloads.look_at_rows(texts),
            Command::Report { reply } => drop(reply.send(self.report())),
            Command::Shutdown => self.begin_to_end(),
        }
    }

    fn start(&mut self, job: &str) -> Result<(), Refusal> {
        let (job, now) = (self.declared(job)?, self.clock.now());
        self.open_state(now).map_err(Refusal::State)?;
        self.journal.lift_stops(Some(&job.id)).map_err(Refusal::State)?;
        self.activate(&job, now);
        tracing::info!(job = %job.id, "started");
        Ok(())
    }

    fn stop(&mut self, job: &str) -> Result<(), Refusal> {
        let job = self.declared(job)?;
        if !self.dispatcher.timetable.is_active(&job.id) {
            return Err(Refusal::Unknown);
        }
        self.open_state(self.clock.now()).map_err(Refusal::State)?;
        self.journal.stop(&job.id, self.clock.now()).map_err(Refusal::State)?;
        self.deactivate(&job.id);
        tracing::info!(job = %job.id, "stopped");
        Ok(())
    }

    /// Has a job run by its schedule from `now` on.
    fn activate(&mut self, job: &Arc<Job>, now: Timestamp) {
        if !self.dispatcher.timetable.is_active(&job.id) {
            self.dispatcher.timetable.activate(job, now);
            self.active_since.insert(job.id.clone(), now);
            self.journal.mark(std::slice::from_ref(job), now);
        }
    }

    /// Has a job not run by its schedule any more; runs of it that wait are withdrawn.
    fn deactivate(&mut self, job: &JobId) {
        if self.dispatcher.timetable.deactivate(job) {
            let waiting = self.dispatcher.withdraw(job);
            self.drop_waiting(waiting, "the job was stopped, or changed, before its turn came");
            self.active_since.remove(job);
            self.journal.unmark(job);
        }
    }

    /// Reads the sources again where something was missing that may be there now.
    fn look_again(&mut self, now: Timestamp) {
        if self.plan.default_database_path().is_some_and(|file| file.is_file()) {
            self.reloads.look_again(now);
        }
    }

    fn begin_to_end(&mut self) {
        if self.ending.is_none() {
            let grace = self.plan.server.shutdown_grace.to_std();
            tracing::info!(runs = self.runs.len(), "ending");
            let waiting = self.dispatcher.withdraw_all();
            self.drop_waiting(waiting, "the service ended before its turn came");
            self.ending = Some(Ending {
                next_step: Instant::now() + grace,
                asked_runs: false,
            });
        }
    }

    /// Whether every run is over, or has had its time to end.
    fn has_ended(&mut self) -> bool {
        let Some(ending) = &mut self.ending else { return false };
        if self.runs.is_empty() {
            return true;
        }
        if Instant::now() < ending.next_step {
            return false;
        }
        if ending.asked_runs {
            return true; // Their rows stay "running" and are closed at the next start.
        }
        *ending = Ending {
            next_step: Instant::now() + LAST_GRACE,
            asked_runs: true,
        };
        self.runs.ask_all_to_end();
        false
    }
}
