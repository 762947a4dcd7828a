//! `trigger`, `start`, `stop`, `reload`, `health`: calls of the running service's HTTP interface.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::output::say;
use super::{Exit, FAILED, UNREACHABLE};
use crate::config::{self, Server, Sources};
use crate::values::JobId;

#[derive(Args, Debug)]
pub(super) struct JobOption {
    /// The job
    pub(super) job: JobId,
}

#[derive(Args, Debug)]
pub(super) struct TriggerOptions {
    /// The job
    job: JobId,
    /// Do not wait until the run is done
    #[arg(long)]
    no_wait: bool,
}

/// Runs a job and prints what came of it.
pub(super) fn trigger(sources: &Sources, options: &TriggerOptions) -> Result<(), Exit> {
    let wait = if options.no_wait { "?wait=false" } else { "" };
    post(sources, &format!("/trigger/{}{wait}", options.job))
}

/// Makes the call and prints its message, and its problems where it has some.
pub(super) fn post(sources: &Sources, path: &str) -> Result<(), Exit> {
    let (status, body) = call(sources, "POST", path)?;
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let message = text("message")
        .or_else(|| text("error"))
        .unwrap_or_else(|| body.to_string());
    let problems = body["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|problem| problem["text"].as_str());
    let lines: Vec<&str> = problems.chain([message.as_str()]).collect();
    if status >= 300 || body["success"] == false {
        return Err(Exit::new(FAILED, lines.join("\n")));
    }
    say!("{}", lines.join("\n"));
    Ok(())
}

/// Prints what was decided about a job, oldest first, and what comes next.
pub(super) fn why(sources: &Sources, job: &JobOption) -> Result<(), Exit> {
    let (status, body) = call(sources, "GET", &format!("/api/schedules/{}/why", job.job))?;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    if status != 200 {
        return Err(Exit::new(FAILED, text(&body, "error")));
    }
    for decision in body["decisions"].as_array().into_iter().flatten().rev() {
        let (at, what, why) = (text(decision, "at"), text(decision, "decision"), text(decision, "why"));
        say!("{at}  {what}: {why}");
    }
    say!("{}", text(&body, "summary"));
    Ok(())
}

/// Prints the health of the service; a failing one is a failure.
pub(super) fn health(sources: &Sources) -> Result<(), Exit> {
    let (status, body) = call(sources, "GET", "/health")?;
    say!("{body:#}");
    if status == 200 {
        Ok(())
    } else {
        Err(Exit::new(FAILED, ""))
    }
}

fn call(sources: &Sources, method: &str, path: &str) -> Result<(u16, Value), Exit> {
    const CONNECT: Duration = Duration::from_secs(5);
    // Everything but a run is answered at once by a service that is well.
    let patience = (!path.starts_with("/trigger/")).then_some(Duration::from_secs(15));
    let server = config::server(sources).ok_or_else(|| {
        Exit::new(
            UNREACHABLE,
            "the declaration does not tell where the service is; --port does",
        )
    })?;
    let address = address(&server);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_global(patience)
        .proxy(None)
        .build()
        .into();
    let url = format!("http://{address}{path}");
    let token = server.token.as_ref().map(|token| format!("Bearer {}", token.reveal()));
    let answered = match (method, token) {
        ("GET", None) => agent.get(url).call(),
        ("GET", Some(token)) => agent.get(url).header("Authorization", token).call(),
        (_, None) => agent.post(url).send_empty(),
        (_, Some(token)) => agent.post(url).header("Authorization", token).send_empty(),
    };
    let unreachable = |error: ureq::Error| {
        Exit::new(
            UNREACHABLE,
            format!("the service at {address} cannot be reached: {error}"),
        )
    };
    let mut answer = answered.map_err(unreachable)?;
    let text = answer.body_mut().read_to_string().map_err(unreachable)?;
    let body = serde_json::from_str(&text).map_err(|_| {
        Exit::new(
            UNREACHABLE,
            format!("what answers at {address} is not duplistatus-cron"),
        )
    })?;
    Ok((answer.status().as_u16(), body))
}

/// Where a service that listens on `server` is reached from this machine.
fn address(server: &Server) -> String {
    let host = match server.host.as_str() {
        "localhost" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{host}:{}", server.port)
}
