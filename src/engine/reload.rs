//! Reloads: every source is read on a blocking thread, one reload at a time, then the plan is swapped at once.

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::Engine;
use super::command::{Cause, ConfigReport, LastReload, Reloaded, Reply};
use crate::config::{self, Diff, Loaded, Problem, Problems, Severity, Source, Sources};
use crate::duplistatus::settings;
use crate::store::sqlite::{Unusable, open_write};

/// The configuration in force, and the reloads asked for and under way.
#[derive(Debug)]
pub(super) struct Reloads {
    sources: Sources,
    port: u16,
    loading: JoinSet<Result<Loaded, Problems>>,
    asked: Vec<(Cause, Option<Reply<Reloaded>>)>,
    under_way: Vec<(Cause, Option<Reply<Reloaded>>)>,
    overrides: Result<(), String>,
    last_automatic: Option<Timestamp>,
    pub report: ConfigReport,
}

impl Reloads {
    pub(super) fn new(sources: Sources, loaded: &Loaded, port: u16, now: Timestamp) -> Self {
        let report = ConfigReport {
            source: loaded.source.clone(),
            loaded_at: now,
            problems: loaded.problems.clone(),
            last_reload: None,
        };
        Self {
            sources,
            port,
            loading: JoinSet::new(),
            asked: Vec::new(),
            under_way: Vec::new(),
            overrides: loaded.overrides.clone(),
            last_automatic: None,
            report,
        }
    }

    /// Whether the application's database was asked for its overrides.
    pub(super) fn overrides_are_read(&self) -> bool {
        self.overrides.is_ok()
    }

    /// Why it could not be asked.
    pub(super) fn overrides_error(&self) -> Option<String> {
        self.overrides.clone().err()
    }

    /// Asks for a reload. What is asked for while one is under way is done after it, once for all.
    pub(super) fn ask(&mut self, cause: Cause, reply: Option<Reply<Reloaded>>) {
        self.asked.push((cause, reply));
        self.begin();
    }

    /// Asks for a reload unless one was tried a moment ago.
    pub(super) fn ask_unless_tried(&mut self, cause: Cause, now: Timestamp) {
        let soon = jiff::SignedDuration::try_from(super::SOON).unwrap_or(jiff::SignedDuration::ZERO);
        if self.loading.is_empty()
            && self
                .last_automatic
                .is_none_or(|last| now.duration_since(last).abs() >= soon)
        {
            self.last_automatic = Some(now);
            self.ask(cause, None);
        }
    }

    fn begin(&mut self) {
        if !self.asked.is_empty() && self.loading.is_empty() {
            self.under_way = std::mem::take(&mut self.asked);
            let (sources, port) = (self.sources.clone(), self.port);
            self.loading.spawn_blocking(move || load(&sources, port));
        }
    }

    /// Waits for the sources being read; `None` at once when none are.
    pub(super) async fn next_loaded(&mut self) -> Option<Result<Loaded, Problems>> {
        let loaded = self.loading.join_next().await?;
        Some(loaded.unwrap_or_else(|error| {
            let message = format!("reading the configuration failed, which is a fault of this program: {error}");
            Err(Problems(vec![Problem::of_source(
                Source::BuiltIn,
                Severity::Error,
                message,
            )]))
        }))
    }
}

/// Reads every source, and tells the application the port.
fn load(sources: &Sources, port: u16) -> Result<Loaded, Problems> {
    let mut loaded = config::load(sources)?;
    if loaded.problems.iter().any(|problem| problem.severity.is_error()) {
        return Err(Problems(loaded.problems));
    }
    loaded.problems.extend(publish_port(&loaded, port));
    Ok(loaded)
}

/// Writes the port into the application's row where it differs; gives what was in the way.
fn publish_port(loaded: &Loaded, port: u16) -> Option<Problem> {
    if loaded.overrides.is_err() {
        return None; // The database is not there, or not the application's: that is reported already.
    }
    let path = loaded.plan.default_database_path();
    let published = open_write(&path)
        .map_err(|unusable| unusable.to_string())
        .and_then(|mut connection| {
            settings::publish_port(&mut connection, port)
                .map_err(|error| Unusable::from_sqlite(&path, &error).to_string())
        });
    match published {
        Ok(changed) => {
            if changed {
                tracing::info!(port, "told the application the port");
            }
            None
        }
        Err(why) => {
            let message = format!("the application cannot be told port {port}: {why}");
            Some(Problem::of_source(
                Source::Row(settings::CRON_SERVICE),
                Severity::Warning,
                message,
            ))
        }
    }
}

impl Engine {
    /// Tells the application the port, when the engine starts.
    pub(super) async fn publish_port(&mut self) {
        let port = self.reloads.port;
        let loaded = Loaded {
            plan: (*self.plan).clone(),
            problems: Vec::new(),
            source: String::new(),
            overrides: self.reloads.overrides.clone(),
        };
        let problem = tokio::task::spawn_blocking(move || publish_port(&loaded, port)).await;
        self.reloads.report.problems.extend(problem.ok().flatten());
    }

    /// Puts what was loaded in force, or keeps everything as it is, and tells whoever waits.
    pub(super) fn take_over(&mut self, loaded: Result<Loaded, Problems>) {
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
            Ok(loaded) => self.apply(loaded, cause, now),
            Err(Problems(problems)) => {
                for problem in problems.iter().filter(|problem| problem.severity.is_error()) {
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

    fn apply(&mut self, loaded: Loaded, cause: Cause, now: Timestamp) -> Reloaded {
        let Loaded {
            plan: mut new,
            mut problems,
            source,
            overrides,
        } = loaded;
        problems.extend(self.keep_what_cannot_change(&mut new));
        let diff = Diff::new(&self.plan, &new);
        self.plan = std::sync::Arc::new(new);
        self.server.send_replace(self.plan.server.clone());
        if cause == Cause::Operator
            && let Err(error) = self.journal.lift_stops(None)
        {
            tracing::error!("the operator's stops stay in force: {error}");
        }
        self.fit_timetable(&diff, cause, now);
        self.reloads.overrides = overrides;
        self.reloads.report = ConfigReport {
            source,
            loaded_at: now,
            problems: problems.clone(),
            last_reload: None,
        };
        tracing::info!(cause = cause.as_str(), added = ?names(&diff.added), changed = ?names(diff.changed.keys()), removed = ?names(&diff.removed), "configuration reloaded");
        for problem in &problems {
            tracing::warn!("{problem}");
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
        refused
    }

    /// Makes the timetable fit the new plan: what did not change keeps its next time.
    fn fit_timetable(&mut self, diff: &Diff, cause: Cause, now: Timestamp) {
        for job in &diff.removed {
            self.timetable.deactivate(job);
        }
        for job in self.plan.jobs_in_order() {
            let is_new = diff.added.contains(&job.id) || diff.changed.contains_key(&job.id);
            if !is_new && cause != Cause::Operator {
                continue;
            }
            if job.enabled && !self.journal.stopped().contains(&job.id) {
                self.timetable.replace(job, now);
                self.timetable.activate(job, now);
            } else {
                self.timetable.deactivate(&job.id);
            }
        }
        if cause == Cause::Operator {
            self.timetable
                .order_by(self.plan.jobs_in_order().into_iter().map(|job| &job.id));
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
