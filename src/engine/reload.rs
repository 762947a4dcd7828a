//! Reloads: every source is read on a blocking thread, one reload at a time, then the plan is swapped at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::command::{Cause, ConfigReport, Reloaded, Reply};
use super::{LONGEST_NAP, SOON};
use crate::config::{self, File, Loaded, Problem, Problems, Severity, Source, Sources, without_secrets};
use crate::duplistatus::settings::{self, Overrides};
use crate::store::last_good;
use crate::store::sqlite::{Unusable, open_write};

/// How long telling the port waits for another writer; it is tried again.
const PATIENCE: Duration = Duration::from_secs(1);

/// The configuration in force, and the reloads asked for and under way.
#[derive(Debug)]
pub(super) struct Reloads {
    sources: Sources,
    port: u16,
    loading: JoinSet<Result<Fresh, Problems>>,
    asked: Vec<(Cause, Option<Reply<Reloaded>>)>,
    pub(super) under_way: Vec<(Cause, Option<Reply<Reloaded>>)>,
    overrides: Result<(), String>,
    /// Whether the application was told the port, as far as it could be.
    port_is_told: bool,
    last_look: Option<Timestamp>,
    /// The rows that a reload was last asked for.
    asked_for: Option<Overrides>,
    pub(super) report: ConfigReport,
}

impl Reloads {
    pub(super) fn new(mut sources: Sources, loaded: &Loaded, port: u16, now: Timestamp) -> Self {
        sources.remembered = loaded.rows.clone();
        let report = ConfigReport {
            source: loaded.source.clone(),
            loaded_at: now,
            problems: loaded.problems.clone(),
            last_reload: None,
            in_force: in_force(&sources, loaded),
        };
        Self {
            sources,
            port,
            loading: JoinSet::new(),
            asked: Vec::new(),
            under_way: Vec::new(),
            overrides: loaded.overrides.clone(),
            port_is_told: true,
            last_look: None,
            asked_for: None,
            report,
        }
    }

    /// What was loaded for the start, with the plan made of it, and the port.
    pub(super) fn as_loaded(&self, plan: config::Plan) -> (Loaded, u16) {
        let loaded = Loaded {
            plan,
            problems: self.report.problems.clone(),
            source: self.report.source.clone(),
            files: Vec::new(),
            overrides: self.overrides.clone(),
            rows: self.sources.remembered.clone(),
        };
        (loaded, self.port)
    }

    /// Why the application's database could not be asked for its overrides.
    pub(super) fn overrides_error(&self) -> Option<String> {
        self.overrides.clone().err()
    }

    /// Takes down what is in force now.
    pub(super) fn note(&mut self, fresh: &Fresh, problems: Vec<Problem>, now: Timestamp) {
        self.overrides.clone_from(&fresh.loaded.overrides);
        self.port_is_told = fresh.port_is_told;
        self.sources.remembered = fresh.loaded.rows.clone();
        let source = fresh.loaded.source.clone();
        // What was loaded for the start is noted without its files.
        let in_force = if fresh.loaded.files.is_empty() {
            Arc::clone(&self.report.in_force)
        } else {
            in_force(&self.sources, &fresh.loaded)
        };
        self.report = ConfigReport {
            source,
            loaded_at: now,
            problems,
            last_reload: self.report.last_reload.take(),
            in_force,
        };
    }

    /// Asks for a reload. What is asked for while one is under way is done after it, once for all.
    pub(super) fn ask(&mut self, cause: Cause, reply: Option<Reply<Reloaded>>) {
        self.asked.push((cause, reply));
        self.begin();
    }

    /// How soon the sources are worth another look of our own, where something was missing.
    pub(super) fn looks_again_after(&self) -> Option<Duration> {
        if self.overrides.is_err() || !self.port_is_told {
            return Some(SOON);
        }
        let mismatch = self
            .report
            .problems
            .iter()
            .any(|problem| problem.severity == Severity::Mismatch);
        mismatch.then_some(LONGEST_NAP)
    }

    /// Asks for a reload where something was missing and the last look was a while ago.
    pub(super) fn look_again(&mut self, now: Timestamp) {
        let Some(after) = self.looks_again_after() else { return };
        let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::ZERO);
        if self.loading.is_empty()
            && self
                .last_look
                .is_none_or(|last| now.duration_since(last).abs() >= after)
        {
            self.last_look = Some(now);
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

    pub(super) fn begin(&mut self) {
        if !self.asked.is_empty() && self.loading.is_empty() {
            self.under_way = std::mem::take(&mut self.asked);
            let (sources, port) = (self.sources.clone(), self.port);
            // Our own look puts in force what a start would: it is there to mend a start.
            let as_a_start = self.under_way.iter().all(|(cause, _)| *cause == Cause::Database);
            self.loading
                .spawn_blocking(move || Fresh::load(&sources, port, as_a_start));
        }
    }

    /// Waits for the sources being read; `None` at once when none are.
    pub(super) async fn next_loaded(&mut self) -> Option<Result<Fresh, Problems>> {
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

/// The sources as they were read for `loaded`.
fn in_force(sources: &Sources, loaded: &Loaded) -> Arc<Sources> {
    Arc::new(Sources {
        file: File::Kept(Arc::new(loaded.files.clone())),
        remembered: loaded.rows.clone(),
        is_in_force: true,
        ..sources.clone()
    })
}

/// Keeps the declaration that was loaded, without its secrets, for a start at which it is broken.
pub(crate) fn keep_last_good(sources: &Sources, loaded: &Loaded) {
    if !matches!(sources.file.resolve(), File::Path(_)) {
        return;
    }
    let files = loaded.files.iter();
    let kept: Vec<(String, String)> = files
        .map(|(name, text)| (name.clone(), without_secrets(text)))
        .collect();
    if let Err(why) = last_good::keep(&loaded.plan.state.path, &kept) {
        tracing::warn!("the configuration cannot be kept for a start at which it is broken: {why}");
    }
}

/// What was loaded, and whether the application was told the port.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) loaded: Loaded,
    pub(super) port_is_told: bool,
}

impl Fresh {
    /// Reads every source and tells the application the port.
    fn load(sources: &Sources, port: u16, as_a_start: bool) -> Result<Self, Problems> {
        let loaded = config::load(sources)?;
        if !as_a_start && loaded.problems.iter().any(|problem| problem.severity.is_error()) {
            return Err(Problems(loaded.problems));
        }
        // One that names another state is kept there once that is in use.
        if loaded.plan.state.path.exists() {
            keep_last_good(sources, &loaded);
        }
        Ok(Self::publish(loaded, port))
    }

    /// Writes the port into the application's row where it differs; what is in the way becomes a problem.
    pub(super) fn publish(mut loaded: Loaded, port: u16) -> Self {
        if loaded.overrides.is_err() {
            // The database is not there, or not the application's: that is told already.
            return Self {
                loaded,
                port_is_told: true,
            };
        }
        let path = loaded.plan.default_database_path();
        let Some(path) = path else {
            return Self {
                loaded,
                port_is_told: true,
            };
        };
        let published = open_write(&path)
            .map_err(|unusable| unusable.to_string())
            .and_then(|connection| {
                connection
                    .busy_timeout(PATIENCE)
                    .and_then(|()| settings::publish_port(&connection, port))
                    .map_err(|error| Unusable::from_sqlite(&path, &error).to_string())
            });
        match &published {
            Ok(true) => tracing::info!(
                port,
                "wrote the port into the row cron_service, where the application looks for it"
            ),
            Ok(false) => {}
            Err(why) => {
                let message = format!("the application cannot be told port {port} yet: {why}");
                loaded.problems.push(Problem::of_source(
                    Source::Row(settings::CRON_SERVICE),
                    Severity::SetAside,
                    message,
                ));
            }
        }
        Self {
            loaded,
            port_is_told: published.is_ok(),
        }
    }
}
