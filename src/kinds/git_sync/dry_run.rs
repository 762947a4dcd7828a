//! What a run would do: the same questions and the same decisions, on a copy of the repository that is gone afterwards.

use serde_json::json;

use super::GitSync;
use super::layout::Place;
use crate::git::{Git, ObjectName, Repository};
use crate::process::Asked;
use crate::run::{DryRun, Failure, RunContext};

/// How many changed files are listed.
const LISTED: usize = 20;

pub(super) fn plan(job: &GitSync, ctx: &RunContext, asked: &Asked) -> DryRun {
    look(job, ctx, asked).unwrap_or_else(DryRun::from)
}

fn look(job: &GitSync, ctx: &RunContext, asked: &Asked) -> Result<DryRun, Failure> {
    let files = job.files(ctx).map_err(Failure::lasting)?;
    let memory = files.recall(&job.place().map_err(Failure::lasting)?);
    let (memory, place) = (memory.map_err(Failure::lasting)?, Place::of(job)?);
    let git = job.git(ctx, asked)?;
    let seen = job.look(&git)?;
    if let Some(rejected) = memory.to_roll_back(job, Some(&seen)) {
        return Err(Failure::lasting(format!(
            "{}; it would be rolled back",
            rejected.message
        )));
    }
    let mut lines = vec![format!("{} has {} at {}", job.url, seen.short(), job.full_name())];
    let deployed = memory.deployed.as_ref().map(|deployed| deployed.commit.clone());
    if let Some(deployed) = &deployed {
        lines.push(format!("{} is deployed", deployed.short()));
    }
    let failed = |error: std::io::Error| Failure::lasting(format!("a temporary folder cannot be created: {error}"));
    let temporary = tempfile::tempdir().map_err(failed)?;
    let repository = Repository::open(&git, &temporary.path().join("repository"), &seen, &ctx.cancel)?;
    let commit = repository.fetch(&job.url, &job.full_name(), "refs/seen")?;
    job.verify(&repository, &commit)?;
    let content = job.content(&repository, &commit)?;
    if let Some(why) = memory.refusal(ctx, false, |_, known| *known == content) {
        return Err(Failure::lasting(why));
    }
    let Some(why) = memory.due(&content, place.shows(&memory)) else {
        lines.push("would deploy nothing: nothing that is declared has changed".to_owned());
        let json = json!({ "commit": commit, "deployed": deployed, "would_deploy": false });
        return Ok(DryRun {
            lines,
            json,
            refusal: None,
        });
    };
    let entries = repository.entries(&commit)?;
    if let Some(lost) = place.foreseen(&repository, (&commit, &entries), (&memory, &files), temporary.path())? {
        return Err(Failure::lasting(lost));
    }
    if let Some((key, _, why)) = job.missing_programs(ctx).into_iter().next() {
        return Err(Failure::lasting(format!("`{key}`: {why}")));
    }
    let subject = repository.subject(&commit)?;
    lines.push(format!("would deploy {} ({subject}): {why}", commit.short()));
    let number = entries.len();
    lines.push(format!("would write {number} files to {}", place.folder.display()));
    lines.extend(changes(job, &repository, deployed.as_ref(), &commit)?);
    lines.extend(job.programs(&git));
    let json = json!({ "commit": commit, "deployed": deployed, "would_deploy": true, "why": why, "files": number });
    Ok(DryRun {
        lines,
        json,
        refusal: None,
    })
}

/// The files that differ from what is deployed, as far as that can still be had.
fn changes(
    job: &GitSync,
    repository: &Repository<'_>,
    deployed: Option<&ObjectName>,
    commit: &ObjectName,
) -> Result<Vec<String>, Failure> {
    let Some(deployed) = deployed else {
        return Ok(Vec::new());
    };
    if repository.fetch(&job.url, deployed.as_str(), "refs/deployed").is_err() {
        return Ok(Vec::new());
    }
    let changes = repository.changes(Some(deployed), commit)?;
    let mut lines: Vec<String> = changes
        .iter()
        .take(LISTED)
        .map(|path| format!("changed: {path}"))
        .collect();
    if changes.len() > LISTED {
        lines.push(format!("and {} more", changes.len() - LISTED));
    }
    Ok(lines)
}

impl GitSync {
    /// What would be run, for people.
    fn programs(&self, git: &Git<'_>) -> Vec<String> {
        let line = |(key, command): (&str, &super::Command)| {
            let argv = command.argv();
            let argv: Vec<String> = argv.iter().map(|argument| git.redactor.redact(argument)).collect();
            let dir = command
                .dir()
                .map_or_else(String::new, |dir| format!(" in {}", dir.display()));
            format!("{key}: {argv:?}{dir}")
        };
        self.commands().map(line).collect()
    }
}
