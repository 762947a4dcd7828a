//! The kind `git_sync`: keeps a folder as a branch, a tag or a commit of a repository has it, and deploys what has changed.

mod check;
mod deployment;
mod dry_run;
mod in_place;
mod layout;
mod memory;
mod sync;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::command::Command;
use super::programs::{AFTER_THE_KILL, with_programs};
use crate::git::{Git, GitError, GitHost, ObjectName, RefName, Remote};
use crate::process::{self, Asked};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::{CheckedDatabase, Mode};
use crate::values::{Issue, Secret, digest};
use memory::Files;

/// The keys of `[jobs.<id>.git_sync]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitSync {
    url: Remote,
    branch: Option<RefName>,
    tag: Option<RefName>,
    commit: Option<ObjectName>,
    /// Files and folders of the repository: only a change of one of them is deployed.
    #[serde(default)]
    paths: Vec<String>,
    folder: PathBuf,
    #[serde(default)]
    layout: Layout,
    /// Run on the new files before they are published.
    check: Option<Box<Command>>,
    /// Run on the files once they are published.
    deploy: Option<Box<Command>>,
    #[serde(default)]
    on_failure: OnFailure,
    /// How many releases are kept beside the current one.
    #[serde(default = "three")]
    keep: usize,
    verify: Option<Verify>,
    webhook: Option<Webhook>,
}

/// How the files of a commit come into the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Layout {
    /// Into a folder of their own, which the link `current` leads to.
    #[default]
    Releases,
    /// In the place of those of the commit before.
    InPlace,
}

/// What becomes of a commit whose deployment fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnFailure {
    /// It stays, and is deployed again.
    #[default]
    Keep,
    /// The commit before takes its place, and it is not tried again.
    Rollback,
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Verify {
    /// The lines of an `allowed_signers` file.
    signers: Secret,
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Webhook {
    secret: Secret,
}

fn three() -> usize {
    3
}

impl GitSync {
    /// The full name of what is asked for.
    fn full_name(&self) -> String {
        match (&self.branch, &self.tag, &self.commit) {
            (Some(branch), ..) => format!("refs/heads/{}", branch.as_str()),
            (None, Some(tag), _) => format!("refs/tags/{}", tag.as_str()),
            (None, None, commit) => commit.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// The declared paths as git has them, in order; of none, the whole repository.
    fn declared_paths(&self) -> impl Iterator<Item = String> {
        let paths = self.paths.iter().map(|path| {
            let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
            parts.collect::<Vec<&str>>().join("/")
        });
        let mut paths: Vec<String> = paths.collect();
        if paths.is_empty() {
            paths.push(String::new());
        }
        paths.sort();
        paths.dedup();
        paths.into_iter()
    }

    /// The folder, in full.
    fn whole_folder(&self) -> Result<PathBuf, String> {
        std::path::absolute(&self.folder).map_err(|error| error.to_string())
    }

    /// The files that the service keeps of the folder, whatever the job is called.
    fn files(&self, ctx: &RunContext) -> Result<Files, String> {
        let name = digest(self.whole_folder()?.display().to_string());
        Ok(Files::new(
            ctx.store.folder_beside("git").join("folders").join(&name[..16]),
        ))
    }

    /// Tells these files from those of an earlier declaration.
    fn place(&self) -> Result<String, String> {
        Ok(format!("{:?} in {}", self.layout, self.whole_folder()?.display()))
    }

    /// What a deployment depends on besides the files.
    fn declaration(&self) -> String {
        let deploy = self.deploy.as_ref().map(|deploy| deploy.identity()).unwrap_or_default();
        digest(&deploy)
    }

    /// What is declared of the host of the repository.
    fn host<'a>(&self, ctx: &'a RunContext) -> Option<&'a GitHost> {
        ctx.git_hosts.get(self.url.host.as_ref()?)
    }

    /// The program git, with what the host of the repository asks for.
    fn git<'a>(&self, ctx: &'a RunContext, asked: &'a Asked) -> Result<Git<'a>, GitError> {
        // By these a service that was killed knows its programs again.
        let of_run = [
            (process::STATE, ctx.store.place()),
            (process::RUN, ctx.run_number().to_string()),
        ];
        let git = Git::new(
            &ctx.surroundings,
            of_run,
            (&self.url, self.host(ctx)),
            (asked, &ctx.cancel),
        )?;
        git.version()?;
        Ok(git)
    }

    /// The folder of the copy of the repository, which jobs share that fetch the same with the same credentials.
    fn copy(&self, ctx: &RunContext) -> PathBuf {
        let login = self
            .host(ctx)
            .map(|host| (host.username.as_deref(), host.token.is_some(), host.ssh_key.is_some()));
        let name = digest(format!("{} {login:?}", self.url));
        ctx.store.folder_beside("git").join("repositories").join(&name[..16])
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        Self {
            is_transient: error.is_transient,
            ..Self::lasting(error.message)
        }
    }
}

impl Kind for GitSync {
    fn database(&self) -> Option<Mode> {
        None
    }

    fn check(&self, _database: Option<&CheckedDatabase>) -> Vec<Issue> {
        self.issues()
    }

    fn takes_to_end(&self) -> std::time::Duration {
        let commands = self.check.iter().chain(&self.deploy);
        let longest = commands
            .map(|command| command.takes_to_be_killed())
            .max()
            .unwrap_or_default();
        longest.saturating_add(AFTER_THE_KILL)
    }

    fn git_host(&self) -> Option<&str> {
        self.url.host.as_deref()
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.folder)
    }

    fn webhook(&self) -> Option<&Secret> {
        self.webhook.as_ref().map(|webhook| &webhook.secret)
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        with_programs(ctx, self, sync::sync).await
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        with_programs(ctx, self, |job, ctx, asked| Ok(Some(dry_run::plan(job, ctx, asked)))).await
    }

    async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        with_programs(ctx, self, |job, ctx, asked| Ok(job.examined(ctx, asked))).await
    }
}
