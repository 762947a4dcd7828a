//! The engine's hold on the state database: remembers whether it can be written, keeps what could not be written
//! yet, and sees to what an earlier process left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::command::LastRuns;
use crate::store::alerts::Failing;
use crate::store::outbox::{Depth, Letter};
use crate::store::sqlite::Unusable;
use crate::store::{Finish, NewRun, RunId, State, Telling};
use crate::values::{Duration, JobId};

/// How often the state is tried; in between, what was found the last time counts.
const BETWEEN_LOOKS: SignedDuration = SignedDuration::from_secs(5);
const BETWEEN_CLEARINGS: SignedDuration = SignedDuration::from_hours(24);

/// The state database as the engine sees it.
#[derive(Debug)]
pub(super) struct Journal {
    state: State,
    /// Why it could not be written the last time.
    error: Option<String>,
    /// Whether what an earlier process left behind is seen to.
    is_open: bool,
    stopped: BTreeSet<JobId>,
    unwritten: Vec<(RunId, Finish, Option<Telling>)>,
    next_clearing: Timestamp,
    last_look: Timestamp,
}

/// What an earlier process left behind.
#[derive(Debug)]
pub(super) struct LeftBehind {
    /// The jobs that fail.
    pub(super) failing: BTreeMap<JobId, Failing>,
    /// Runs it did not finish, with their jobs.
    pub(super) unfinished: Vec<(String, RunId)>,
}

impl Journal {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            state: State::new(path),
            error: None,
            is_open: false,
            stopped: BTreeSet::new(),
            unwritten: Vec::new(),
            next_clearing: Timestamp::MIN,
            last_look: Timestamp::MIN,
        }
    }

    /// Whether the state could be written the last time.
    pub(super) fn is_well(&self) -> bool {
        self.error.is_none()
    }

    /// The jobs an operator has stopped.
    pub(super) fn stopped(&self) -> &BTreeSet<JobId> {
        &self.stopped
    }

    /// What is wrong with the state, tried again when the last look was a while ago.
    pub(super) fn look(&mut self, now: Timestamp) -> Option<String> {
        if now.duration_since(self.last_look).abs() >= BETWEEN_LOOKS {
            self.last_look = now;
            let probed = self.state.probe();
            let _ = self.note(probed);
        }
        self.error.clone()
    }

    /// Reads what an earlier process left behind, once.
    pub(super) fn open(&mut self) -> Result<Option<LeftBehind>, String> {
        if self.is_open {
            return Ok(None);
        }
        let (stops, failing, unfinished) = (self.state.stops(), self.state.failing(), self.state.unfinished());
        self.stopped = self.note(stops)?.iter().filter_map(|job| job.parse().ok()).collect();
        let failing = self.note(failing)?.into_iter();
        let left = LeftBehind {
            failing: failing
                .filter_map(|(job, failing)| Some((job.parse().ok()?, failing)))
                .collect(),
            unfinished: self.note(unfinished)?,
        };
        self.is_open = true;
        Ok(Some(left))
    }

    /// Forgets that a job fails which is not declared any more.
    pub(super) fn forget_failing(&mut self, job: &JobId) {
        let forgotten = self.state.forget_failing(job);
        let _ = self.note(forgotten);
    }

    /// Posts what the beginning of a run tells.
    pub(super) fn post(&mut self, letters: &[Letter], now: Timestamp) {
        if !letters.is_empty() {
            let posted = self.state.post(letters, now);
            let _ = self.note(posted);
        }
    }

    /// Writes down what could not be written before, and once a day drops runs older than `history`.
    pub(super) fn tend(&mut self, now: Timestamp, history: Duration) {
        if self.error.is_some() && self.look(now).is_none() {
            tracing::info!("the state can be written again");
        }
        if self.error.is_some() || !self.is_open {
            return;
        }
        for (run, finish, telling) in std::mem::take(&mut self.unwritten) {
            self.finish(run, finish, telling);
        }
        if now >= self.next_clearing {
            self.next_clearing = now + BETWEEN_CLEARINGS;
            let kept = SignedDuration::try_from(history.to_std()).unwrap_or(SignedDuration::MAX);
            let dropped = self.state.forget_runs(now.checked_sub(kept).unwrap_or(Timestamp::MIN));
            let _ = self.note(dropped);
        }
    }

    /// Takes down that a run begins. The state must have been opened, or the run would be closed with those of an
    /// earlier process.
    pub(super) fn begin(&mut self, run: &NewRun) -> Result<Option<RunId>, String> {
        let begun = self.state.begin(run);
        self.note(begun)
    }

    pub(super) fn skip(&mut self, run: &NewRun, why: &str) -> Result<Option<RunId>, String> {
        let skipped = self.state.skip(run, why);
        self.note(skipped)
    }

    pub(super) fn finish(&mut self, run: RunId, finish: Finish, telling: Option<Telling>) {
        let finished = self.state.finish(run, &finish, telling.as_ref());
        if self.note(finished).is_err() {
            self.unwritten.push((run, finish, telling));
        }
    }

    pub(super) fn stop(&mut self, job: &JobId, now: Timestamp) -> Result<(), String> {
        let stopped = self.state.stop(job, now);
        self.note(stopped)?;
        self.stopped.insert(job.clone());
        Ok(())
    }

    /// Lifts the stop of `job`, or of every job.
    pub(super) fn lift_stops(&mut self, job: Option<&JobId>) -> Result<(), String> {
        let lifted = self.state.lift_stops(job);
        self.note(lifted)?;
        self.stopped.retain(|stopped| job.is_some_and(|job| job != stopped));
        Ok(())
    }

    pub(super) fn last_runs<'a>(&mut self, jobs: impl Iterator<Item = &'a JobId>) -> LastRuns {
        jobs.filter_map(|job| Some((job.clone(), self.state.last_run(job).ok()?)))
            .collect()
    }

    /// How many messages wait and were given up, where the state can tell.
    pub(super) fn outbox_depth(&mut self) -> Depth {
        if self.error.is_some() {
            Depth::default()
        } else {
            self.state.outbox_depth().unwrap_or_default()
        }
    }

    fn note<T>(&mut self, result: Result<T, Unusable>) -> Result<T, String> {
        match result {
            Ok(value) => {
                self.error = None;
                Ok(value)
            }
            Err(unusable) => {
                let error = format!("state {unusable}");
                if self.error.as_ref() != Some(&error) {
                    tracing::error!("{error}");
                }
                self.error = Some(error.clone());
                Err(error)
            }
        }
    }
}
