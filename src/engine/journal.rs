//! The engine's hold on the state database: remembers whether it can be written, keeps what could not be written
//! yet, and sees to what an earlier process left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::command::LastRuns;
use crate::config::Job;
use crate::store::alerts::Failing;
use crate::store::marks::Mark;
use crate::store::outbox::{Depth, Letter};
use crate::store::sqlite::Unusable;
use crate::store::{Ended, MOST_CLEARED, NewRun, RunId, State, Status};
use crate::values::{Duration, JobId, later};

/// How often the state is tried; in between, what was found the last time counts.
const BETWEEN_LOOKS: SignedDuration = SignedDuration::from_secs(5);
const BEFORE_CLEARING: SignedDuration = SignedDuration::from_hours(1);
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
    unwritten: Vec<Ended>,
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
    /// What is known of the jobs that were active.
    pub(super) marks: BTreeMap<String, Mark>,
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
    pub(super) fn open(&mut self, now: Timestamp) -> Result<Option<LeftBehind>, String> {
        if self.is_open {
            return Ok(None);
        }
        let (stops, failing) = (self.state.stops(), self.state.failing());
        let (unfinished, marks) = (self.state.unfinished(), self.state.marks(now));
        self.stopped = self.note(stops)?.iter().filter_map(|job| job.parse().ok()).collect();
        let failing = self.note(failing)?.into_iter();
        let left = LeftBehind {
            failing: failing
                .filter_map(|(job, failing)| Some((job.parse().ok()?, failing)))
                .collect(),
            unfinished: self.note(unfinished)?,
            marks: self.note(marks)?,
        };
        self.is_open = true;
        self.put_off_clearing(now);
        Ok(Some(left))
    }

    /// Takes down that a run which waited begins.
    pub(super) fn note_start(&mut self, run: RunId, now: Timestamp) {
        let noted = self.state.note_start(run, now);
        let _ = self.note(noted);
    }

    /// Takes down how far a run is.
    pub(super) fn note_progress(&mut self, run: RunId, rows: u64) {
        let noted = self.state.note_progress(run, rows);
        let _ = self.note(noted);
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
        if !self.unwritten.is_empty() {
            let unwritten = std::mem::take(&mut self.unwritten);
            self.finish(unwritten);
        }
        if now >= self.next_clearing {
            self.next_clearing = later(now, BETWEEN_CLEARINGS);
            let kept = history.signed();
            let dropped = self.state.forget_runs(now.checked_sub(kept).unwrap_or(Timestamp::MIN));
            if self.note(dropped).is_ok_and(|dropped| dropped >= MOST_CLEARED) {
                self.next_clearing = now; // There are more.
            }
        }
    }

    /// Keeps everything for another hour: a clock that was just set, or is read for the first time, may be wrong.
    pub(super) fn put_off_clearing(&mut self, now: Timestamp) {
        self.next_clearing = later(now, BEFORE_CLEARING);
    }

    /// Takes down runs that begin, or that do not take place. The state must have been opened, or they would be
    /// closed with those of an earlier process.
    pub(super) fn record(&mut self, runs: &[(NewRun, Option<String>)]) -> Result<Vec<Option<RunId>>, String> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let recorded = self.state.record(runs);
        self.note(recorded)
    }

    pub(super) fn finish(&mut self, ended: Vec<Ended>) {
        if ended.is_empty() {
            return;
        }
        let finished = self.state.finish(&ended);
        if self.note(finished).is_err() {
            self.unwritten.extend(ended);
        }
    }

    /// Takes down that jobs are active from now on.
    pub(super) fn mark(&mut self, jobs: &[Arc<Job>], now: Timestamp) {
        if self.is_open && !jobs.is_empty() {
            let jobs: Vec<(&JobId, String)> = jobs.iter().map(|job| (&job.id, job.times())).collect();
            let marked = self.state.mark(&jobs, now);
            let _ = self.note(marked);
        }
    }

    /// Takes down that a job is not active any more.
    pub(super) fn unmark(&mut self, job: &JobId) {
        if self.is_open {
            let unmarked = self.state.unmark(job);
            let _ = self.note(unmarked);
        }
    }

    /// Whether the newest run of the job was cut off.
    pub(super) fn was_interrupted(&mut self, job: &JobId) -> bool {
        matches!(self.state.newest_status(job), Ok(Some(Status::Interrupted)))
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
