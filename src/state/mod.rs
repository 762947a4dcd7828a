//! The service's own state behind one handle, [`Store`]: the ledger and history of runs, the outbox, operator's stops,
//! and what a start needs to go on from where an earlier process left off. Nobody else opens it, and nobody waits for
//! it on a thread of their own: every question is answered asynchronously.

mod engine;
mod findings;
mod outbox;
mod postgres;
mod run;
mod skip;
mod sqlite;
mod statements;
mod tables;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use crate::values::{Deadline, JobId, Moment, Threads, beside, lock};
pub(crate) use engine::Place;
pub(crate) use findings::{Change, Finding};
pub(crate) use outbox::{NewMessage, OutboxCounts, OutboxRow, Outcome, Undelivered};
pub(crate) use postgres::{Candidate, Leader, LeaseAction, Replica, Request, StateServer, Term, Tick};
pub(crate) use run::{
    Activation, Beginning, CANCELLED_BY_HAND, EndedRun, Failing, LastRun, NewRun, Origin, QueuedRun, REPLACED,
    RecentRun, RecentRuns, Telling,
};
pub use run::{Filter, History, Run, RunId, Status, Trigger};
pub(crate) use skip::Skip;
pub(crate) use sqlite::Lock;
pub(crate) use tables::MOST_CLEARED;
use tables::Tables;

/// Why the state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateError {
    /// One sentence, which names the database.
    pub message: String,
    /// Whether another attempt may do better.
    pub(crate) is_transient: bool,
    /// Whether it is that this replica does not lead, which is no fault of the state.
    pub(crate) is_not_leading: bool,
}

impl StateError {
    /// Another replica leads, or may do so.
    pub(crate) fn not_leading() -> Self {
        Self {
            message: "this replica does not lead".to_owned(),
            is_transient: true,
            is_not_leading: true,
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What an earlier process left behind.
#[derive(Debug)]
pub(crate) struct LeftBehind {
    /// The jobs an operator has stopped.
    pub stopped: BTreeSet<String>,
    pub failing: BTreeMap<String, Failing>,
    pub unfinished: Vec<Unfinished>,
    /// Runs that waited for their turn, oldest first.
    pub queued: Vec<QueuedRun>,
    /// What is known of the jobs that were active.
    pub activations: BTreeMap<String, Activation>,
}

/// A run that an earlier process did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// Whose run; kept as text, for the job may be gone from the declaration.
    pub job: String,
    pub run: RunId,
    /// Whether somebody had cancelled it.
    pub was_cancelled: bool,
}

/// How long the database may take for an answer before that is told.
const SLOW: Duration = Duration::from_secs(10);

/// The state, shared by everyone who needs it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tables: Arc<Mutex<Tables>>,
    /// The one that works on them.
    thread: Threads,
    place: Place,
    /// Until when it may be changed by this process.
    deadline: Deadline,
    /// What may lead, where several replicas share it.
    candidate: Option<Candidate>,
    /// Why the last question was not answered, if it was not.
    error: Mutex<Option<String>>,
    /// Why it could not be reached when that was last tried, where several replicas share it.
    unreached: Mutex<Option<String>>,
}

impl Store {
    /// The state in the file at `path`, which is made and opened when it is first needed.
    pub fn at(path: &Path) -> Self {
        Self::on(&Place::File(path.to_owned()))
    }

    /// The state at `place`.
    pub(crate) fn on(place: &Place) -> Self {
        let (tables, deadline, candidate) = match place {
            Place::File(path) => (Tables::at(path), Deadline::never(), None),
            Place::Server { server, .. } => {
                let candidate = Candidate::new(Arc::clone(server));
                let tables = Tables::on(server, &candidate);
                (tables, candidate.deadline(), Some(candidate))
            }
        };
        Self(Arc::new(Shared {
            tables: Arc::new(Mutex::new(tables)),
            thread: Threads::new(1),
            place: place.clone(),
            deadline,
            candidate,
            error: Mutex::default(),
            unreached: Mutex::default(),
        }))
    }

    /// Until when it may be changed by this process.
    pub(crate) fn deadline(&self) -> Deadline {
        self.0.deadline.clone()
    }

    /// What may lead, where several replicas share it.
    pub(crate) fn candidate(&self) -> Option<&Candidate> {
        self.0.candidate.as_ref()
    }

    /// Where it is, in full: what tells this service from others on the machine.
    pub(crate) fn place(&self) -> String {
        match &self.0.place {
            Place::File(path) => absolute(path).display().to_string(),
            server @ Place::Server { .. } => server.shown(),
        }
    }

    /// Where a folder of this name belongs that has what the service needs besides: next to the state, in full.
    pub(crate) fn folder_beside(&self, name: &str) -> PathBuf {
        beside(&absolute(self.0.place.path()), &format!("-{name}"))
    }

    /// Why the state could not be used the last time, or cannot be now.
    pub(crate) fn error(&self) -> Option<String> {
        lock(&self.0.error).clone()
    }

    /// Asks the database, on the thread that works on it. A question that nobody waits for any more when its turn comes
    /// is not asked.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Tables) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let tables = Arc::clone(&self.0.tables);
        let mut answer = pin!(self.0.thread.run(move || question(&mut lock(&tables))));
        let answer = if let Ok(answer) = timeout(SLOW, &mut answer).await {
            answer
        } else {
            let seconds = SLOW.as_secs();
            let why = format!(
                "state database {} has not answered for {seconds} s",
                self.0.place.shown()
            );
            self.note(Some(why.clone()));
            let answer = answer.await;
            if self.error() == Some(why) {
                self.note(None);
            }
            answer
        };
        if let Err(error) = answer.as_ref()
            && !error.is_not_leading
        {
            self.note(Some(error.message.clone()));
        }
        answer
    }

    /// Notes that a state which several replicas share can, or cannot, be reached.
    pub(crate) fn note_reached(&self, reached: Result<(), &StateError>) {
        let known = std::mem::replace(
            &mut *lock(&self.0.unreached),
            reached.err().map(|error| error.message.clone()),
        );
        match reached {
            Err(error) => self.note(Some(error.message.clone())),
            // What keeps it from being written is another matter.
            Ok(()) if known.is_some() && self.error() == known => self.note(None),
            Ok(()) => {}
        }
    }

    /// The same with a question whose answer shows that the state can be used: many others change nothing, and say nothing of
    /// a disk that is full.
    async fn probe<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Tables) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let answer = self.ask(question).await;
        if answer.is_ok() {
            self.note(None);
        }
        answer
    }

    /// Remembers whether the state could be used; tells when that changes.
    fn note(&self, error: Option<String>) {
        let mut known = lock(&self.0.error);
        if error == *known {
            return;
        }
        if let Some(error) = &error {
            tracing::error!("{error}");
        } else {
            tracing::info!("the state can be used again");
        }
        *known = error;
    }

    /// Writes down what the clocks show: whether the state can be written now.
    pub(crate) async fn note_time(&self, now: Moment) -> Result<(), StateError> {
        self.probe(move |state| state.note_time(now)).await
    }

    /// What the clocks showed when that was last written down.
    pub(crate) async fn noted_time(&self) -> Result<Option<Moment>, StateError> {
        self.probe(Tables::noted_time).await
    }

    /// Records that queued runs begin at `now`, and runs that are new, all or none; it is on the disk before anything of
    /// them is done. Gives the numbers of the new ones, `None` for one whose scheduled time is in the ledger already: it
    /// must not run again.
    pub(crate) async fn record(
        &self,
        begun: Vec<RunId>,
        new: Vec<NewRun>,
        now: Timestamp,
    ) -> Result<Vec<Option<RunId>>, StateError> {
        if begun.is_empty() && new.is_empty() {
            return Ok(Vec::new());
        }
        let recorded = self.ask(move |state| state.record(&begun, &new, now)).await?;
        // What was claimed so late is the next leader's to see to.
        if self.0.deadline.is_over() {
            return Err(StateError::not_leading());
        }
        Ok(recorded)
    }

    /// Records that runs which were to begin wait for their turn again.
    pub(crate) async fn requeue(&self, runs: Vec<RunId>, now: Timestamp) -> Result<(), StateError> {
        if runs.is_empty() {
            return Ok(());
        }
        self.ask(move |state| state.requeue(&runs, now)).await
    }

    /// Records how runs ended, together with what is told of them: all or none. Gives the runs back where that failed.
    pub(crate) async fn finish(&self, ended: Vec<EndedRun>) -> Result<(), Vec<EndedRun>> {
        if ended.is_empty() {
            return Ok(());
        }
        let ended = Arc::new(ended);
        let finished = Arc::clone(&ended);
        let done = self.ask(move |state| state.finish(&finished)).await;
        done.map_err(|_| Arc::unwrap_or_clone(ended))
    }

    /// Records how many rows each run under way has done.
    pub(crate) async fn note_progress(&self, runs: Vec<(RunId, u64)>) -> Result<(), StateError> {
        self.ask(move |state| state.note_progress(&runs)).await
    }

    /// Notes that somebody has cancelled a run under way.
    pub(crate) async fn note_cancelled(&self, run: RunId) -> Result<(), StateError> {
        self.ask(move |state| state.note_cancelled(run)).await
    }

    /// Drops messages that ended before `before`, and at most [`MOST_CLEARED`] runs; gives how many.
    pub(crate) async fn clear(&self, before: Timestamp) -> Result<usize, StateError> {
        self.ask(move |state| state.clear(before)).await
    }

    /// Sums up the newest runs of each of `jobs`.
    pub(crate) async fn last_runs(&self, jobs: Vec<JobId>) -> Result<Vec<(JobId, LastRun)>, StateError> {
        self.ask(move |state| state.last_runs(jobs)).await
    }

    /// The recorded runs that match `filter`, newest first. It ends when nobody waits for it any more.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub async fn history(&self, filter: Filter) -> Result<History, StateError> {
        let mut found = History {
            total: 0,
            runs: Vec::new(),
        };
        let mut newest = filter.before.map(|run| run.0.saturating_sub(1));
        let mut rest = filter;
        loop {
            let wanted = rest.clone();
            let piece = self.ask(move |state| state.history_piece(&wanted, newest)).await?;
            found.total += piece.matching;
            let passed = u32::try_from(piece.matching).unwrap_or(u32::MAX);
            rest.offset = rest.offset.saturating_sub(passed);
            rest.limit = rest
                .limit
                .saturating_sub(u16::try_from(piece.runs.len()).unwrap_or(u16::MAX));
            found.runs.extend(piece.runs);
            newest = piece.next;
            if newest.is_none() {
                return Ok(found);
            }
        }
    }

    /// The newest runs of each of `jobs`, at most `most`, newest first. Few jobs are asked for at once, so that no claim of a run
    /// waits for long.
    pub(crate) async fn recent_runs(&self, jobs: Vec<JobId>, most: u32) -> Result<Vec<RecentRuns>, StateError> {
        const AT_ONCE: usize = 50;
        let mut found = Vec::with_capacity(jobs.len());
        for jobs in jobs.chunks(AT_ONCE) {
            let jobs = jobs.to_vec();
            found.extend(self.ask(move |state| state.recent_runs(&jobs, most)).await?);
        }
        Ok(found)
    }

    /// A recorded run, with what its programs printed, as far as it is kept.
    pub(crate) async fn run(&self, id: RunId) -> Result<Option<(Run, Option<String>)>, StateError> {
        self.ask(move |state| state.run(id)).await
    }

    /// What an earlier process left behind, as it is at `now`.
    pub(crate) async fn left_behind(&self, now: Timestamp) -> Result<LeftBehind, StateError> {
        self.ask(move |state| state.left_behind(now)).await
    }

    /// Records that jobs are active from `now` on, each with what its times depend on.
    pub(crate) async fn activate(&self, jobs: Vec<(JobId, String)>, now: Moment) -> Result<(), StateError> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.ask(move |state| state.activate(&jobs, now)).await
    }

    /// Records that jobs are not active any more.
    pub(crate) async fn deactivate(&self, jobs: Vec<JobId>) -> Result<(), StateError> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.ask(move |state| state.deactivate(&jobs)).await
    }

    /// Forgets that a job fails which is not declared any more.
    pub(crate) async fn forget_failing(&self, job: JobId) -> Result<(), StateError> {
        self.ask(move |state| state.forget_failing(&job)).await
    }

    /// Remembers that an operator has stopped a job.
    pub(crate) async fn stop(&self, job: JobId, now: Timestamp) -> Result<(), StateError> {
        self.ask(move |state| state.stop(&job, now)).await
    }

    /// Lifts the stop of a job, or of every job.
    pub(crate) async fn lift_stops(&self, job: Option<JobId>) -> Result<(), StateError> {
        self.ask(move |state| state.lift_stops(job.as_ref())).await
    }

    /// Keeps the files of a declaration, by name and text, for a start at which it is broken.
    pub(crate) async fn keep_declaration(&self, files: Vec<(String, String)>) -> Result<(), StateError> {
        if files.is_empty() {
            return Ok(());
        }
        self.ask(move |state| state.keep_declaration(&files)).await
    }

    /// The files that were kept; none where none were, or there is no state yet.
    pub(crate) async fn kept_declaration(&self) -> Result<Vec<(String, String)>, StateError> {
        self.ask(Tables::kept_declaration).await
    }

    /// Puts messages into the outbox, all or none. One that is there already is not put there again, but brought up to
    /// date while it waits; one that waits with an older cause for the same subject and channel is replaced.
    pub(crate) async fn post(&self, messages: Vec<NewMessage>, now: Moment) -> Result<(), StateError> {
        if messages.is_empty() {
            return Ok(());
        }
        self.ask(move |state| state.post(&messages, now)).await
    }

    /// Makes the messages about `subjects` that wait for another attempt due at once; `now` is service time, as of all
    /// that follows.
    pub(crate) async fn retry_now(&self, subjects: BTreeSet<String>, now: Timestamp) -> Result<(), StateError> {
        self.ask(move |state| state.retry_now(&subjects, now)).await
    }

    /// The newest message about each of `subjects` whose delivery is noted where the application looks for it.
    pub(crate) async fn last_noted(&self, subjects: BTreeSet<String>) -> Result<BTreeMap<String, i64>, StateError> {
        self.ask(move |state| state.last_noted(&subjects)).await
    }

    /// Claims the next message that is due at `now` and whose turn it is: each server gets one at a time, whoever sends.
    /// Whoever has it must [settle] it: no other claim gets it before.
    ///
    /// [settle]: Self::settle
    pub(crate) async fn claim_message(&self, now: Timestamp) -> Result<Option<OutboxRow>, StateError> {
        self.ask(move |state| state.claim_message(now)).await
    }

    /// Records what came of a claimed message. Where that fails it is remembered, and recorded before anything else is
    /// claimed.
    pub(crate) async fn settle(&self, id: i64, outcome: Outcome, now: Moment) -> Result<(), StateError> {
        self.ask(move |state| state.settle(id, outcome, now)).await
    }

    /// Marks a message's delivery as noted.
    pub(crate) async fn noted(&self, id: i64) -> Result<(), StateError> {
        self.ask(move |state| state.noted(id)).await
    }

    /// Messages that were delivered but not noted in the application's database yet.
    pub(crate) async fn unnoted(&self) -> Result<Vec<OutboxRow>, StateError> {
        self.ask(Tables::unnoted).await
    }

    /// Holds back whatever has this turn until then.
    pub(crate) async fn hold(&self, turn: String, until: Timestamp) -> Result<(), StateError> {
        self.ask(move |state| state.hold(&turn, until)).await
    }

    /// Messages that wait or were abandoned, newest first, at most `most`.
    pub(crate) async fn undelivered(&self, most: u32) -> Result<Vec<Undelivered>, StateError> {
        self.ask(move |state| state.undelivered(most)).await
    }

    /// How many messages are in the outbox.
    pub(crate) async fn outbox_counts(&self) -> Result<OutboxCounts, StateError> {
        self.ask(Tables::outbox_counts).await
    }

    /// Compares what `job` found with what is known, records what changed, and puts the messages that `write` makes of
    /// it into the outbox, all at once. What is known is told again after `resend`. Gives the changes.
    pub(crate) async fn reconcile(
        &self,
        job: JobId,
        found: Vec<Finding>,
        (now, resend): (Moment, Option<SignedDuration>),
        write: impl Fn(&Change) -> Vec<NewMessage> + Send + 'static,
    ) -> Result<Vec<Change>, StateError> {
        self.ask(move |state| state.reconcile(&job, &found, (now, resend), &write))
            .await
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
