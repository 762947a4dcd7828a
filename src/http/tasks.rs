//! The calls the web application makes: trigger, start, stop, reload-config. Their bodies keep its words.

use serde_json::{Value, json};

use super::{Answer, Context, Request};
use crate::config::Problem;
use crate::engine::command::{Cause, Refusal, Reloaded, Triggered};
use crate::engine::{Command, RunResult};
use crate::state::Status;

/// `POST /trigger/:job`: runs it now and answers when it is done; with `?wait=false`, when it has begun.
pub(super) fn trigger(context: &Context, request: &Request, job: &str) -> Answer {
    let answer = |status: u16, message: String| {
        let body =
            json!({ "taskName": job, "success": false, "error": format!("Error: {message}"), "message": message });
        Answer::new(status, body)
    };
    let waits = match request.query("wait") {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return answer(400, format!("wait: `{other}` is not true or false")),
    };
    match begin(context, job) {
        None => Answer::stuck(),
        Some(Err(Refusal::Unknown)) => answer(404, format!("Unknown task: {job}")),
        Some(Err(refusal)) => answer(refusal_status(&refusal), in_words(&refusal, job)),
        Some(Ok(triggered)) if !waits => Answer::new(
            202,
            json!({ "taskName": job, "runId": triggered.run, "message": format!("Task {job} started") }),
        ),
        Some(Ok(triggered)) => context
            .wait(triggered.ended)
            .map_or_else(Answer::stuck, |ended| Answer::ok(told(job, &ended))),
    }
}

/// Has the engine begin a run of `job`.
pub(super) fn begin(context: &Context, job: &str) -> Option<Result<Triggered, Refusal>> {
    context.ask(|reply| Command::Trigger {
        job: job.to_owned(),
        reply,
    })
}

fn told(job: &str, ended: &RunResult) -> Value {
    let success = ended.status == Status::Success;
    let mut body = json!({ "taskName": job, "success": success, "message": ended.message });
    if !success {
        body["error"] = ended.message.clone().into();
    }
    if let Some(statistics) = &ended.statistics {
        body["statistics"] = statistics.clone();
    }
    body
}

/// `POST /start/:job`
pub(super) fn start(context: &Context, _request: &Request, job: &str) -> Answer {
    let done = context.ask(|reply| Command::Start {
        job: job.to_owned(),
        reply,
    });
    answer_of(done, job, "started", &format!("Task {job} not found in configuration"))
}

/// `POST /stop/:job`
pub(super) fn stop(context: &Context, _request: &Request, job: &str) -> Answer {
    let done = context.ask(|reply| Command::Stop {
        job: job.to_owned(),
        reply,
    });
    answer_of(done, job, "stopped", &format!("Task {job} not found"))
}

/// What came of an order about `job`: that it is `done`, or `unknown`, or why not.
fn answer_of(result: Option<Result<(), Refusal>>, job: &str, done: &str, unknown: &str) -> Answer {
    match result {
        None => Answer::stuck(),
        Some(Ok(())) => Answer::ok(json!({ "message": format!("Task {job} {done}") })),
        Some(Err(Refusal::Unknown)) => Answer::error(404, unknown),
        Some(Err(refusal)) => Answer::error(refusal_status(&refusal), in_words(&refusal, job)),
    }
}

/// `POST /reload-config`
pub(super) fn reload(context: &Context, _request: &Request, _job: &str) -> Answer {
    match context.ask(|reply| Command::Reload {
        cause: Cause::Operator,
        reply: Some(reply),
    }) {
        None => Answer::stuck(),
        Some(Reloaded::Applied { diff, problems }) => {
            let changed: Vec<_> = diff.changed.keys().collect();
            Answer::ok(json!({
                "message": "Configuration reloaded successfully",
                "added": diff.added,
                "changed": changed,
                "changes": changes(&diff),
                "removed": diff.removed,
                "problems": problems.iter().map(problem).collect::<Vec<_>>(),
            }))
        }
        Some(Reloaded::Refused { problems }) => Answer::new(
            422,
            json!({
                "error": "The configuration was rejected; the previous one stays in force",
                "message": "The configuration was rejected; the previous one stays in force",
                "added": [], "changed": [], "removed": [],
                "problems": problems.iter().map(problem).collect::<Vec<_>>(),
            }),
        ),
    }
}

fn changes(diff: &crate::config::Diff) -> Value {
    diff.changed
        .iter()
        .map(|(job, keys)| (job.to_string(), json!(keys)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A problem for programs, with the sentence for people.
pub(super) fn problem(problem: &Problem) -> Value {
    let mut body = serde_json::to_value(problem).unwrap_or_default();
    body["text"] = problem.to_string().into();
    body
}

pub(super) fn refusal_status(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::Unknown => 404,
        Refusal::Running | Refusal::Inactive | Refusal::Over => 409,
        Refusal::State(_) | Refusal::ShuttingDown => 503,
    }
}

pub(super) fn in_words(refusal: &Refusal, job: &str) -> String {
    match refusal {
        Refusal::Unknown => format!("Task {job} not found"),
        Refusal::Running => format!("Task {job} is already running"),
        Refusal::Inactive => format!("Task {job} is stopped"),
        Refusal::Over => "the run is over".to_owned(),
        Refusal::State(why) => why.clone(),
        Refusal::ShuttingDown => "the service is shutting down".to_owned(),
    }
}
