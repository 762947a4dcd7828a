//! A run: what the repository has, what of it is new, and what becomes of that. What is remembered is written before each step,
//! so that a run which was cut off at any of them is finished by the next one.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::json;

use super::layout::Place;
use super::memory::{Deployed, Failing, Files, Memory, Rejected};
use super::{GitSync, Layout};
use crate::git::{self, Git, GitError, ObjectName, Repository};
use crate::process::Asked;
use crate::run::{Failure, Report, RunContext};
use crate::values::{CancelReason, iso, later, plural};

/// After so many failures of one commit, the next attempt is put off: by so long, twice as long after each, and a day at most.
const FAILURES: u32 = 3;
const PAUSE: SignedDuration = SignedDuration::from_mins(10);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// Does the work of a run.
pub(super) fn sync(job: &GitSync, ctx: &RunContext, asked: &Asked) -> Result<Report, Failure> {
    let files = super::files(ctx);
    let _lock = git::lock(&files.path("lock"), &ctx.cancel)?;
    let git = job.git(ctx, asked)?;
    let memory = files.recall(&job.place().map_err(Failure::lasting)?);
    let mut sync = Sync {
        job,
        ctx,
        asked,
        git: &git,
        place: Place::of(job)?,
        files,
        memory,
    };
    sync.run()
}

/// A run under way.
pub(super) struct Sync<'a> {
    pub job: &'a GitSync,
    pub ctx: &'a RunContext,
    pub asked: &'a Asked,
    pub git: &'a Git<'a>,
    pub place: Place,
    pub files: Files,
    pub memory: Memory,
}

impl<'a> Sync<'a> {
    fn run(&mut self) -> Result<Report, Failure> {
        self.place.sweep(&self.files)?;
        let seen = self.look();
        if let Some(rejected) = self.memory.to_roll_back(self.job, seen.as_ref().ok()) {
            return Err(self.roll_back(&rejected));
        }
        let seen = seen?;
        self.may_be_tried(&seen)?;
        if self.is_settled(&seen) {
            return self.unchanged(&seen);
        }
        let repository = self.repository(&seen)?;
        let source = match &self.job.commit {
            Some(commit) => commit.to_string(),
            None => self.job.full_name(),
        };
        let commit = repository.fetch(&self.job.url, &source, &self.kept("seen"))?;
        if commit != seen {
            self.may_be_tried(&commit)?;
        }
        self.memory.seen = Some(commit.clone());
        self.remember()?;
        if let Some(verify) = &self.job.verify {
            let signers = verify.signers.fresh().map_err(Failure::lasting)?;
            repository.verify(&commit, signers.reveal())?;
        }
        let paths: BTreeMap<String, String> = repository.objects(&commit, &self.job.paths)?.into_iter().collect();
        let Some(why) = self.due(&paths) else {
            return self.settle(&commit);
        };
        tracing::info!(job = %self.ctx.job, commit = commit.as_str(), "deploys: {why}");
        let subject = repository.subject(&commit)?;
        let published = self.publish(&repository, &commit);
        published.map_err(|failure| self.note_failure(&commit, failure))?;
        let changes = repository.changes(self.previous(), &commit)?;
        // Others may use the copy while this is deployed.
        drop(repository);
        if let Err(failure) = self.deploy(&commit, &changes) {
            return Err(self.deployment_failed(&commit, failure));
        }
        let deployed = Deployed {
            commit: commit.clone(),
            paths,
            declaration: self.job.declaration(),
            same_as: commit.clone(),
        };
        self.is_deployed(deployed)?;
        let files = plural(changes.len() as u64, "file");
        Ok(Report {
            message: format!("deployed {} ({subject}): {files} changed", commit.short()),
            statistics: Some(json!({ "commit": commit, "deployed": true, "changed": changes.len() })),
            warnings: Vec::new(),
        })
    }

    /// The commit that the repository has now, which costs one question.
    fn look(&self) -> Result<ObjectName, Failure> {
        if let Some(commit) = &self.job.commit {
            return Ok(commit.clone());
        }
        let name = self.job.full_name();
        let found = git::ask(self.git, &self.job.url, &name)?;
        found.ok_or_else(|| Failure::lasting(format!("{} has no {name}", self.job.url)))
    }

    /// A name that the copy keeps a commit by.
    pub(super) fn kept(&self, name: &str) -> String {
        format!("refs/jobs/{}/{name}", self.ctx.job)
    }

    pub(super) fn remember(&self) -> Result<(), Failure> {
        self.files.remember(&self.memory).map_err(Failure::lasting)
    }

    /// Refuses a commit that was rolled back, and for a while one that has failed again and again.
    fn may_be_tried(&self, commit: &ObjectName) -> Result<(), Failure> {
        self.memory
            .refusal(self.job, self.ctx, commit)
            .map_or(Ok(()), |why| Err(Failure::lasting(why)))
    }

    /// Whether nothing of a commit is to be deployed any more.
    fn is_settled(&self, commit: &ObjectName) -> bool {
        let deployed = self.memory.deployed.as_ref();
        deployed.is_some_and(|deployed| deployed.same_as == *commit && self.due(&deployed.paths).is_none())
    }

    /// Why a commit in which the declared paths are as `paths` says is to be deployed, if it is.
    fn due(&self, paths: &BTreeMap<String, String>) -> Option<String> {
        self.memory
            .due(self.job, paths, self.place.shows(&self.memory, &self.files))
    }

    fn unchanged(&self, seen: &ObjectName) -> Result<Report, Failure> {
        let edits = match self.job.layout {
            Layout::Releases => None,
            Layout::InPlace => self.place.edits(&self.repository(seen)?, &self.files)?,
        };
        Ok(Report {
            message: format!("unchanged at {}", seen.short()),
            statistics: Some(json!({ "commit": seen, "deployed": false, "changed": 0 })),
            warnings: edits.into_iter().collect(),
        })
    }

    /// Our copy of the repository, for objects named like `like`. Others wait for it.
    pub(super) fn repository(&self, like: &ObjectName) -> Result<Repository<'a>, GitError> {
        Repository::open(self.git, &self.job.copy(self.ctx), like, &self.ctx.cancel)
    }

    /// Notes that a commit has nothing to deploy.
    fn settle(&mut self, commit: &ObjectName) -> Result<Report, Failure> {
        let before = self.memory.deployed.as_ref().map(|deployed| deployed.same_as.clone());
        if let Some(deployed) = &mut self.memory.deployed {
            deployed.same_as = commit.clone();
        }
        self.memory.failing = None;
        self.remember()?;
        let before = before.map_or_else(String::new, |before| format!(" since {}", before.short()));
        Ok(Report {
            message: format!(
                "nothing to deploy: {} changes none of the declared paths{before}",
                commit.short()
            ),
            statistics: Some(json!({ "commit": commit, "deployed": false, "changed": 0 })),
            warnings: Vec::new(),
        })
    }

    pub(super) fn previous(&self) -> Option<&ObjectName> {
        self.memory.deployed.as_ref().map(|deployed| &deployed.commit)
    }

    fn publish(&mut self, repository: &Repository<'_>, commit: &ObjectName) -> Result<(), Failure> {
        let entries = repository.entries(commit)?;
        repository.keep(&self.kept("published"), commit)?;
        if self.job.check.is_some() {
            let prepared = self.place.prepare(repository, commit, &self.files)?;
            let checked = self.check(commit, &prepared);
            if checked.is_err() {
                self.place.withdraw(commit, &self.memory)?;
            }
            checked?;
        }
        self.place
            .publish(repository, (commit, &entries), &mut self.memory, &self.files)
    }

    /// Notes a deployment that went well.
    pub(super) fn is_deployed(&mut self, deployed: Deployed) -> Result<(), Failure> {
        let commit = deployed.commit.clone();
        self.memory.deployed = Some(deployed);
        self.memory.failing = None;
        self.remember()?;
        self.place.clear(&mut self.memory, self.job.keep)?;
        self.remember()?;
        let repository = self.repository(&commit)?;
        repository.keep(&self.kept("deployed"), &commit)?;
        Ok(repository.tidy()?)
    }

    /// Counts a failure of a commit; one that the service's end, or a newer run, has caused is none of the commit's.
    pub(super) fn note_failure(&mut self, commit: &ObjectName, failure: Failure) -> Failure {
        if matches!(
            self.ctx.cancel.reason(),
            Some(CancelReason::Shutdown | CancelReason::Replaced)
        ) {
            return failure;
        }
        let declaration = self.job.declaration();
        let before = self.memory.failing.take();
        let before = before.filter(|failing| failing.commit == *commit && failing.declaration == declaration);
        let times = before.map_or(0, |failing| failing.times).saturating_add(1);
        let mut message = format!("commit {}: {}", commit.short(), failure.message);
        let not_before = (times >= FAILURES).then(|| {
            let doubled = 1 << (times - FAILURES).min(10);
            later(self.ctx.now, (PAUSE * doubled).min(LONGEST_PAUSE))
        });
        if let Some(at) = not_before {
            message = format!(
                "{message}; it has failed {times} times, and is tried again after {}",
                iso(at)
            );
        }
        self.memory.failing = Some(Failing {
            commit: commit.clone(),
            declaration,
            times,
            message: message.clone(),
            not_before,
        });
        if let Err(unwritten) = self.remember() {
            message = format!("{message}; {}", unwritten.message);
        }
        Failure { message, ..failure }
    }
}

impl Memory {
    /// The commit that is still to be rolled back, where `seen` has brought no other one, and the declaration no other way.
    pub(super) fn to_roll_back(&self, job: &GitSync, seen: Option<&ObjectName>) -> Option<Rejected> {
        let rejected = self.rejected.as_ref().filter(|rejected| !rejected.is_rolled_back)?;
        let is_newest = seen.is_none_or(|seen| *seen == rejected.commit);
        (is_newest && rejected.declaration == job.declaration()).then(|| rejected.clone())
    }

    /// Why a commit is not tried now, where it is not.
    pub(super) fn refusal(&self, job: &GitSync, ctx: &RunContext, commit: &ObjectName) -> Option<String> {
        let declaration = job.declaration();
        let is_rejected = |rejected: &&Rejected| rejected.commit == *commit && rejected.declaration == declaration;
        if let Some(rejected) = self.rejected.as_ref().filter(is_rejected) {
            return Some(rejected.message.clone());
        }
        let failing = self.failing.as_ref()?;
        let waits = failing.not_before.is_some_and(|at| ctx.now < at) && !ctx.is_manual();
        let is_same = failing.commit == *commit && failing.declaration == declaration;
        (waits && is_same).then(|| failing.message.clone())
    }

    /// Why files in which the declared paths are as `paths` says are to be deployed, if they are; `is_there` tells whether
    /// what was published is still there.
    pub(super) fn due(&self, job: &GitSync, paths: &BTreeMap<String, String>, is_there: bool) -> Option<String> {
        let Some(deployed) = &self.deployed else {
            return Some("nothing has been deployed yet".to_owned());
        };
        if deployed.declaration != job.declaration() {
            return Some("`deploy` has changed".to_owned());
        }
        if self.published.as_ref() != Some(&deployed.commit) {
            return Some("the last deployment did not succeed".to_owned());
        }
        if !is_there {
            return Some("the published files are not there any more".to_owned());
        }
        if deployed.paths == *paths {
            return None;
        }
        let is_other = |(path, object): &(&String, &String)| deployed.paths.get(*path) != Some(*object);
        let changed: Vec<&str> = paths.iter().filter(is_other).map(|(path, _)| path.as_str()).collect();
        Some(match changed.as_slice() {
            [] | [""] => "the repository has changed".to_owned(),
            changed => format!("{} changed", changed.join(", ")),
        })
    }
}
