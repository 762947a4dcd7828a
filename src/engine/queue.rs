//! The runs that wait for their turn: put into the queue, noted once they are recorded, and taken out of it again.

use super::scheduler::{PendingRun, Scheduler};
use crate::state::{RunId, Trigger};
use crate::values::JobId;

impl Scheduler {
    /// Queues a run, whatever its job says of overlaps.
    pub(super) fn queue_up(&mut self, run: PendingRun) {
        if let Some(state) = self.jobs.get_mut(&run.job.id) {
            state.queued += 1;
        }
        self.has_unrecorded |= run.run.is_none();
        if run.trigger == Trigger::Manual {
            let is_manual = |run: &&PendingRun| run.trigger == Trigger::Manual;
            let index = self.queue.iter().take_while(is_manual).count();
            self.queue.insert(index, run);
        } else {
            self.queue.push_back(run);
        }
    }

    /// The number of a run of the job that is queued.
    pub(super) fn queued(&self, job: &JobId) -> Option<RunId> {
        self.queue.iter().find(|run| run.job.id == *job)?.run
    }

    /// Those that are queued and not recorded yet; whoever asks records them.
    pub(super) fn take_unrecorded(&mut self) -> Vec<PendingRun> {
        if !std::mem::take(&mut self.has_unrecorded) {
            return Vec::new();
        }
        self.queue.iter().filter(|run| run.run.is_none()).cloned().collect()
    }

    /// Whether all that are queued are recorded.
    pub(super) fn is_recorded(&self) -> bool {
        !self.has_unrecorded
    }

    /// Notes the number of one that begins.
    pub(super) fn begun_as(&mut self, ticket: u64, id: RunId) {
        if let Some(run) = self.running.get_mut(&ticket) {
            run.run = Some(id);
        }
    }

    /// Notes the number of one that is queued; without one, it does not take place.
    pub(super) fn recorded(&mut self, ticket: u64, id: Option<RunId>) {
        let Some(index) = self.queue.iter().position(|run| run.ticket == ticket) else {
            return;
        };
        if id.is_some() {
            self.queue[index].run = id;
        } else {
            self.take_from_queue(index);
        }
    }

    /// Has whoever is queued and not recorded yet be recorded later.
    pub(super) fn record_later(&mut self) {
        self.has_unrecorded = true;
    }

    /// Takes a run out of the queue, as it could not be recorded; the number of one that was.
    pub(super) fn number_of_queued(&mut self, ticket: u64) -> Option<RunId> {
        let index = self.queue.iter().position(|run| run.ticket == ticket)?;
        match self.queue[index].run {
            Some(id) => Some(id),
            None => self.take_from_queue(index).and(None),
        }
    }

    fn take_from_queue(&mut self, index: usize) -> Option<PendingRun> {
        let run = self.queue.remove(index)?;
        if let Some(state) = self.jobs.get_mut(&run.job.id) {
            state.queued = state.queued.saturating_sub(1);
        }
        self.forget_if_over(&run.job.id);
        Some(run)
    }

    /// Drops the queued runs of a job, when it is stopped or removed; those that were asked for stay.
    pub(super) fn withdraw(&mut self, job: &JobId) -> Vec<PendingRun> {
        if self.jobs.get(job).is_none_or(|state| state.queued == 0) {
            return Vec::new();
        }
        self.take_queued(|run| run.job.id == *job && run.trigger != Trigger::Manual)
    }

    /// Drops one queued run.
    pub(super) fn withdraw_run(&mut self, run: RunId) -> Option<PendingRun> {
        self.take_queued(|queued| queued.run == Some(run)).pop()
    }

    /// Drops every queued run.
    pub(super) fn withdraw_all(&mut self) -> Vec<PendingRun> {
        self.take_queued(|_| true)
    }

    fn take_queued(&mut self, goes: impl Fn(&PendingRun) -> bool) -> Vec<PendingRun> {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue).into_iter().partition(goes);
        self.queue = kept.into();
        for run in &gone {
            if let Some(state) = self.jobs.get_mut(&run.job.id) {
                state.queued = state.queued.saturating_sub(1);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::super::scheduler::Step;
    use super::*;
    use crate::config::{File, Sources, load};

    #[test]
    fn a_run_that_is_taken_back_is_the_same_run_when_it_begins_again() {
        let text = "[jobs.a]\nschedule = \"* * * * * *\"\ncommand = { argv = [\"true\"] }";
        let sources = Sources {
            file: File::Kept(std::sync::Arc::new(vec![("jobs.toml".to_owned(), text.to_owned())])),
            ..Sources::default()
        };
        let plan = load(&sources).unwrap().plan;
        let now = "2026-11-20T12:30:00Z".parse().unwrap();
        let mut scheduler = Scheduler::new(&plan, now);
        let steps = scheduler.due(now + jiff::SignedDuration::from_secs(1));
        let [Step::Begin(run)] = steps.as_slice() else {
            panic!("{steps:?}");
        };
        scheduler.begun_as(run.ticket, RunId(7));
        assert!(scheduler.take_back(run.ticket).is_none());
        assert_eq!(scheduler.queued(&run.job.id), Some(RunId(7)));
    }
}
