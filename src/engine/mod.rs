//! The engine: one task that owns the plan, the timetable, the runs under way and the state database, and takes
//! its orders from one inbox. It does what is due, then sleeps until the next time or until it is told something.

pub mod clock;
pub mod command;
mod journal;
mod reload;
mod report;
mod runner;
mod runs;
mod takeover;
mod telling;
mod timetable;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

pub use clock::Clock;
pub use command::{Command, Inbox};
pub use timetable::{Due, Timetable};

use crate::config::{Loaded, Plan, Sources};
use crate::notifications::alert::Turn;
use crate::store::alerts::Failing;
use crate::store::{Finish, RunId, Status};
use crate::values::JobId;
use command::{LastRuns, Refusal};
use journal::Journal;
use reload::Reloads;
use runs::Runs;

/// The longest sleep, so that a clock that was set is noticed.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// How soon to look again for a database that is not there, or a state that cannot be written.
const SOON: Duration = Duration::from_secs(5);
/// How far the clock may fall behind what was seen before it counts as set back.
const SET_BACK: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);
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
    timetable: Timetable,
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
    #[must_use]
    pub fn new(setup: Setup) -> (Self, Inbox, watch::Receiver<Arc<Plan>>) {
        let (sender, inbox) = mpsc::channel(64);
        let now = setup.clock.now();
        let plan = Arc::new(setup.loaded.plan.clone());
        let (plans, plan_now) = watch::channel(Arc::clone(&plan));
        let mut engine = Self {
            clock: setup.clock,
            started_at: now,
            last_seen: now,
            timetable: Timetable::default(),
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
            engine.timetable.activate(job, now);
        }
        // A state that cannot be read now is opened later, and nothing begins before.
        let _ = engine.open_state(now);
        (engine, sender, plan_now)
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
            let nap = self.nap(now);
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => self.begin_to_end(),
                },
                Some((run, outcome)) = self.runs.next_ended() => self.finish(run, outcome),
                Some(loaded) = self.reloads.next_loaded() => self.take_over(loaded),
                () = tokio::time::sleep(nap) => {}
            }
        }
        tracing::info!("ended");
    }

    fn look_at_the_clock(&mut self) -> Timestamp {
        let now = self.clock.now();
        if now < self.last_seen - SET_BACK {
            tracing::warn!(from = %self.last_seen, to = %now, "the clock was set back; next times are set anew");
            self.timetable.recompute(now);
        }
        self.last_seen = now;
        now
    }

    fn nap(&self, now: Timestamp) -> Duration {
        let look_again = self.reloads.looks_again_after().unwrap_or(LONGEST_NAP);
        let longest = if self.journal.is_well() { look_again } else { SOON };
        let until_due = match (&self.ending, self.timetable.next_wake()) {
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
            Command::Report { reply } => drop(reply.send(self.report())),
            Command::Shutdown => self.begin_to_end(),
        }
    }

    fn start(&mut self, job: &str) -> Result<(), Refusal> {
        let job = self.declared(job)?;
        self.open_state(self.clock.now()).map_err(Refusal::State)?;
        self.journal.lift_stops(Some(&job.id)).map_err(Refusal::State)?;
        self.timetable.activate(&job, self.clock.now());
        tracing::info!(job = %job.id, "started");
        Ok(())
    }

    fn stop(&mut self, job: &str) -> Result<(), Refusal> {
        let job = self.declared(job)?;
        if !self.timetable.is_active(&job.id) {
            return Err(Refusal::Unknown);
        }
        self.open_state(self.clock.now()).map_err(Refusal::State)?;
        self.journal.stop(&job.id, self.clock.now()).map_err(Refusal::State)?;
        self.timetable.deactivate(&job.id);
        tracing::info!(job = %job.id, "stopped");
        Ok(())
    }

    /// Reads the sources again where something was missing that may be there now.
    fn look_again(&mut self, now: Timestamp) {
        if self.plan.default_database_path().is_file() {
            self.reloads.look_again(now);
        }
    }

    /// Opens the state, once: what an operator has stopped becomes inactive, and the newest runs are known.
    fn open_state(&mut self, now: Timestamp) -> Result<(), String> {
        let Some(left) = self.journal.open()? else {
            return Ok(());
        };
        for job in self.journal.stopped().clone() {
            self.timetable.deactivate(&job);
        }
        self.failing = left.failing;
        for (job, run) in left.unfinished {
            self.close_interrupted(&job, run, now);
        }
        let known = self.journal.last_runs(self.plan.jobs.keys());
        self.last_runs.extend(known);
        Ok(())
    }

    /// Closes a run that an earlier process did not finish, and has that told.
    fn close_interrupted(&mut self, job: &str, run: RunId, now: Timestamp) {
        const WHY: &str = "the service ended during this run";
        tracing::warn!(job, run = %run, "interrupted: {WHY}");
        let finish = Finish {
            status: Status::Interrupted,
            at: now,
            message: None,
            error: Some(WHY.to_owned()),
        };
        // The job may be gone from the declaration.
        let job = self.declared(job).ok();
        let telling = job.map(|job| self.tell(&job, run, Turn::Failed(WHY), now));
        self.finish_in_journal(run, finish, telling);
    }

    fn begin_to_end(&mut self) {
        if self.ending.is_none() {
            let grace = self.plan.server.shutdown_grace.to_std();
            tracing::info!(runs = self.runs.len(), "ending");
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
