//! Decides which runs begin, and when: the jobs and their next times, what becomes of missed times, overlaps and
//! limits. Pure: the service and a simulation drive the same one, each in its own time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::job_state::{Active, JobState};
use super::missed::{self, Disposition, Due};
use super::places::{AllPlaces, Places};
use crate::config::{CatchUp, Concurrency, Job, Plan};
use crate::state::{Origin, RunId, Skip, Trigger};
use crate::values::{GroupId, JobId};

/// How many times of one job are told one by one; of those before them, only how many there were.
pub(super) const MOST_TIMES: usize = 1000;
/// How many times are counted before the search jumps to now.
const MOST_COUNTED: usize = 200_000;

/// The jobs, with the times of their runs to come and the runs under way and queued.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    pub(super) jobs: BTreeMap<JobId, JobState>,
    times: BTreeSet<(Timestamp, JobId)>,
    activations: u64,
    pub(super) running: BTreeMap<u64, PendingRun>,
    running_of_group: BTreeMap<GroupId, u32>,
    /// Of each database, for reading and for writing.
    places: AllPlaces,
    pub(super) queue: VecDeque<PendingRun>,
    tickets: u64,
    /// Whether one that is queued is not recorded yet.
    pub(super) has_unrecorded: bool,
    max_running: u32,
    groups: BTreeMap<GroupId, u32>,
    /// Times since then are late, where they are not long past: nobody could begin anything for a moment.
    pub(super) late_since: Option<Timestamp>,
}

/// A run that is to take place.
#[derive(Clone, Debug)]
pub(crate) struct PendingRun {
    /// Tells it from every other.
    pub ticket: u64,
    pub job: Arc<Job>,
    pub trigger: Trigger,
    pub scheduled_at: Timestamp,
    /// Its number, where it is recorded already.
    pub run: Option<RunId>,
    /// The run that was cut off, where it repeats one.
    pub repeats: Option<Origin>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Begin(PendingRun),
    /// Record that a run does not take place, and why.
    Skip(PendingRun, Skip),
    /// End the run under way, for another is to take its place.
    End(u64),
}

impl Scheduler {
    /// The jobs of `plan`, active as they are declared.
    pub(crate) fn new(plan: &Plan, now: Timestamp) -> Self {
        let mut scheduler = Self::default();
        scheduler.set_limits(plan);
        for job in plan.jobs_in_order() {
            scheduler.declare(job);
            if job.enabled {
                scheduler.activate(&job.id, now);
            }
        }
        scheduler
    }

    /// Knows nothing but `plan` from here on; no ticket comes twice.
    pub(super) fn start_over(&mut self, plan: &Plan, now: Timestamp) {
        let tickets = self.tickets;
        *self = Self {
            tickets,
            ..Self::new(plan, now)
        };
    }

    /// Takes over how many runs may be under way at once.
    pub(super) fn set_limits(&mut self, plan: &Plan) {
        self.max_running = plan.max_running;
        self.groups.clone_from(&plan.groups);
    }

    pub(super) fn get(&self, job: &JobId) -> Option<&JobState> {
        self.jobs.get(job)
    }

    pub(super) fn get_mut(&mut self, job: &JobId) -> Option<&mut JobState> {
        self.jobs.get_mut(job)
    }

    /// The active jobs, in the order they were activated.
    pub(super) fn active(&self) -> Vec<Arc<Job>> {
        let active = self.jobs.values().filter_map(|state| Some((state.active?.rank, state)));
        let mut active: Vec<_> = active.collect();
        active.sort_by_key(|(rank, _)| *rank);
        active.into_iter().map(|(_, state)| Arc::clone(&state.job)).collect()
    }

    /// Makes a job known, inactive.
    pub(super) fn declare(&mut self, job: &Arc<Job>) {
        let state = self.jobs.entry(job.id.clone()).or_insert_with(|| JobState::new(job));
        state.job = Arc::clone(job);
        state.is_removed = false;
    }

    /// Puts a changed declaration in the place of the one a job and its queued runs have. Its next time changes only
    /// with its schedule; whether that of an active job did is given.
    pub(super) fn redeclare(&mut self, job: &Arc<Job>, now: Timestamp) -> bool {
        let Some(state) = self.jobs.get_mut(&job.id) else {
            return false;
        };
        let has_other_times = state.job.times() != job.times();
        state.job = Arc::clone(job);
        for run in self.queue.iter_mut().filter(|run| run.job.id == job.id) {
            run.job = Arc::clone(job);
        }
        let is_moved = has_other_times && state.active.is_some();
        if is_moved {
            self.set_next(&job.id, job.next_after(now));
        }
        is_moved
    }

    /// Forgets a job, as soon as its runs are over.
    pub(super) fn remove(&mut self, job: &JobId) {
        if let Some(state) = self.jobs.get_mut(job) {
            state.is_removed = true;
            state.failing = None;
        }
        self.forget_if_over(job);
    }

    pub(super) fn forget_if_over(&mut self, job: &JobId) {
        let is_over = |state: &JobState| state.is_removed && state.running + state.queued == 0;
        if self.jobs.get(job).is_some_and(is_over) {
            self.jobs.remove(job);
        }
    }

    /// Makes a known job active, due next after `now`; false where it is active already.
    pub(super) fn activate(&mut self, id: &JobId, now: Timestamp) -> bool {
        let rank = self.activations;
        let Some(state) = self.jobs.get_mut(id).filter(|state| state.active.is_none()) else {
            return false;
        };
        self.activations += 1;
        state.active = Some(Active {
            since: now,
            next: None,
            was_down: false,
            rank,
        });
        let next = state.job.next_after(now);
        self.set_next(id, next);
        true
    }

    /// Makes a job inactive; false when it was not active.
    pub(super) fn deactivate(&mut self, id: &JobId) -> bool {
        self.set_next(id, None);
        let state = self.jobs.get_mut(id);
        state.is_some_and(|state| state.active.take().is_some())
    }

    /// Counts the jobs as activated in the order of `ids`.
    pub(super) fn order_by<'a>(&mut self, ids: impl Iterator<Item = &'a JobId>) {
        for id in ids {
            if let Some(active) = self.jobs.get_mut(id).and_then(|state| state.active.as_mut()) {
                active.rank = self.activations;
                self.activations += 1;
            }
        }
    }

    /// Makes an active job due at `at`, where that is earlier: a time that could not be run, or was missed.
    pub(super) fn put_back(&mut self, id: &JobId, at: Timestamp) {
        let next = self.jobs.get(id).and_then(JobState::next);
        if next.is_none_or(|next| at < next) {
            self.set_next(id, Some(at));
        }
    }

    /// Sets every next time anew, after the clock was set.
    pub(super) fn recompute(&mut self, now: Timestamp) {
        for job in self.active() {
            self.set_next(&job.id, job.next_after(now));
        }
    }

    /// The time the next job is due.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.times.first().map(|(at, _)| *at)
    }

    fn set_next(&mut self, id: &JobId, next: Option<Timestamp>) {
        let Some(active) = self.jobs.get_mut(id).and_then(|state| state.active.as_mut()) else {
            return;
        };
        if let Some(old) = active.next {
            self.times.remove(&(old, id.clone()));
        }
        active.next = next;
        self.times.extend(next.map(|at| (at, id.clone())));
    }

    /// Takes out every job that is due at `now` and sets its next time.
    fn take_due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some((first, id)) = self.times.first().filter(|(at, _)| *at <= now).cloned() {
            let job = Arc::clone(&self.jobs[&id].job);
            let (mut times, mut earlier) = (VecDeque::from([first]), 0);
            let mut next = job.next_after(first);
            while let Some(at) = next.filter(|at| *at <= now) {
                times.push_back(at);
                if times.len() > MOST_TIMES {
                    times.pop_front();
                    earlier += 1;
                }
                next = job.next_after(if earlier < MOST_COUNTED { at } else { now });
            }
            self.set_next(&id, next);
            let active = self.jobs.get_mut(&id).and_then(|state| state.active.as_mut());
            due.push(Due {
                job,
                times: times.into(),
                earlier: (earlier > 0).then_some((earlier, first)),
                late_since: self.late_since,
                was_down: active.is_some_and(|active| std::mem::take(&mut active.was_down)),
            });
        }
        due
    }

    /// Everything that is to be done at `now`.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        for due in self.take_due(now) {
            for (at, disposition) in missed::decide(&due, now) {
                let trigger = match disposition {
                    Disposition::Run(trigger) => trigger,
                    _ => Trigger::Schedule,
                };
                let run = self.pending(&due.job, trigger, at);
                match disposition {
                    Disposition::Skip(why) => steps.push(Step::Skip(run, why)),
                    // One after the other, whatever the job says of overlaps: none of them was missed.
                    Disposition::Late if self.jobs[&due.job.id].running == 0 => self.queue_up(run),
                    _ => self.admit(run, &mut steps),
                }
            }
        }
        steps.extend(self.ready());
        steps
    }

    /// A run of `job` that is to take place.
    pub(super) fn pending(&mut self, job: &Arc<Job>, trigger: Trigger, scheduled_at: Timestamp) -> PendingRun {
        self.tickets += 1;
        PendingRun {
            ticket: self.tickets,
            job: Arc::clone(job),
            trigger,
            scheduled_at,
            run: None,
            repeats: None,
        }
    }

    /// Why another run of the job would not take place now, where it would not.
    pub(super) fn refusal(&self, job: &Job) -> Option<String> {
        let state = self.jobs.get(&job.id)?;
        let (running, queued) = (state.running, state.queued);
        let most = job.policy.max_running;
        match job.policy.concurrency {
            Concurrency::Forbid => (running + queued > 0).then(|| "the previous run was still in progress".to_owned()),
            Concurrency::Queue => (queued > 0).then(|| "another run was already queued".to_owned()),
            Concurrency::Allow => (running + queued >= most).then(|| format!("max_running ({most}) was reached")),
            Concurrency::Replace => None,
        }
    }

    /// Queues a run, or says why it does not take place.
    pub(super) fn admit(&mut self, run: PendingRun, steps: &mut Vec<Step>) {
        let job = &run.job;
        // Runs that are caught up one by one wait for each other, whatever else is said of overlaps.
        let is_one_of_all = run.trigger == Trigger::CatchUp && job.policy.catch_up == CatchUp::All;
        if let Some(why) = self.refusal(job).filter(|_| !is_one_of_all) {
            return steps.push(Step::Skip(run, Skip::overlap(why)));
        }
        if job.policy.concurrency == Concurrency::Replace && !is_one_of_all {
            let id = job.id.clone();
            for replaced in self.withdraw(&id) {
                steps.push(Step::Skip(replaced, Skip::replaced()));
            }
            let running = self.running.values().filter(|running| running.job.id == id);
            steps.extend(running.map(|running| Step::End(running.ticket)));
        }
        self.queue_up(run);
    }

    /// Has times up to `now` count as missed because the service was down.
    pub(super) fn note_downtime(&mut self, now: Timestamp) {
        for active in self.jobs.values_mut().filter_map(|state| state.active.as_mut()) {
            active.was_down = active.next.is_some_and(|at| at <= now);
        }
    }

    /// Has every queued run that may begin now do so, in the order they came.
    pub(super) fn ready(&mut self) -> Vec<Step> {
        let mut begun = Vec::new();
        let mut index = 0;
        while let Some(run) = self.queue.get(index) {
            if !self.may_begin(run) {
                index += 1;
            } else if let Some(run) = self.queue.remove(index) {
                self.count(&run, true);
                if let Some(state) = self.jobs.get_mut(&run.job.id) {
                    state.queued = state.queued.saturating_sub(1);
                }
                self.running.insert(run.ticket, run.clone());
                begun.push(Step::Begin(run));
            }
        }
        begun
    }

    fn may_begin(&self, run: &PendingRun) -> bool {
        // Whoever asks for a run has it before those that come by themselves: their limits are not for it. Thousands may
        // be queued, so what says no at once is looked at first.
        let is_manual = run.trigger == Trigger::Manual;
        let has_room = || u32::try_from(self.running.len()).is_ok_and(|running| running < self.max_running);
        let places = self.places.of(&run.job);
        let may_overlap = || {
            let policy = &run.job.policy;
            let overlaps = policy.concurrency == Concurrency::Allow;
            let running = self.jobs.get(&run.job.id).map_or(0, |state| state.running);
            let share = places.map_or(u32::MAX, Places::share);
            running < if overlaps { policy.max_running.min(share) } else { 1 }
        };
        let has_place = places.is_none_or(Places::has_room);
        has_place && (is_manual || (has_room() && self.group_has_room(&run.job))) && may_overlap()
    }

    /// Counts a run that begins, or one less.
    fn count(&mut self, run: &PendingRun, begins: bool) {
        let change = |number: &mut u32| {
            *number = if begins { *number + 1 } else { number.saturating_sub(1) };
        };
        if let Some(state) = self.jobs.get_mut(&run.job.id) {
            change(&mut state.running);
        }
        if let Some(group) = &run.job.policy.group {
            change(self.running_of_group.entry(group.clone()).or_default());
        }
        if let Some(places) = self.places.of_mut(&run.job) {
            change(&mut places.running);
        }
    }

    /// Learns how long a run worked on its database.
    pub(super) fn learn(&mut self, job: &Job, worked: Duration) {
        if let Some(places) = self.places.of_mut(job) {
            places.learn(worked);
        }
    }

    /// Has a run that did not begin its work wait for its turn again, before all others. Gives it back where its job was
    /// stopped, or taken out of the declaration, in the meantime.
    pub(super) fn take_back(&mut self, ticket: u64) -> Option<PendingRun> {
        let mut run = self.running.remove(&ticket)?;
        self.count(&run, false);
        let state = self.jobs.get_mut(&run.job.id)?;
        run.job = Arc::clone(&state.job);
        if run.trigger != Trigger::Manual && (state.active.is_none() || state.is_removed) {
            let job = run.job.id.clone();
            self.forget_if_over(&job);
            return Some(run);
        }
        state.queued += 1;
        self.queue.push_front(run);
        None
    }

    /// Learns that the database of `job` holds runs up.
    pub(super) fn is_held_up(&mut self, job: &Job) {
        if let Some(places) = self.places.of_mut(job) {
            places.are_held_up();
        }
    }

    fn group_has_room(&self, job: &Job) -> bool {
        job.policy.group.as_ref().is_none_or(|group| {
            let limit = self.groups.get(group).copied().unwrap_or(1);
            self.running_of_group.get(group).copied().unwrap_or(0) < limit
        })
    }

    /// Takes out a run that ended, or could not begin.
    pub(super) fn ended(&mut self, ticket: u64) {
        let Some(run) = self.running.remove(&ticket) else {
            return;
        };
        self.count(&run, false);
        self.forget_if_over(&run.job.id);
    }
}
