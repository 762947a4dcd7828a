//! The programs of a job, run on the files of a commit, and what becomes of a commit whose deployment fails.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::command::{Command, Setting};
use super::OnFailure;
use super::memory::{Content, Rejected};
use super::sync::Sync;
use crate::git::ObjectName;
use crate::run::Failure;
use crate::values::CancelReason;

/// What git is told where a program of a deployment calls it: no folder of the repository can pass for one of git's own.
const GUARDS: &[(&str, &str)] = &[
    ("GIT_CONFIG_COUNT", "1"),
    ("GIT_CONFIG_KEY_0", "safe.bareRepository"),
    ("GIT_CONFIG_VALUE_0", "explicit"),
];
/// And that none around the files is theirs.
const CEILING: &str = "GIT_CEILING_DIRECTORIES";

/// Whether a variable is set for every program.
pub(super) fn is_ours(name: &str) -> bool {
    name == CEILING || GUARDS.iter().any(|(own, _)| *own == name)
}

/// Why a program did not do what it should.
pub(super) struct Failed {
    failure: Failure,
    /// Whether it ran, and has said no for good: then the commit is at fault, not what is around it.
    is_verdict: bool,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            is_verdict: false,
        }
    }
}

impl Sync<'_> {
    /// Runs `check` on files that are not published yet.
    pub(super) fn check(&self, commit: &ObjectName, folder: &Path) -> Result<(), Failure> {
        let Some(check) = &self.job.check else { return Ok(()) };
        self.execute(check, (commit, folder), false)
            .map_err(|Failed { failure, .. }| Failure {
                message: format!("the check failed, and nothing was published: {}", failure.message),
                ..failure
            })
    }

    /// Runs `deploy` on the files that are published.
    pub(super) fn deploy(&self, commit: &ObjectName) -> Result<(), Failed> {
        let Some(deploy) = &self.job.deploy else { return Ok(()) };
        self.execute(deploy, (commit, &self.place.published()), false)
    }

    /// Writes the paths that have changed to the file that the programs are told of.
    pub(super) fn note_changes(&self, changes: &[String]) -> Result<(), Failure> {
        let path = self.files.path("changes");
        let lines = changes.iter().fold(String::new(), |lines, path| lines + path + "\n");
        let failed = |error: std::io::Error| Failure::lasting(format!("{} cannot be written: {error}", path.display()));
        std::fs::write(&path, lines).map_err(failed)
    }

    fn execute(
        &self,
        command: &Command,
        (commit, folder): (&ObjectName, &Path),
        rolls_back: bool,
    ) -> Result<(), Failed> {
        if self.ctx.cancel.is_cancelled() {
            return Err(Failure::lasting("it was cut off").into());
        }
        let inherited = self.ctx.surroundings.variables.iter();
        let inherited = inherited.filter(|(name, _)| !name.starts_with("GIT_"));
        let inherited: BTreeMap<String, String> =
            inherited.map(|(name, value)| (name.clone(), value.clone())).collect();
        let previous = match self.memory.pending() {
            Some(rejected) if rolls_back => rejected.commit.to_string(),
            _ => self.previous().map_or_else(String::new, ToString::to_string),
        };
        // By its own name, and by the one that links lead to.
        let around = [
            folder.parent().map(Path::to_owned),
            std::fs::canonicalize(folder)
                .ok()
                .and_then(|real| real.parent().map(Path::to_owned)),
        ];
        let around: Vec<String> = around
            .into_iter()
            .flatten()
            .map(|folder| folder.display().to_string())
            .collect();
        let mut variables: Vec<(&'static str, String)> = vec![
            ("CRON_GIT_COMMIT", commit.to_string()),
            ("CRON_GIT_PREVIOUS", previous),
            ("CRON_GIT_REF", self.job.full_name()),
            ("CRON_GIT_FOLDER", folder.display().to_string()),
            ("CRON_GIT_CHANGES", self.files.path("changes").display().to_string()),
            (
                "CRON_GIT_ROLLBACK",
                if rolls_back { "1".to_owned() } else { String::new() },
            ),
            (CEILING, around.join(":")),
        ];
        variables.extend(GUARDS.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let setting = Setting {
            folder,
            inherited: &inherited,
            variables,
            redactor: &self.git.redactor,
        };
        let ended = command.execute(self.ctx, self.asked, &setting)?;
        command.judge(ended, self.ctx).map(drop).map_err(|failure| Failed {
            is_verdict: !failure.is_transient,
            failure,
        })
    }

    /// What becomes of a commit whose deployment failed.
    pub(super) fn deployment_failed(&mut self, commit: ObjectName, content: Content, failed: Failed) -> Failure {
        let Failed { failure, is_verdict } = failed;
        let what = format!("the deployment of commit {}", commit.short());
        let failure = Failure {
            message: format!("{what} failed: {}", failure.message),
            done: failure.done.map(|done| format!("{what}: {done}")),
            ..failure
        };
        let reason = self.ctx.cancel.reason();
        // Should the next step be cut off, the next run knows of what was edited.
        if let Err(unwritten) = self.remember() {
            return unwritten;
        }
        let is_its_own = !reason.is_some_and(CancelReason::is_from_outside) && is_verdict;
        let has_another = self.previous().is_some_and(|previous| *previous != commit);
        if !(is_its_own && has_another && self.job.on_failure == OnFailure::Rollback) {
            return self.note_failure(commit, content, failure);
        }
        let in_time = if reason.is_some() {
            ", as it did not finish in time"
        } else {
            ""
        };
        let rejected = Rejected {
            commit,
            content,
            message: format!("{}{in_time}", failure.message),
            is_rolled_back: false,
        };
        self.memory.reject(rejected.clone());
        if let Err(unwritten) = self.remember() {
            return unwritten;
        }
        // A run whose time is up has none left: the next one rolls back.
        if reason.is_some() {
            let next = "the next run rolls it back";
            return Failure {
                message: format!("{}; {next}", rejected.message),
                done: failure.done.map(|done| format!("{done}; {next}")),
                ..failure
            };
        }
        self.roll_back(&rejected)
    }

    /// Has the commit before take the place of a rejected one. The run has failed, however that goes.
    pub(super) fn roll_back(&mut self, rejected: &Rejected) -> Failure {
        let Some(good) = self.previous().cloned() else {
            return Failure::lasting(rejected.message.clone());
        };
        let done = self.publish_again(&good, &rejected.commit);
        let done = done.and_then(|()| self.deploy_again(&good));
        let (message, good) = (&rejected.message, good.short());
        if let Err(failure) = done {
            let why = failure.message;
            return Failure::lasting(format!(
                "{message}; rolling back to commit {good} failed as well: {why}"
            ));
        }
        let bad = rejected.commit.short();
        let message = format!(
            "{message}; rolled back to commit {good}, and {bad} will not be tried again until the repository or `deploy` changes"
        );
        self.memory.reject(Rejected {
            message: message.clone(),
            is_rolled_back: true,
            ..rejected.clone()
        });
        self.memory.failing = None;
        match self.remember() {
            Ok(()) => Failure::lasting(message),
            Err(unwritten) => unwritten,
        }
    }

    fn deploy_again(&mut self, good: &ObjectName) -> Result<(), Failure> {
        let job = self.job;
        let Some(deploy) = &job.deploy else { return Ok(()) };
        let deployed = self.execute(deploy, (good, &self.place.published()), true);
        self.note_edits(good);
        deployed.map_err(|failed| failed.failure)
    }

    fn publish_again(&mut self, good: &ObjectName, bad: &ObjectName) -> Result<(), Failure> {
        let run = self.ctx.run_number().to_string();
        let repository = self.repository(good)?;
        if !repository.has(good) {
            let fetched = repository.fetch(&self.job.url, good.as_str(), &self.kept("deployed"));
            // Whole files that are still there are better than none.
            if fetched.is_err() && self.place.publish_kept(good, &mut self.memory, &self.files)? {
                return self.note_changes(&[]);
            }
            fetched?;
        }
        let entries = repository.entries(good)?;
        self.note_changes(&repository.changes(Some(bad).filter(|bad| repository.has(bad)), good)?)?;
        self.place.publish(
            &repository,
            (good, &entries),
            &mut self.memory,
            (&self.files, &run, false),
        )
    }
}
