//! What happens when runs end: they are taken down, told, and make room for others.

use jiff::Timestamp;

use super::Engine;
use super::command::Ended;
use super::runner::Outcome;
use super::runs::Running;
use crate::notifications::alert::Turn;
use crate::store::sqlite::StopReason;
use crate::store::{self, Finish, Status};

impl Engine {
    /// Takes down how runs ended, and lets those begin that waited for them.
    pub(super) fn finish(&mut self, ended: Vec<(Running, Outcome)>) {
        let now = self.clock.now();
        let mut replies = Vec::new();
        let mut rows = Vec::new();
        for (run, outcome) in ended {
            self.dispatcher.ended(run.wanted.ticket);
            rows.push(self.note_end(&run, &outcome, now));
            if let Some(reply) = self.runs.replies.remove(&run.wanted.ticket) {
                replies.push((reply, run.id, outcome));
            }
        }
        self.finish_in_journal(rows);
        for (reply, run, outcome) in replies {
            // Whoever waited may have hung up.
            let _ = reply.send(Ended {
                run,
                status: outcome.status,
                message: outcome.message,
                statistics: outcome.statistics,
            });
        }
        if self.ending.is_none() {
            let steps = self.dispatcher.ready(&self.plan);
            self.carry_out(steps, now);
        }
    }

    fn note_end(&mut self, run: &Running, outcome: &Outcome, now: Timestamp) -> store::Ended {
        let job = &run.wanted.job;
        let last = self.last_runs.entry(job.id.clone()).or_default();
        let message = outcome.message.as_str();
        let succeeded = outcome.status == Status::Success;
        let was_replaced = run.signals.stop.asked() == Some(StopReason::Replaced);
        if succeeded {
            tracing::info!(job = %job.id, run = %run.id, "{message}");
            last.succeeded_at = Some(now);
            for trouble in outcome
                .troubles
                .iter()
                .filter(|trouble| !last.troubles.contains(trouble))
            {
                tracing::warn!(job = %job.id, run = %run.id, "{trouble}");
            }
            last.troubles.clone_from(&outcome.troubles);
            last.error = None;
        } else {
            tracing::error!(job = %job.id, run = %run.id, status = outcome.status.as_str(), "{message}");
            // A run that gave way to a newer one is no failure of its job.
            if !was_replaced {
                last.error = Some(message.to_owned());
            }
        }
        let turn = if succeeded {
            Turn::Succeeded(message)
        } else {
            Turn::Failed(message)
        };
        let telling = (!was_replaced).then(|| self.tell(job, run.id, turn, now)).flatten();
        let said = bounded(message);
        store::Ended {
            run: run.id,
            finish: Finish {
                status: outcome.status,
                at: now,
                message: succeeded.then(|| said.clone()),
                error: (!succeeded).then_some(said),
                attempts: outcome.attempts,
                output: outcome.statistics.as_ref().map(ToString::to_string),
            },
            telling,
        }
    }

    /// Takes down the ends of runs, and has what they tell delivered.
    pub(super) fn finish_in_journal(&mut self, ended: Vec<store::Ended>) {
        let letters = |run: &store::Ended| run.telling.as_ref().is_some_and(|telling| !telling.letters.is_empty());
        let tells = ended.iter().any(letters);
        self.journal.finish(ended);
        if tells {
            self.posted.notify_one();
        }
    }
}

/// What is kept of a message: its beginning, where it is very long.
fn bounded(message: &str) -> String {
    const MOST: usize = 4096;
    match message.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}
