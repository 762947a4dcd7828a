//! Reloads: every source is read on a thread that may wait, one reload at a time; then the new plan takes the place of
//! the one in force, whole, at once, and only as far as a running service can change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::command::{Cause, ConfigReport, LastReload, Refusal, Reloaded, Reply};
use super::{Engine, LONGEST_SLEEP, SOON, requests};
use crate::config::{self, Diff, File, Loaded, Plan, Problem, Problems, Rows, Source, Sources, without_secrets};
use crate::duplistatus::publish_port;
use crate::duplistatus::settings::{CRON_SERVICE, Overrides};
use crate::sql::SqlError;
use crate::state::{Place, Skip, Store};
use crate::values::{JobId, Severity, within_patience_of};

/// Reads the sources, one reload at a time, and knows what is in force.
#[derive(Debug)]
pub(super) struct Reloader {
    sources: Sources,
    port: u16,
    /// `None` of one that found nothing to read.
    loading: JoinSet<Option<Result<Fresh, Problems>>>,
    asked: Vec<(Cause, Option<Reply<Reloaded>>)>,
    under_way: Vec<(Cause, Option<Reply<Reloaded>>)>,
    overrides: Result<(), String>,
    /// The application's, as far as it is declared.
    database: Option<PathBuf>,
    /// Whether the application was told the port, as far as it could be.
    is_port_told: bool,
    last_look: Option<Timestamp>,
    /// The rows that a reload was last asked for.
    asked_for: Option<Overrides>,
    pub(super) report: ConfigReport,
    /// The files of the declaration in force, without their secrets.
    good: Vec<(String, String)>,
}

/// What was loaded, and what keeps the application from being told the port.
#[derive(Debug)]
pub(super) struct Fresh {
    loaded: Loaded,
    untold_port: Option<Problem>,
}

impl Reloader {
    pub(super) fn new(sources: Sources, loaded: Loaded, port: u16, now: Timestamp) -> Self {
        let good = good_files(&loaded);
        let Loaded {
            problems,
            source,
            files,
            overrides,
            rows,
            ..
        } = loaded;
        let in_force = in_force(&sources, files, &rows);
        Self {
            sources: Sources {
                remembered: rows,
                ..sources
            },
            port,
            loading: JoinSet::new(),
            asked: Vec::new(),
            under_way: Vec::new(),
            overrides,
            database: None,
            is_port_told: true,
            last_look: None,
            asked_for: None,
            report: ConfigReport {
                source,
                loaded_at: now,
                problems,
                last_reload: None,
                in_force,
            },
            good,
        }
    }

    /// Keeps the declaration in force for a start at which it is broken.
    pub(super) async fn keep_last_good(&self, store: &Store) {
        keep(self.good.clone(), store.clone()).await;
    }

    /// Why the application's database could not be asked for its overrides.
    pub(super) fn overrides_error(&self) -> Option<String> {
        self.overrides.clone().err()
    }

    /// Tells the application the port, when the engine starts.
    pub(super) async fn publish_port(&mut self, database: Option<PathBuf>) {
        // Where the database is not there, or not the application's, that is told already.
        let Some(database) = database.filter(|_| self.overrides.is_ok()) else {
            return;
        };
        let port = self.port;
        let told = tokio::task::spawn_blocking(move || tell_port(&database, port)).await;
        if let Ok(Some(problem)) = told {
            tracing::warn!("{problem}");
            self.is_port_told = false;
            self.report.problems.push(problem);
        }
    }

    /// Asks for a reload. What is asked for while one is under way is done after it, once for all.
    pub(super) fn ask(&mut self, cause: Cause, reply: Option<Reply<Reloaded>>) {
        self.asked.push((cause, reply));
        self.begin();
    }

    /// How soon the sources are worth another look of our own, where something was missing.
    pub(super) fn looks_again_after(&self) -> Option<Duration> {
        if self.overrides.is_err() || !self.is_port_told {
            return Some(SOON);
        }
        let is_mismatch = |problem: &Problem| problem.severity == Severity::Mismatch;
        self.report.problems.iter().any(is_mismatch).then_some(LONGEST_SLEEP)
    }

    /// Asks for a reload where something was missing that may be there now, and the last look was a while ago.
    pub(super) fn look_again(&mut self, now: Timestamp, plan: &Plan) {
        let Some(after) = self.looks_again_after() else { return };
        let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::ZERO);
        let is_time = self
            .last_look
            .is_none_or(|last| now.duration_since(last).abs() >= after);
        if self.loading.is_empty() && is_time && plan.default_database.is_some() {
            self.last_look = Some(now);
            self.database = plan.default_database_path();
            self.ask(Cause::Database, None);
        }
    }

    /// Asks for a reload where the rows are not what was read, once for each content they have.
    pub(super) fn look_at_rows(&mut self, texts: Overrides) {
        let is_news = self.sources.remembered.texts != texts && self.asked_for.as_ref() != Some(&texts);
        self.asked_for = Some(texts);
        if is_news {
            self.ask(Cause::Database, None);
        }
    }

    fn begin(&mut self) {
        if self.asked.is_empty() || !self.loading.is_empty() {
            return;
        }
        self.under_way = std::mem::take(&mut self.asked);
        let (sources, port) = (self.sources.clone(), self.port);
        // Our own look puts in force what a start would: it is there to repair a start.
        let as_a_start = self.under_way.iter().all(|(cause, _)| *cause == Cause::Database);
        let awaited = self.database.clone().filter(|_| as_a_start && self.overrides.is_err());
        self.loading.spawn_blocking(move || {
            let is_there = awaited.is_none_or(|database| database.is_file());
            is_there.then(|| Fresh::load(&sources, port, as_a_start))
        });
    }

    /// Waits for the sources being read; `None` at once when none are.
    pub(super) async fn next_loaded(&mut self) -> Option<Option<Result<Fresh, Problems>>> {
        let loaded = self.loading.join_next().await?;
        Some(loaded.unwrap_or_else(|error| {
            let message = format!("reading the configuration failed, a bug in this program: {error}");
            let problem = Problem::of_source(Source::BuiltIn, Severity::Error, message);
            Some(Err(Problems(vec![problem])))
        }))
    }

    /// Goes on after a look that found nothing to read.
    pub(super) fn pass_over(&mut self) {
        self.under_way.clear();
        self.begin();
    }

    /// Notes what is in force now.
    fn note(&mut self, loaded: Loaded, is_port_told: bool, problems: Vec<Problem>, now: Timestamp) {
        self.overrides = loaded.overrides;
        self.is_port_told = is_port_told;
        self.report = ConfigReport {
            source: loaded.source,
            loaded_at: now,
            problems,
            last_reload: self.report.last_reload.take(),
            in_force: in_force(&self.sources, loaded.files, &loaded.rows),
        };
        self.sources.remembered = loaded.rows;
    }

    /// Answers whoever asked for the reload that is over.
    fn answer(&mut self, asked: Vec<(Cause, Option<Reply<Reloaded>>)>, last: LastReload, answer: &Reloaded) {
        self.report.last_reload = Some(last);
        for reply in asked.into_iter().filter_map(|(_, reply)| reply) {
            let _ = reply.send(answer.clone());
        }
        self.begin();
    }

    /// Whether the last reload was refused for the same reasons.
    fn was_refused_for(&self, problems: &[Problem]) -> bool {
        let last = self.report.last_reload.as_ref();
        last.is_some_and(|last| !last.applied && last.problems == problems)
    }

    fn problem(&self, name: &str, severity: Severity, message: String) -> Problem {
        Problem {
            name: name.to_owned(),
            ..Problem::of_source(Source::File(self.report.source.clone()), severity, message)
        }
    }
}

impl Fresh {
    /// Reads every source and tells the application the port.
    fn load(sources: &Sources, port: u16, as_a_start: bool) -> Result<Self, Problems> {
        let loaded = config::load(sources)?;
        if !as_a_start && loaded.problems.iter().any(|problem| problem.severity.is_error()) {
            return Err(Problems(loaded.problems));
        }
        let database = loaded.plan.default_database_path();
        let database = database.filter(|_| loaded.overrides.is_ok());
        Ok(Self {
            untold_port: database.and_then(|database| tell_port(&database, port)),
            loaded,
        })
    }
}

/// Writes the port into the application's row where it differs; gives what is in the way.
fn tell_port(database: &Path, port: u16) -> Option<Problem> {
    let file = database.to_owned();
    let late = |_| {
        Err(SqlError::lasting(format!(
            "database {} does not answer",
            database.display()
        )))
    };
    match within_patience_of(database, move || publish_port(&file, port)).unwrap_or_else(late) {
        Ok(true) => tracing::info!(
            port,
            "wrote the port into the row cron_service, where the application looks for it"
        ),
        Ok(false) => {}
        Err(why) => {
            let message = format!("could not yet write port {port} for the application: {why}");
            return Some(Problem::of_source(
                Source::Row(CRON_SERVICE),
                Severity::Ignored,
                message,
            ));
        }
    }
    None
}

/// The sources as they were read.
fn in_force(sources: &Sources, files: Vec<(String, String)>, rows: &Rows) -> Arc<Sources> {
    Arc::new(Sources {
        file: File::Kept(Arc::new(files)),
        remembered: rows.clone(),
        is_in_force: true,
        ..sources.clone()
    })
}

/// The files of a declaration that was loaded, without their secrets.
fn good_files(loaded: &Loaded) -> Vec<(String, String)> {
    let files = loaded.files.iter().filter(|_| loaded.is_file);
    files
        .map(|(name, text)| (name.clone(), without_secrets(text)))
        .collect()
}

/// Keeps the declaration that was loaded, without its secrets, for a start at which it is broken.
pub(crate) fn keep_last_good(loaded: &Loaded, store: &Store) -> impl Future<Output = ()> + Send + use<> {
    keep(good_files(loaded), store.clone())
}

async fn keep(files: Vec<(String, String)>, store: Store) {
    if let Err(why) = store.keep_declaration(files).await {
        tracing::warn!("the last good configuration could not be saved: {why}");
    }
}

impl Engine {
    /// Has the leader read its sources again, then reads those of this replica; whoever asked is told of both.
    pub(super) fn reload_everywhere(&mut self, reply: Reply<Reloaded>) {
        let (own, loaded) = oneshot::channel();
        self.reloader.ask(Cause::Operator, Some(own));
        let store = self.journal.store.clone();
        tokio::spawn(async move {
            let of_leader = requests::reload(&store).await;
            let Ok(answer) = loaded.await else { return };
            let Err(Refusal::State(why)) = of_leader else {
                let _ = reply.send(answer);
                return;
            };
            // It is the leader's that matters.
            let message = format!("it did not reload: {why}");
            let of_leader = Problem::of_source(Source::Replica, Severity::Error, message);
            let (Reloaded::Applied { problems, .. } | Reloaded::Refused { problems }) = answer;
            let problems = [vec![of_leader], problems].concat();
            let _ = reply.send(Reloaded::Refused { problems });
        });
    }

    /// Puts what was loaded in force, or keeps everything as it is, and tells whoever waits.
    pub(super) async fn apply_reload(&mut self, loaded: Result<Fresh, Problems>) {
        let now = self.clock.now();
        let asked = std::mem::take(&mut self.reloader.under_way);
        let mut causes = asked.iter().map(|(cause, _)| *cause);
        let first = causes.next().unwrap_or(Cause::Operator);
        let is_operator = causes.any(|cause| cause == Cause::Operator);
        let cause = if is_operator { Cause::Operator } else { first };
        let answer = match loaded {
            Ok(fresh) => self.apply_plan(fresh, cause, now).await,
            Err(Problems(problems)) => {
                // What was told is not told again by every look of our own.
                let is_news = !self.reloader.was_refused_for(&problems);
                for problem in problems.iter().filter(|problem| is_news && problem.severity.is_error()) {
                    tracing::error!(cause = cause.as_str(), "reload refused: {problem}");
                }
                Reloaded::Refused { problems }
            }
        };
        let (applied, problems) = match &answer {
            Reloaded::Applied { problems, .. } => (true, problems.clone()),
            Reloaded::Refused { problems } => (false, problems.clone()),
        };
        let last = LastReload {
            at: now,
            cause,
            applied,
            problems,
        };
        self.reloader.answer(asked, last, &answer);
    }

    async fn apply_plan(&mut self, fresh: Fresh, cause: Cause, now: Timestamp) -> Reloaded {
        let Fresh { loaded, untold_port } = fresh;
        let (old, mut new) = (self.plan(), loaded.plan.clone());
        new.keep_unchanged(&old);
        let mut problems = loaded.problems.clone();
        let is_port_told = untold_port.is_none();
        problems.extend(untold_port);
        if new.state.place == old.state.place {
            self.reloader.good = good_files(&loaded);
            if self.is_leading() {
                self.reloader.keep_last_good(&self.journal.store).await;
            }
        }
        problems.extend(self.refuse_an_empty_file(&old, &mut new, cause));
        problems.extend(self.keep_what_cannot_change(&old, &mut new));
        let diff = Diff::new(&old, &new);
        self.plans.send_replace(Arc::new(new));
        if cause == Cause::Operator && self.is_leading() {
            match self.journal.store.lift_stops(None).await {
                Ok(()) => self.journal.stopped.clear(),
                Err(error) => tracing::error!("the operator's stops stay in force: {error}"),
            }
        }
        self.apply_to_jobs(&diff, cause, now).await;
        let known = std::mem::take(&mut self.reloader.report.problems);
        let is_news = cause != Cause::Database || diff != Diff::default() || problems != known;
        self.reloader.note(loaded, is_port_told, problems.clone(), now);
        if is_news {
            let (added, removed) = (in_words(&diff.added), in_words(&diff.removed));
            let changed = diff
                .changed
                .iter()
                .map(|(job, keys)| format!("{job} ({})", keys.join(", ")));
            let changed = changed.collect::<Vec<_>>().join(", ");
            tracing::info!(
                cause = cause.as_str(),
                added,
                changed,
                removed,
                "configuration reloaded"
            );
            for problem in problems.iter().filter(|problem| !known.contains(problem)) {
                tracing::warn!("{problem}");
            }
        }
        Reloaded::Applied { diff, problems }
    }

    /// Keeps the old value of what cannot change while the service runs, and names each.
    fn keep_what_cannot_change(&self, old: &Plan, new: &mut Plan) -> Vec<Problem> {
        let mut refused = Vec::new();
        let mut refuse = |name: &str, from: String, to: String| {
            let message = format!(
                "{name} cannot change from {from} to {to} while the service runs; it takes effect at the next start"
            );
            refused.push(self.reloader.problem(name, Severity::Warning, message));
        };
        if new.server.host != old.server.host {
            let to = std::mem::replace(&mut new.server.host, old.server.host.clone());
            refuse("server.host", old.server.host.clone(), to);
        }
        if new.server.port != old.server.port {
            let to = std::mem::replace(&mut new.server.port, old.server.port);
            refuse("server.port", old.server.port.to_string(), to.to_string());
        }
        if new.state.place != old.state.place {
            let key = match (&old.state.place, &new.state.place) {
                (Place::File(_), Place::File(_)) => "state.path",
                (Place::Server { path: from, .. }, Place::Server { path: to, .. }) if from != to => "state.path",
                _ => "state.url",
            };
            let to = std::mem::replace(&mut new.state.place, old.state.place.clone());
            let (from, to) = (old.state.place.shown(), to.shown());
            if from == to {
                refuse(key, "one user or password".to_owned(), "another".to_owned());
            } else {
                refuse(key, from, to);
            }
        }
        let exposed = !new.server.is_local() && !new.server.allow_anonymous;
        if exposed && new.server.token.is_none() {
            refuse("server.token", "one".to_owned(), "none".to_owned());
            new.server.token.clone_from(&old.server.token);
        }
        refused
    }

    /// A file that was cut short while it was written must not take every job away.
    fn refuse_an_empty_file(&self, old: &Plan, new: &mut Plan, cause: Cause) -> Option<Problem> {
        if cause != Cause::File || !new.jobs.is_empty() || old.jobs.is_empty() {
            return None;
        }
        (new.jobs, new.order) = (old.jobs.clone(), old.order.clone());
        let message = "the file no longer declares any job; the current jobs stay until a reload is requested";
        Some(self.reloader.problem("", Severity::Ignored, message.to_owned()))
    }

    /// Makes the scheduler fit the new plan: what did not change keeps its next time.
    async fn apply_to_jobs(&mut self, diff: &Diff, cause: Cause, now: Timestamp) {
        let plan = self.plan();
        self.scheduler.set_limits(&plan);
        for job in &diff.removed {
            self.deactivate(job).await;
            self.scheduler.remove(job);
            // It is told by the store; a job that is declared again is told to fail anew.
            let _ = self.journal.store.forget_failing(job.clone()).await;
        }
        for job in &diff.added {
            self.scheduler.declare(&plan.jobs[job]);
        }
        for job in plan.jobs_in_order() {
            let is_new = diff.added.contains(&job.id) || diff.changed.contains_key(&job.id);
            if !is_new && cause != Cause::Operator {
                continue;
            }
            if self.scheduler.redeclare(job, now) {
                // What the new times would have been before now was not missed.
                self.record_activations(vec![(job.id.clone(), job.times())], now).await;
                let queued = self.scheduler.withdraw(&job.id);
                self.drop_queued(queued, Skip::stopped("the schedule changed while the run was queued"))
                    .await;
            }
            let is_switched = diff.changed.get(&job.id).is_none_or(|keys| keys.contains(&"enabled"));
            if !is_switched && cause != Cause::Operator {
                continue; // Active or not, as an operator has left it.
            }
            if job.enabled && !self.journal.stopped.contains(&job.id) {
                self.activate(&job.id, now).await;
            } else {
                self.deactivate(&job.id).await;
            }
        }
        if cause == Cause::Operator {
            self.scheduler.order_by(plan.jobs_in_order().map(|job| &job.id));
        }
        self.read_last_runs(diff.added.clone()).await;
    }
}

fn in_words(jobs: &[JobId]) -> String {
    jobs.iter().map(JobId::as_str).collect::<Vec<_>>().join(", ")
}
