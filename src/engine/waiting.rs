//! Runs that wait for their turn: taken down while they wait, and told where their turn never comes.

use jiff::Timestamp;

use super::Engine;
use super::command::Ended;
use super::dispatcher::Wanted;
use super::runs::new_run;
use crate::store::{self, Finish, NewRun, Status};

impl Engine {
    /// Takes down the runs that wait for their turn, so that none is lost without a word.
    pub(super) fn record_waiting(&mut self, now: Timestamp) {
        let waiting = self.dispatcher.take_unrecorded();
        let rows: Vec<(NewRun, Option<String>)> = waiting.iter().map(|wanted| (new_run(wanted, now), None)).collect();
        // Where that fails, they are taken down when they begin.
        for (wanted, run) in waiting.iter().zip(self.journal.record(&rows).unwrap_or_default()) {
            self.dispatcher.recorded(wanted.ticket, run);
        }
    }

    /// Takes down that runs which waited do not take place, and why; whoever waits for one is told.
    pub(super) fn drop_waiting(&mut self, wanted: Vec<Wanted>, why: &str) {
        let now = self.clock.now();
        let mut rows = Vec::new();
        for wanted in wanted {
            let Some(run) = wanted.run else { continue };
            tracing::warn!(job = %wanted.job.id, at = %wanted.scheduled_at, "skipped: {why}");
            let finish = Finish::without_result(Status::Skipped, now, why);
            rows.push(store::Ended {
                run,
                finish,
                telling: None,
            });
            if let Some(reply) = self.runs.replies.remove(&wanted.ticket) {
                let _ = reply.send(Ended {
                    run,
                    status: Status::Skipped,
                    message: why.to_owned(),
                    statistics: None,
                });
            }
        }
        self.finish_in_journal(rows);
    }
}
