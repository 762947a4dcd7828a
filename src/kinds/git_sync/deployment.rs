//! The programs of a job, run on the files of a commit, and what becomes of a commit whose deployment fails.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::command::{Command, Setting};
use super::OnFailure;
use super::memory::Rejected;
use super::sync::Sync;
use crate::git::{ObjectName, Repository};
use crate::run::Failure;
use crate::values::CancelReason;

/// What git is told where a program of a deployment calls it: nothing of the repository is run, and none beside it is found.
const GUARDS: &[(&str, &str)] = &[
    ("GIT_CONFIG_COUNT", "1"),
    ("GIT_CONFIG_KEY_0", "safe.bareRepository"),
    ("GIT_CONFIG_VALUE_0", "explicit"),
];

impl Sync<'_> {
    /// Runs `check` on files that are not published yet.
    pub(super) fn check(&self, commit: &ObjectName, folder: &Path) -> Result<(), Failure> {
        let Some(check) = &self.job.check else { return Ok(()) };
        let checked = self.execute(check, (commit, folder), false);
        checked.map_err(|failure| Failure {
            message: format!("the check failed, and nothing was published: {}", failure.message),
            ..failure
        })
    }

    /// Runs `deploy` on the files that are published.
    pub(super) fn deploy(&self, commit: &ObjectName, changes: &[String]) -> Result<(), Failure> {
        let Some(deploy) = &self.job.deploy else { return Ok(()) };
        self.note_changes(changes)?;
        self.execute(deploy, (commit, &self.place.published()), false)
    }

    fn note_changes(&self, changes: &[String]) -> Result<(), Failure> {
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
    ) -> Result<(), Failure> {
        if self.ctx.cancel.is_cancelled() {
            return Err(Failure::lasting("it was cut off"));
        }
        let is_gits = |name: &str| name.starts_with("GIT_");
        let inherited = self
            .ctx
            .surroundings
            .variables
            .iter()
            .filter(|(name, _)| !is_gits(name));
        let inherited: BTreeMap<String, String> =
            inherited.map(|(name, value)| (name.clone(), value.clone())).collect();
        let previous = self
            .previous()
            .filter(|_| !rolls_back)
            .map_or_else(String::new, ToString::to_string);
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
            ("GIT_CEILING_DIRECTORIES", self.place.folder.display().to_string()),
        ];
        variables.extend(GUARDS.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let setting = Setting {
            folder,
            inherited: &inherited,
            variables,
            redactor: &self.git.redactor,
        };
        let ended = command.execute(self.ctx, self.asked, &setting)?;
        command.judge(ended, self.ctx).map(drop)
    }

    /// What becomes of a commit whose deployment failed.
    pub(super) fn deployment_failed(&mut self, commit: &ObjectName, failure: Failure) -> Failure {
        let reason = self.ctx.cancel.reason();
        let is_its_own = !matches!(reason, Some(CancelReason::Shutdown | CancelReason::Replaced));
        let has_another = self.previous().is_some_and(|previous| previous != commit);
        if !(is_its_own && has_another && self.job.on_failure == OnFailure::Rollback) {
            return self.note_failure(commit, failure);
        }
        let rejected = Rejected {
            commit: commit.clone(),
            declaration: self.job.declaration(),
            message: format!(
                "the deployment of commit {} failed: {}",
                commit.short(),
                failure.message
            ),
            is_rolled_back: false,
        };
        self.memory.rejected = Some(rejected.clone());
        if let Err(unwritten) = self.remember() {
            return unwritten;
        }
        // The time of a run that has none left is up: the next one rolls back.
        if reason.is_some() {
            let message = format!("{}; the next run rolls it back", rejected.message);
            return Failure { message, ..failure };
        }
        self.roll_back(&rejected)
    }

    /// Has the commit before take the place of a rejected one. The run has failed, however that goes.
    pub(super) fn roll_back(&mut self, rejected: &Rejected) -> Failure {
        let Some(good) = self.previous().cloned() else {
            return Failure::lasting(rejected.message.clone());
        };
        let bad = rejected.commit.clone();
        let done = self.publish_again(&good).and_then(|()| match &self.job.deploy {
            Some(deploy) => self.execute(deploy, (&good, &self.place.published()), true),
            None => Ok(()),
        });
        let message = match &done {
            Ok(()) => format!(
                "{}; commit {} is deployed again, and {} is not tried any more",
                rejected.message,
                good.short(),
                bad.short()
            ),
            Err(failure) => format!(
                "{}; and ROLLING BACK to commit {} FAILED: {}",
                rejected.message,
                good.short(),
                failure.message
            ),
        };
        if done.is_ok() {
            self.memory.rejected = Some(Rejected {
                message: message.clone(),
                is_rolled_back: true,
                ..rejected.clone()
            });
            if let Err(unwritten) = self.remember() {
                return unwritten;
            }
        }
        Failure::lasting(message)
    }

    fn publish_again(&mut self, commit: &ObjectName) -> Result<(), Failure> {
        let repository = Repository::open(self.git, &self.job.copy(self.ctx), commit, &self.ctx.cancel)?;
        if !repository.has(commit) {
            repository.fetch(&self.job.url, commit.as_str(), &self.kept("deployed"))?;
        }
        let entries = repository.entries(commit)?;
        self.place
            .publish(&repository, (commit, &entries), &mut self.memory, &self.files)
    }
}
