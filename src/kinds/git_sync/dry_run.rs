//! What a run would do: the same questions and the same decisions, on a copy of the repository that is gone afterwards.

use std::collections::BTreeMap;

use serde_json::json;

use super::GitSync;
use super::layout::Place;
use crate::git::{self, ObjectName, Repository};
use crate::process::Asked;
use crate::run::{DryRun, Failure, RunContext};

/// How many changed files are listed.
const LISTED: usize = 20;

pub(super) fn plan(job: &GitSync, ctx: &RunContext, asked: &Asked) -> DryRun {
    match look(job, ctx, asked) {
        Ok(found) => found,
        Err(failure) => DryRun {
            lines: vec![format!("a run would fail now: {}", failure.message)],
            json: json!({ "error": failure.message }),
            refusal: Some(failure.message),
        },
    }
}

fn look(job: &GitSync, ctx: &RunContext, asked: &Asked) -> Result<DryRun, Failure> {
    let files = super::files(ctx);
    let memory = files.recall(&job.place().map_err(Failure::lasting)?);
    let place = Place::of(job)?;
    let git = job.git(ctx, asked)?;
    let name = job.full_name();
    let seen: ObjectName = match &job.commit {
        Some(commit) => commit.clone(),
        None => {
            git::ask(&git, &job.url, &name)?.ok_or_else(|| Failure::lasting(format!("{} has no {name}", job.url)))?
        }
    };
    if let Some(rejected) = memory.to_roll_back(job, Some(&seen)) {
        return Err(Failure::lasting(format!(
            "{}; it would be rolled back",
            rejected.message
        )));
    }
    if let Some(why) = memory.refusal(job, ctx, &seen) {
        return Err(Failure::lasting(why));
    }
    let deployed = memory.deployed.as_ref().map(|deployed| deployed.commit.clone());
    let mut lines = vec![format!("{} has {} at {name}", job.url, seen.short())];
    if let Some(deployed) = &deployed {
        lines.push(format!("deployed is {}", deployed.short()));
    }
    let failed = |error: std::io::Error| Failure::lasting(format!("a temporary folder cannot be created: {error}"));
    let temporary = tempfile::tempdir().map_err(failed)?;
    let repository = Repository::open(&git, &temporary.path().join("repository"), &seen, &ctx.cancel)?;
    let source = if job.commit.is_some() { seen.to_string() } else { name };
    let commit = repository.fetch(&job.url, &source, "refs/seen")?;
    if let Some(verify) = &job.verify {
        let signers = verify.signers.fresh().map_err(Failure::lasting)?;
        repository.verify(&commit, signers.reveal())?;
        lines.push("it is signed by one of the signers".to_owned());
    }
    let paths: BTreeMap<String, String> = repository.objects(&commit, &job.paths)?.into_iter().collect();
    let why = memory.due(job, &paths, place.shows(&memory, &files));
    let Some(why) = why else {
        lines.push("would deploy nothing: none of the declared paths has changed".to_owned());
        let json = json!({ "commit": commit, "deployed": deployed, "would_deploy": false });
        return Ok(DryRun {
            lines,
            json,
            refusal: None,
        });
    };
    let entries = repository.entries(&commit)?;
    let subject = repository.subject(&commit)?;
    lines.push(format!("would deploy {} ({subject}): {why}", commit.short()));
    lines.push(format!(
        "would write {} files to {}",
        entries.len(),
        place.folder.display()
    ));
    if let Some(deployed) = &deployed
        && repository.fetch(&job.url, deployed.as_str(), "refs/deployed").is_ok()
    {
        let changes = repository.changes(Some(deployed), &commit)?;
        lines.extend(changes.iter().take(LISTED).map(|path| format!("changed: {path}")));
        if changes.len() > LISTED {
            lines.push(format!("and {} more", changes.len() - LISTED));
        }
    }
    for (key, command) in [("check", &job.check), ("deploy", &job.deploy)] {
        let Some(command) = command else { continue };
        let argv: Vec<String> = command
            .argv()
            .iter()
            .map(|argument| git.redactor.redact(argument))
            .collect();
        let dir = command
            .dir()
            .map_or_else(String::new, |dir| format!(" in {}", dir.display()));
        lines.push(format!("{key}: {argv:?}{dir}"));
    }
    let json =
        json!({ "commit": commit, "deployed": deployed, "would_deploy": true, "why": why, "files": entries.len() });
    Ok(DryRun {
        lines,
        json,
        refusal: None,
    })
}
