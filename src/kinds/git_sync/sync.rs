//! A run: what the repository has, what of it is new, and what becomes of that. What is remembered is written before each step,
//! so that a run which was cut off at any of them is finished by the next one.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::json;

use super::layout::Place;
use super::memory::{Content, Deployed, Failing, Files, Memory, Rejected};
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
    let files = job.files(ctx).map_err(Failure::lasting)?;
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
        memory: memory.map_err(Failure::lasting)?,
        trying: None,
    };
    let warnings = sync.place.sweep(&sync.files, &sync.memory);
    for warning in &warnings {
        tracing::warn!(job = %ctx.job, "{warning}");
    }
    let mut report = sync.run()?;
    report.warnings.extend(warnings);
    Ok(report)
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
    /// The commit whose files are being published, and what it would deploy.
    trying: Option<(ObjectName, Content)>,
}

/// What came of looking for something new.
enum Found {
    /// A commit that deploys nothing.
    Nothing(ObjectName),
    /// One whose files are published now.
    Published(Published),
    /// One that is still to be rolled back.
    Rejected(Rejected),
}

struct Published {
    commit: ObjectName,
    content: Content,
    subject: String,
    changes: usize,
}

impl<'a> Sync<'a> {
    fn run(&mut self) -> Result<Report, Failure> {
        let seen = self.look();
        if self.ctx.cancel.is_cancelled() {
            seen?;
            return Err(Failure::lasting("it was cut off"));
        }
        if let Some(rejected) = self.memory.to_roll_back(self.job, seen.as_ref().ok()) {
            return Err(self.roll_back(&rejected));
        }
        let seen = seen?;
        self.may_be_tried(|commit, content| *commit == seen && content.declaration == self.job.declaration())?;
        if self.is_settled(&seen) {
            return self.unchanged(&seen);
        }
        let mut found = self.bring(&seen);
        if let Err(failure) = &found
            && git::may_be_about_the_copy(&failure.message)
            && self.repository(&seen).is_ok_and(|copy| copy.is_damaged())
        {
            git::forget(&self.job.copy(self.ctx), &self.ctx.cancel)?;
            found = self.bring(&seen);
        }
        match found {
            Ok(Found::Nothing(commit)) => self.settle(&commit),
            Ok(Found::Published(published)) => self.deploy_it(published),
            Ok(Found::Rejected(rejected)) => Err(self.roll_back(&rejected)),
            Err(failure) => Err(match self.trying.take() {
                Some((commit, content)) => {
                    let message = format!("commit {}: {}", commit.short(), failure.message);
                    self.note_failure(commit, content, Failure { message, ..failure })
                }
                None => failure,
            }),
        }
    }

    /// The commit that the repository has now, which costs one question.
    fn look(&self) -> Result<ObjectName, Failure> {
        self.job.look(self.git)
    }

    /// A name that the copy keeps a commit by.
    pub(super) fn kept(&self, name: &str) -> String {
        format!("refs/folders/{}/{name}", self.files.name())
    }

    pub(super) fn remember(&self) -> Result<(), Failure> {
        self.files.remember(&self.memory).map_err(Failure::lasting)
    }

    /// Our copy of the repository, for objects named like `like`. Others wait for it.
    pub(super) fn repository(&self, like: &ObjectName) -> Result<Repository<'a>, GitError> {
        Repository::open(self.git, &self.job.copy(self.ctx), like, &self.ctx.cancel)
    }

    /// Refuses what was rolled back, and for a while what has failed again and again.
    fn may_be_tried(&self, is_it: impl Fn(&ObjectName, &Content) -> bool) -> Result<(), Failure> {
        let why = self.memory.refusal(self.ctx, self.ctx.is_manual(), is_it);
        why.map_or(Ok(()), |why| Err(Failure::lasting(why)))
    }

    /// Whether nothing of a commit is to be deployed any more.
    fn is_settled(&self, commit: &ObjectName) -> bool {
        let deployed = self.memory.deployed.as_ref();
        deployed.is_some_and(|deployed| {
            let has_these_paths = self.job.declared_paths().eq(deployed.content.paths.keys().cloned());
            let content = Content {
                declaration: self.job.declaration(),
                ..deployed.content.clone()
            };
            deployed.same_as == *commit && has_these_paths && self.due(&content).is_none()
        })
    }

    /// Why files are to be deployed, if they are.
    fn due(&self, content: &Content) -> Option<String> {
        self.memory.due(content, self.place.shows(&self.memory))
    }

    fn unchanged(&self, seen: &ObjectName) -> Result<Report, Failure> {
        let edits = match self.job.layout {
            Layout::Releases => None,
            Layout::InPlace => self.place.edits(&self.repository(seen)?, &self.memory, &self.files)?,
        };
        let warnings = edits.into_iter().collect();
        Ok(nothing_deployed(
            seen,
            format!("unchanged at {}", seen.short()),
            warnings,
        ))
    }

    /// Fetches what the repository has, and publishes it where that is due.
    fn bring(&mut self, seen: &ObjectName) -> Result<Found, Failure> {
        let repository = self.repository(seen)?;
        if let Err(untidy) = repository.tidy() {
            tracing::warn!(job = %self.ctx.job, "{}", untidy.message);
        }
        let commit = repository.fetch(&self.job.url, &self.job.full_name(), &self.kept("seen"))?;
        self.job.verify(&repository, &commit)?;
        let content = self.job.content(&repository, &commit)?;
        let pending = self.memory.pending().filter(|rejected| rejected.content == content);
        if let Some(rejected) = pending {
            return Ok(Found::Rejected(rejected.clone()));
        }
        let Some(why) = self.due(&content) else {
            return Ok(Found::Nothing(commit));
        };
        self.may_be_tried(|_, known| *known == content)?;
        tracing::info!(job = %self.ctx.job, commit = commit.as_str(), "deploying {}: {why}", commit.short());
        self.trying = Some((commit.clone(), content.clone()));
        // Where it cannot be had any more, every file counts as changed.
        let kept = self.kept("deployed");
        let can_be_had = |previous: &&ObjectName| {
            repository.has(previous) || repository.fetch(&self.job.url, previous.as_str(), &kept).is_ok()
        };
        let previous = self.previous().filter(can_be_had);
        if let Some(previous) = previous {
            // Wanted again where this one is rolled back.
            repository.keep(&kept, previous)?;
        }
        let changes = repository.changes(previous, &commit)?;
        self.note_changes(&changes)?;
        let subject = repository.subject(&commit)?;
        self.publish(repository, &commit)?;
        self.trying = None;
        Ok(Found::Published(Published {
            commit,
            content,
            subject,
            changes: changes.len(),
        }))
    }

    /// Publishes a commit, once it is checked.
    fn publish(&mut self, mut repository: Repository<'a>, commit: &ObjectName) -> Result<(), Failure> {
        let entries = repository.entries(commit)?;
        repository.keep(&self.kept("published"), commit)?;
        let (run, is_prepared) = (self.ctx.run_number().to_string(), self.job.check.is_some());
        if is_prepared {
            let prepared = self
                .place
                .prepare(&repository, commit, &self.memory, (&self.files, &run))?;
            // Others may use the copy while this is checked.
            drop(repository);
            if let Err(failure) = self.check(commit, &prepared) {
                self.place.withdraw(commit, &self.memory);
                return Err(failure);
            }
            repository = self.repository(commit)?;
        }
        let with = (&self.files, run.as_str(), is_prepared);
        self.place
            .publish(&repository, (commit, &entries), &mut self.memory, with)
    }

    /// Deploys what is published.
    fn deploy_it(&mut self, published: Published) -> Result<Report, Failure> {
        let Published {
            commit,
            content,
            subject,
            changes,
        } = published;
        let done = self.deploy(&commit);
        self.note_edits(&commit);
        if let Err(failed) = done {
            return Err(self.deployment_failed(commit, content, failed));
        }
        self.memory.deployed = Some(Deployed {
            commit: commit.clone(),
            content,
            same_as: commit.clone(),
        });
        self.memory.failing = None;
        // What is deployed over it needs no rollback any more.
        self.memory.rejected.retain(|rejected| rejected.is_rolled_back);
        self.remember()?;
        let warnings = self.place.clear(&mut self.memory, self.job.keep);
        self.remember()?;
        let files = plural(changes as u64, "file");
        Ok(Report {
            message: format!("deployed {} ({subject}): {files} changed", commit.short()),
            statistics: Some(json!({ "commit": commit, "deployed": true, "changed": changes })),
            warnings,
        })
    }

    /// Notes the files that a deployment has changed in place: they are no edits of somebody else's.
    pub(super) fn note_edits(&mut self, commit: &ObjectName) {
        let edited = match self.job.layout {
            Layout::Releases => Ok(BTreeMap::new()),
            Layout::InPlace => self
                .repository(commit)
                .map_err(Failure::from)
                .and_then(|repository| self.place.contents_of_edits(&repository, &self.files)),
        };
        match edited {
            Ok(edited) => self.memory.edited = edited,
            Err(failure) => tracing::warn!(job = %self.ctx.job, "{}", failure.message),
        }
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
        let message = format!(
            "nothing to deploy: {} changes none of the declared paths{before}",
            commit.short()
        );
        Ok(nothing_deployed(commit, message, Vec::new()))
    }

    pub(super) fn previous(&self) -> Option<&ObjectName> {
        self.memory.deployed.as_ref().map(|deployed| &deployed.commit)
    }

    /// Counts a failure of a commit; one that the service's end, or a newer run, has caused is none of the commit's.
    pub(super) fn note_failure(&mut self, commit: ObjectName, content: Content, failure: Failure) -> Failure {
        let reason = self.ctx.cancel.reason();
        if reason.is_some_and(CancelReason::is_from_outside) {
            return failure;
        }
        let before = self.memory.failing.take().filter(|failing| failing.content == content);
        let times = before.map_or(0, |failing| failing.times).saturating_add(1);
        let mut message = failure.message.clone();
        if reason == Some(CancelReason::TimedOut) {
            message = format!("commit {} was not finished in time: {message}", commit.short());
        }
        let not_before = (times >= FAILURES).then(|| {
            let doubled = 1 << (times - FAILURES).min(10);
            later(self.ctx.now, (PAUSE * doubled).min(LONGEST_PAUSE))
        });
        if let Some(at) = not_before {
            message = format!(
                "{message}; it has failed {times} times, and will be tried again after {}",
                iso(at)
            );
        }
        self.memory.failing = Some(Failing {
            commit,
            content,
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

/// The report of a run that had nothing to deploy.
fn nothing_deployed(commit: &ObjectName, message: String, warnings: Vec<String>) -> Report {
    Report {
        message,
        statistics: Some(json!({ "commit": commit, "deployed": false, "changed": 0 })),
        warnings,
    }
}

impl GitSync {
    /// The commit that the repository has now.
    pub(super) fn look(&self, git: &Git<'_>) -> Result<ObjectName, Failure> {
        if let Some(commit) = &self.commit {
            return Ok(commit.clone());
        }
        let found = git::ask(git, &self.url, &self.full_name())?;
        Ok(found.map_or_else(|| Err(git::missing(git, &self.url, &self.full_name())), Ok)?)
    }

    /// Refuses a commit that must be signed, and is not.
    pub(super) fn verify(&self, repository: &Repository<'_>, commit: &ObjectName) -> Result<(), Failure> {
        let Some(verify) = &self.verify else { return Ok(()) };
        let signers = verify.signers.fresh().map_err(Failure::lasting)?;
        Ok(repository.verify(commit, signers.reveal())?)
    }

    /// What a commit would deploy.
    pub(super) fn content(&self, repository: &Repository<'_>, commit: &ObjectName) -> Result<Content, Failure> {
        let paths: Vec<String> = self.declared_paths().filter(|path| !path.is_empty()).collect();
        let paths: BTreeMap<String, String> = repository.objects(commit, &paths)?.into_iter().collect();
        Ok(Content {
            paths,
            declaration: self.declaration(),
        })
    }
}

impl Memory {
    /// The commit that is still to be rolled back, where `seen` has brought no other one, and the declaration no other way.
    pub(super) fn to_roll_back(&self, job: &GitSync, seen: Option<&ObjectName>) -> Option<Rejected> {
        let rejected = self.pending()?;
        let is_newest = seen.is_none_or(|seen| *seen == rejected.commit);
        (is_newest && rejected.content.declaration == job.declaration()).then(|| rejected.clone())
    }

    /// Why what `is_it` says is not tried now, where it is not; somebody who `asks` does not have to wait.
    pub(super) fn refusal(
        &self,
        ctx: &RunContext,
        asks: bool,
        is_it: impl Fn(&ObjectName, &Content) -> bool,
    ) -> Option<String> {
        let mut rejected = self.rejected.iter().filter(|rejected| rejected.is_rolled_back);
        if let Some(rejected) = rejected.find(|rejected| is_it(&rejected.commit, &rejected.content)) {
            return Some(rejected.message.clone());
        }
        let failing = self
            .failing
            .as_ref()
            .filter(|failing| is_it(&failing.commit, &failing.content))?;
        let waits = failing.not_before.is_some_and(|at| ctx.now < at) && !asks;
        waits.then(|| failing.message.clone())
    }

    /// Why files of this `content` are to be deployed, if they are; `is_there` tells whether what was published still is.
    pub(super) fn due(&self, content: &Content, is_there: bool) -> Option<String> {
        let Some(deployed) = &self.deployed else {
            return Some("nothing has been deployed here yet".to_owned());
        };
        if deployed.content.declaration != content.declaration {
            return Some("`deploy` has changed".to_owned());
        }
        if self.pending().is_some() {
            return Some("the last rollback did not succeed".to_owned());
        }
        if self.published.as_ref() != Some(&deployed.commit) || self.publishing.is_some() {
            return Some("the last deployment did not succeed".to_owned());
        }
        if !is_there {
            return Some("the published files are missing".to_owned());
        }
        if deployed.content.paths == content.paths {
            return None;
        }
        let is_other = |(path, object): &(&String, &String)| deployed.content.paths.get(*path) != Some(*object);
        let changed: Vec<&str> = content
            .paths
            .iter()
            .filter(is_other)
            .map(|(path, _)| path.as_str())
            .collect();
        Some(match changed.as_slice() {
            [] => "the declared paths are others".to_owned(),
            [""] => "the repository has changed".to_owned(),
            changed => format!("{} changed", changed.join(", ")),
        })
    }
}
