//! A freshly loaded configuration taking the place of the one in force: whole, at once, and only as far as a running
//! service can change.

use super::Engine;
use super::command::{Cause, LastReload, Reloaded};
use super::reload::Fresh;
use crate::config::{self, Diff, Problem, Problems, Severity, Source};
use jiff::Timestamp;

impl Engine {
    /// Tells the application the port, when the engine starts.
    pub(super) async fn publish_port(&mut self) {
        let (loaded, port) = self.reloads.as_loaded((*self.plan).clone());
        if let Ok(fresh) = tokio::task::spawn_blocking(move || Fresh::publish(loaded, port)).await {
            for problem in fresh
                .loaded
                .problems
                .iter()
                .filter(|problem| !self.reloads.report.problems.contains(problem))
            {
                tracing::warn!("{problem}");
            }
            let problems = fresh.loaded.problems.clone();
            self.reloads.note(&fresh, problems, self.started_at);
        }
    }

    /// Puts what was loaded in force, or keeps everything as it is, and tells whoever waits.
    pub(super) fn take_over(&mut self, loaded: Result<Fresh, Problems>) {
        let now = self.clock.now();
        let asked = std::mem::take(&mut self.reloads.under_way);
        let cause = asked
            .iter()
            .map(|(cause, _)| *cause)
            .find(|cause| *cause == Cause::Operator);
        let cause = cause
            .or_else(|| asked.first().map(|(cause, _)| *cause))
            .unwrap_or(Cause::Operator);
        let answer = match loaded {
            Ok(fresh) => self.apply(&fresh, cause, now),
            Err(Problems(problems)) => {
                // What was told is not told again by every look of our own.
                let told = self
                    .reloads
                    .report
                    .last_reload
                    .as_ref()
                    .is_some_and(|last| !last.applied && last.problems == problems);
                for problem in problems.iter().filter(|problem| !told && problem.severity.is_error()) {
                    tracing::error!(cause = cause.as_str(), "reload refused: {problem}");
                }
                Reloaded::Refused { problems }
            }
        };
        let (applied, problems) = match &answer {
            Reloaded::Applied { problems, .. } => (true, problems.clone()),
            Reloaded::Refused { problems } => (false, problems.clone()),
        };
        self.reloads.report.last_reload = Some(LastReload {
            at: now,
            cause,
            applied,
            problems,
        });
        for reply in asked.into_iter().filter_map(|(_, reply)| reply) {
            let _ = reply.send(answer.clone());
        }
        self.reloads.begin();
    }

    fn apply(&mut self, fresh: &Fresh, cause: Cause, now: Timestamp) -> Reloaded {
        let mut new = fresh.loaded.plan.clone();
        let mut problems = fresh.loaded.problems.clone();
        problems.extend(self.refuse_an_empty_file(&mut new, cause));
        problems.extend(self.keep_what_cannot_change(&mut new));
        let diff = Diff::new(&self.plan, &new);
        self.plan = std::sync::Arc::new(new);
        self.plans.send_replace(std::sync::Arc::clone(&self.plan));
        if cause == Cause::Operator
            && let Err(error) = self.journal.lift_stops(None)
        {
            tracing::error!("the operator's stops stay in force: {error}");
        }
        self.fit_timetable(&diff, cause, now);
        let is_news = cause != Cause::Database || diff != Diff::default() || problems != self.reloads.report.problems;
        self.reloads.note(fresh, problems.clone(), now);
        if is_news {
            tracing::info!(cause = cause.as_str(), added = ?names(&diff.added), changed = ?names(diff.changed.keys()), removed = ?names(&diff.removed), "configuration reloaded");
            for problem in &problems {
                tracing::warn!("{problem}");
            }
        }
        Reloaded::Applied { diff, problems }
    }

    /// Keeps the old value of what cannot change while the service runs, and names each.
    fn keep_what_cannot_change(&self, new: &mut config::Plan) -> Vec<Problem> {
        let old = &self.plan;
        let mut refused = Vec::new();
        let mut refuse = |name: &str, from: String, to: String| {
            let message = format!(
                "{name} cannot change from {from} to {to} while the service runs; it takes effect at the next start"
            );
            refused.push(Problem {
                name: name.to_owned(),
                ..Problem::of_source(
                    Source::File(self.reloads.report.source.clone()),
                    Severity::Warning,
                    message,
                )
            });
        };
        if new.server.host != old.server.host {
            refuse(
                "server.host",
                old.server.host.clone(),
                std::mem::replace(&mut new.server.host, old.server.host.clone()),
            );
        }
        if new.server.port != old.server.port {
            refuse(
                "server.port",
                old.server.port.to_string(),
                std::mem::replace(&mut new.server.port, old.server.port).to_string(),
            );
        }
        if new.state.path != old.state.path {
            let to = std::mem::replace(&mut new.state.path, old.state.path.clone());
            refuse(
                "state.path",
                old.state.path.display().to_string(),
                to.display().to_string(),
            );
        }
        let exposed = !new.server.is_local() && !new.server.allow_anonymous;
        if exposed && new.server.token.is_none() {
            refuse("server.token", "one".to_owned(), "none".to_owned());
            new.server.token.clone_from(&old.server.token);
        }
        refused
    }

    /// A file that was cut short while it was written must not take every job away.
    fn refuse_an_empty_file(&self, new: &mut config::Plan, cause: Cause) -> Option<Problem> {
        if cause != Cause::File || !new.jobs.is_empty() || self.plan.jobs.is_empty() {
            return None;
        }
        new.jobs.clone_from(&self.plan.jobs);
        let message = "the file declares no job any more; the jobs stay until a reload is asked for";
        Some(Problem::of_source(
            Source::File(self.reloads.report.source.clone()),
            Severity::SetAside,
            message,
        ))
    }

    /// Makes the timetable fit the new plan: what did not change keeps its next time.
    fn fit_timetable(&mut self, diff: &Diff, cause: Cause, now: Timestamp) {
        for job in &diff.removed {
            self.deactivate(job);
            self.failing.remove(job);
            self.journal.forget_failing(job);
        }
        for job in self.plan.clone().jobs_in_order() {
            let is_new = diff.added.contains(&job.id) || diff.changed.contains_key(&job.id);
            if !is_new && cause != Cause::Operator {
                continue;
            }
            self.dispatcher.replace_waiting(job);
            if self.dispatcher.timetable.replace(job, now) {
                // What the new times would have been before now was not missed.
                self.journal.mark(std::slice::from_ref(job), now);
                let waiting = self.dispatcher.withdraw(&job.id);
                self.drop_waiting(waiting, "the schedule was changed before its turn came");
            }
            let switched = diff.changed.get(&job.id).is_none_or(|keys| keys.contains(&"enabled"));
            if !switched && cause != Cause::Operator {
                continue; // Active or not, as an operator has left it.
            }
            if job.enabled && !self.journal.stopped().contains(&job.id) {
                self.activate(job, now);
            } else {
                self.deactivate(&job.id);
            }
        }
        if cause == Cause::Operator {
            let plan = self.plan.clone();
            self.dispatcher
                .timetable
                .order_by(plan.jobs_in_order().into_iter().map(|job| &job.id));
        }
        for job in &diff.added {
            let last = self.journal.last_runs(std::iter::once(job));
            self.last_runs.extend(last);
        }
    }
}

fn names<'a>(jobs: impl IntoIterator<Item = &'a crate::values::JobId>) -> Vec<&'a str> {
    jobs.into_iter().map(crate::values::JobId::as_str).collect()
}
