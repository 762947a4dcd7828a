//! `POST /hooks/:job`: a forge tells that a repository has changed. It is a hint and no order: it has the job look, and says
//! neither what to fetch nor what to run.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use super::tasks::{in_words, refusal_status};
use super::{Answer, Context, Request};
use crate::engine::Command;
use crate::values::{JobId, Secret, lock, signature};

/// Headers that hold the signature of the body, each of one family of forges, and what stands before it there.
const SIGNATURES: &[(&str, &str)] = &[
    ("X-Hub-Signature-256", "sha256="),
    ("X-Forgejo-Signature", ""),
    ("X-Gitea-Signature", ""),
    ("X-Gogs-Signature", ""),
];
/// How often refused calls are logged.
const BETWEEN_REFUSALS: Duration = Duration::from_mins(1);
/// The header that holds the secret itself, as GitLab has it.
const TOKEN: &str = "X-Gitlab-Token";

pub(super) fn post(context: &Context, request: &Request, job: &str) -> Answer {
    let plan = std::sync::Arc::clone(&context.plans.borrow());
    let id = job.parse::<JobId>().ok();
    let secret = id.and_then(|id| plan.jobs.get(&id)?.action.webhook().cloned());
    // Whoever does not know the secret is not told which jobs there are.
    if !secret.is_some_and(|secret| is_from_one_who_knows(request, &secret)) {
        tell_of_refusal(job);
        return Answer::error(401, "there is no such webhook, or the signature does not match");
    }
    match context.ask(|reply| Command::Announce {
        job: job.to_owned(),
        reply,
    }) {
        None => Answer::stuck(),
        Some(Err(refusal)) => Answer::error(refusal_status(&refusal), in_words(&refusal, job)),
        Some(Ok(run)) => Answer::new(
            202,
            json!({ "taskName": job, "runId": run, "message": format!("Task {job} will run") }),
        ),
    }
}

/// Tells the log, now and then: whoever set a webhook up wrong looks there, and whoever only tries must not fill it.
fn tell_of_refusal(job: &str) {
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    let mut told = lock(&TOLD);
    if told.is_none_or(|at| at.elapsed() >= BETWEEN_REFUSALS) {
        *told = Some(Instant::now());
        let job: String = job.chars().take(64).collect();
        tracing::warn!("a webhook for {job:?} was refused: there is none, or its signature does not match");
    }
}

fn is_from_one_who_knows(request: &Request, secret: &Secret) -> bool {
    let expected = Secret::new(signature(secret, &request.body));
    let signed = SIGNATURES.iter().any(|(header, start)| {
        let given = request.header(header).and_then(|value| value.strip_prefix(start));
        given.is_some_and(|given| expected.matches(given))
    });
    signed || request.header(TOKEN).is_some_and(|given| secret.matches(given))
}
