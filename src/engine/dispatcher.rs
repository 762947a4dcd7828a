//! Decides which runs begin: the timetable, what becomes of missed times, overlaps and limits. Pure: the service and
//! a simulation drive the same one, each in its own time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::missed::{self, Fate};
use super::timetable::Timetable;
use crate::config::{CatchUp, Concurrency, Job, Plan};
use crate::store::{RunId, Trigger};
use crate::values::{GroupId, JobId};

/// The runs under way and waiting, and the times of those to come.
#[derive(Debug, Default)]
pub(crate) struct Dispatcher {
    /// When each active job is due.
    pub timetable: Timetable,
    running: BTreeMap<u64, Wanted>,
    of_job: BTreeMap<JobId, u32>,
    of_group: BTreeMap<GroupId, u32>,
    waiting: VecDeque<Wanted>,
    waiting_of_job: BTreeMap<JobId, u32>,
    tickets: u64,
    /// Whether one of those that wait is not recorded yet.
    unrecorded: bool,
}

/// A run that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Tells it from every other.
    pub ticket: u64,
    /// Whose run.
    pub job: Arc<Job>,
    /// What asks for it.
    pub trigger: Trigger,
    /// When it is due.
    pub scheduled_at: Timestamp,
    /// Its number, where it is recorded already.
    pub run: Option<RunId>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Begin a run.
    Begin(Wanted),
    /// Record that a run does not take place, and why.
    Skip(Wanted, String),
    /// End the run under way, for another is to take its place.
    End(u64),
}

impl Dispatcher {
    /// How many runs of the job are under way.
    pub(crate) fn running(&self, job: &JobId) -> u32 {
        self.of_job.get(job).copied().unwrap_or(0)
    }

    /// How many runs of the job wait.
    pub(crate) fn waiting(&self, job: &JobId) -> u32 {
        self.waiting_of_job.get(job).copied().unwrap_or(0)
    }

    /// Everything that is to be done at `now`.
    pub(crate) fn due(&mut self, now: Timestamp, plan: &Plan) -> Vec<Step> {
        let mut steps = Vec::new();
        for due in self.timetable.due(now) {
            for (at, fate) in missed::decide(&due, now) {
                let trigger = if let Fate::Run(trigger) = &fate {
                    *trigger
                } else {
                    Trigger::Schedule
                };
                let wanted = self.wanted(&due.job, trigger, at);
                match fate {
                    Fate::Run(_) => self.admit(wanted, &mut steps),
                    Fate::Skip(why) => steps.push(Step::Skip(wanted, why)),
                }
            }
        }
        steps.extend(self.ready(plan));
        steps
    }

    /// A run that is wanted of `job`.
    pub(crate) fn wanted(&mut self, job: &Arc<Job>, trigger: Trigger, scheduled_at: Timestamp) -> Wanted {
        self.tickets += 1;
        Wanted {
            ticket: self.tickets,
            job: Arc::clone(job),
            trigger,
            scheduled_at,
            run: None,
        }
    }

    /// Why another run of the job would not take place now, where it would not.
    pub(crate) fn refuses(&self, job: &Job) -> Option<String> {
        let (running, waiting) = (self.running(&job.id), self.waiting(&job.id));
        let most = job.policy.max_running;
        match job.policy.concurrency {
            Concurrency::Forbid => (running + waiting > 0).then(|| "the last run was still under way".to_owned()),
            Concurrency::Queue => (waiting > 0).then(|| "another run was waiting already".to_owned()),
            Concurrency::Allow => {
                (running + waiting >= most).then(|| format!("max_running, {most}, runs were under way"))
            }
            Concurrency::Replace => None,
        }
    }

    /// Lets a run wait for its turn, or says why it does not take place.
    pub(crate) fn admit(&mut self, wanted: Wanted, steps: &mut Vec<Step>) {
        let job = &wanted.job;
        // Runs that are caught up one by one wait for each other, whatever else is said of overlaps.
        let is_one_of_all = wanted.trigger == Trigger::CatchUp && job.policy.catch_up == CatchUp::All;
        if let Some(why) = self.refuses(job).filter(|_| !is_one_of_all) {
            return steps.push(Step::Skip(wanted, why));
        }
        if job.policy.concurrency == Concurrency::Replace && !is_one_of_all {
            let id = job.id.clone();
            for replaced in self.withdraw(&id) {
                steps.push(Step::Skip(replaced, "a newer run took its place".to_owned()));
            }
            let running = self.running.values().filter(|running| running.job.id == id);
            steps.extend(running.map(|running| Step::End(running.ticket)));
        }
        step(&mut self.waiting_of_job, &wanted.job.id, true);
        self.unrecorded |= wanted.run.is_none();
        self.waiting.push_back(wanted);
    }

    /// Those that wait and are not recorded yet; whoever asks records them.
    pub(crate) fn take_unrecorded(&mut self) -> Vec<Wanted> {
        if !std::mem::take(&mut self.unrecorded) {
            return Vec::new();
        }
        self.waiting
            .iter()
            .filter(|wanted| wanted.run.is_none())
            .cloned()
            .collect()
    }

    /// Takes down the number of one that waits; without one, it does not take place.
    pub(crate) fn recorded(&mut self, ticket: u64, run: Option<RunId>) {
        let Some(index) = self.waiting.iter().position(|wanted| wanted.ticket == ticket) else {
            return;
        };
        if run.is_some() {
            self.waiting[index].run = run;
        } else if let Some(wanted) = self.waiting.remove(index) {
            step(&mut self.waiting_of_job, &wanted.job.id, false);
        }
    }

    /// Puts a changed declaration in the place of the one that waiting runs of the job have.
    pub(crate) fn replace_waiting(&mut self, job: &Arc<Job>) {
        for wanted in self.waiting.iter_mut().filter(|wanted| wanted.job.id == job.id) {
            wanted.job = Arc::clone(job);
        }
    }

    /// Drops every run that waits.
    pub(crate) fn withdraw_all(&mut self) -> Vec<Wanted> {
        self.waiting_of_job.clear();
        std::mem::take(&mut self.waiting).into()
    }

    /// Has every run that waits and may begin now do so, in the order they came.
    pub(crate) fn ready(&mut self, plan: &Plan) -> Vec<Step> {
        let mut begun = Vec::new();
        let mut index = 0;
        while let Some(wanted) = self.waiting.get(index) {
            if !self.may_begin(wanted, plan) {
                index += 1;
            } else if let Some(wanted) = self.waiting.remove(index) {
                step(&mut self.waiting_of_job, &wanted.job.id, false);
                self.count(&wanted, true);
                self.running.insert(wanted.ticket, wanted.clone());
                begun.push(Step::Begin(wanted));
            }
        }
        begun
    }

    fn may_begin(&self, wanted: &Wanted, plan: &Plan) -> bool {
        // Whoever asks for a run has it at once: the limits are there for what comes by itself. Thousands may wait, so
        // what says no at once is looked at first.
        let is_by_hand = wanted.trigger == Trigger::Manual;
        let has_room = || u32::try_from(self.running.len()).is_ok_and(|running| running < plan.max_running);
        let may_overlap = || {
            let policy = &wanted.job.policy;
            let overlaps = policy.concurrency == Concurrency::Allow;
            self.running(&wanted.job.id) < if overlaps { policy.max_running } else { 1 }
        };
        (is_by_hand || (has_room() && self.group_has_room(&wanted.job, plan))) && may_overlap()
    }

    fn group_has_room(&self, job: &Job, plan: &Plan) -> bool {
        job.policy.group.as_ref().is_none_or(|group| {
            let limit = plan.groups.get(group).copied().unwrap_or(1);
            self.of_group.get(group).copied().unwrap_or(0) < limit
        })
    }

    /// Takes out a run that ended, or could not begin.
    pub(crate) fn ended(&mut self, ticket: u64) {
        if let Some(wanted) = self.running.remove(&ticket) {
            self.count(&wanted, false);
        }
    }

    fn count(&mut self, wanted: &Wanted, begins: bool) {
        step(&mut self.of_job, &wanted.job.id, begins);
        if let Some(group) = &wanted.job.policy.group {
            step(&mut self.of_group, group, begins);
        }
    }

    /// Drops the runs of a job that wait, when it is stopped or removed; those that were asked for stay.
    pub(crate) fn withdraw(&mut self, job: &JobId) -> Vec<Wanted> {
        if !self.waiting_of_job.contains_key(job) {
            return Vec::new();
        }
        let (gone, others): (VecDeque<Wanted>, VecDeque<Wanted>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|wanted| wanted.job.id == *job && wanted.trigger != Trigger::Manual);
        self.waiting = others;
        for _ in &gone {
            step(&mut self.waiting_of_job, job, false);
        }
        gone.into()
    }
}

/// Counts one up or down; what is none is not there.
fn step<K: Ord + Clone>(counts: &mut BTreeMap<K, u32>, key: &K, up: bool) {
    let count = counts.entry(key.clone()).or_default();
    *count = if up { *count + 1 } else { count.saturating_sub(1) };
    if *count == 0 {
        counts.remove(key);
    }
}
