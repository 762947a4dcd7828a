//! What the service would do in a stretch of time: the same scheduler, driven by a clock that jumps from one event
//! to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::scheduler::{PendingRun, Scheduler, Step};
use crate::config::{Job, OnInterrupt, Plan};
use crate::state::Trigger;
use crate::values::JobId;

/// A stretch of time to be simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub from: Timestamp,
    pub to: Timestamp,
    /// When the service is down, if it is.
    pub down: Option<(Timestamp, Timestamp)>,
    pub run_time: SignedDuration,
}

/// Something that would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub at: Timestamp,
    pub job: JobId,
    pub scheduled_at: Timestamp,
    pub what: What,
}

/// What would happen to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A run would begin; late, where it had to wait.
    Runs(Trigger),
    /// A run would not take place, for this reason.
    Skips(String),
    IsCutOff,
}

/// Simulates the jobs of `plan`, telling `event` each thing that would happen, in order.
pub(crate) fn run(plan: &Plan, stretch: Stretch, event: &mut impl FnMut(Event)) {
    let mut simulation = Simulation {
        stretch,
        scheduler: Scheduler::new(plan, stretch.from),
        ends: BTreeSet::new(),
        running: Vec::new(),
    };
    simulation.start(stretch.from, &[], event);
    while let Some(at) = simulation.next().filter(|at| *at <= stretch.to) {
        simulation.step(at, event);
    }
}

struct Simulation {
    stretch: Stretch,
    scheduler: Scheduler,
    ends: BTreeSet<(Timestamp, u64)>,
    running: Vec<PendingRun>,
}

impl Simulation {
    /// The time of the next thing that happens.
    fn next(&self) -> Option<Timestamp> {
        let end = self.ends.first().map(|(at, _)| *at);
        let due = self.scheduler.next_wake();
        end.into_iter()
            .chain(due)
            .chain(self.stretch.down.map(|(from, _)| from))
            .min()
    }

    fn step(&mut self, at: Timestamp, event: &mut impl FnMut(Event)) {
        if let Some((_, up)) = self.stretch.down.filter(|(from, _)| at >= *from) {
            self.stretch.down = None;
            return self.go_down(at, up, event);
        }
        while let Some((_, ticket)) = self.ends.first().copied().filter(|(end, _)| *end <= at) {
            self.ends.pop_first();
            self.running.retain(|run| run.ticket != ticket);
            self.scheduler.ended(ticket);
        }
        let steps = self.scheduler.due(at);
        self.carry_out(steps, at, event);
    }

    /// The service goes down: what runs is cut off, and what comes until it is up again is missed.
    fn go_down(&mut self, at: Timestamp, up: Timestamp, event: &mut impl FnMut(Event)) {
        let mut again = Vec::new();
        for run in std::mem::take(&mut self.running) {
            event(Event {
                at,
                job: run.job.id.clone(),
                scheduled_at: run.scheduled_at,
                what: What::IsCutOff,
            });
            self.scheduler.ended(run.ticket);
            if run.job.policy.on_interrupt == OnInterrupt::Rerun {
                again.push(run.job);
            }
        }
        let queued = self.scheduler.withdraw_all();
        self.ends.clear();
        if up <= self.stretch.to {
            self.scheduler.note_downtime(up);
            let steps = self.scheduler.resume(queued, up);
            self.carry_out(steps, up, event);
            self.start(up, &again, event);
            let steps = self.scheduler.due(up);
            self.carry_out(steps, up, event);
        } else {
            self.stretch.to = at;
        }
    }

    fn start(&mut self, at: Timestamp, again: &[Arc<Job>], event: &mut impl FnMut(Event)) {
        let mut steps = Vec::new();
        for job in self.scheduler.active() {
            let reruns = again.iter().any(|other| other.id == job.id);
            if reruns || job.schedule.has_start() {
                let trigger = if reruns { Trigger::CatchUp } else { Trigger::Schedule };
                let run = self.scheduler.pending(&job, trigger, at);
                self.scheduler.admit(run, &mut steps);
            }
        }
        steps.extend(self.scheduler.ready());
        self.carry_out(steps, at, event);
    }

    fn carry_out(&mut self, steps: Vec<Step>, at: Timestamp, event: &mut impl FnMut(Event)) {
        for step in steps {
            let (run, what) = match step {
                Step::Begin(run) => {
                    let end = at.saturating_add(self.stretch.run_time).unwrap_or(Timestamp::MAX);
                    self.ends.insert((end, run.ticket));
                    self.running.push(run.clone());
                    let what = What::Runs(run.trigger);
                    (run, what)
                }
                Step::Skip(run, skip) => (run, What::Skips(skip.why)),
                Step::End(ticket) => {
                    let ended = self.ends.iter().find(|(_, other)| *other == ticket).copied();
                    if let Some(ended) = ended {
                        self.ends.remove(&ended);
                        self.ends.insert((at, ticket));
                    }
                    continue;
                }
            };
            event(Event {
                at,
                job: Arc::clone(&run.job).id.clone(),
                scheduled_at: run.scheduled_at,
                what,
            });
        }
    }
}
