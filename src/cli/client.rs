//! `trigger`, `start`, `stop`, `reload`, `health`: calls of the running service's HTTP interface.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::output::say;
use super::{BAD_INPUT, Exit, FAILED, UNREACHABLE};
use crate::config::{self, File, Server, Setting, Sources};
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
    /// Do not wait for the run to end
    #[arg(long)]
    no_wait: bool,
    /// Show progress until the run is done
    #[arg(long, conflicts_with = "no_wait")]
    follow: bool,
}

/// Runs a job and prints what came of it.
pub(super) fn trigger(sources: &Sources, options: &TriggerOptions) -> Result<(), Exit> {
    if options.follow {
        return follow(sources, &options.job);
    }
    let wait = if options.no_wait { "?wait=false" } else { "" };
    post(sources, &format!("/trigger/{}{wait}", options.job))
}

/// Runs a job and shows on a terminal how far it is, until it is done.
fn follow(sources: &Sources, job: &JobId) -> Result<(), Exit> {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
    let expected = call(sources, "GET", &format!("/api/schedules/{job}/plan"))
        .ok()
        .and_then(|(_, plan)| plan["rows"].as_u64());
    let (status, begun) = call(sources, "POST", &format!("/trigger/{job}?wait=false"))?;
    if status != 202 {
        return Err(Exit::new(FAILED, begun["message"].as_str().unwrap_or_default()));
    }
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    loop {
        let (_, history) = call(sources, "GET", &format!("/api/schedules/executions?job={job}&limit=20"))?;
        let runs = history["executions"].as_array().into_iter().flatten();
        let run = runs
            .into_iter()
            .find(|run| run["id"] == begun["runId"])
            .cloned()
            .unwrap_or_default();
        if run["status"] != "running" && run["status"] != "queued" {
            if is_terminal {
                eprintln!();
            }
            let said = run["message"].as_str().or(run["error"].as_str()).unwrap_or_default();
            if run["status"] == "success" {
                say!("{said}");
                return Ok(());
            }
            return Err(Exit::new(FAILED, said));
        }
        let (_, schedules) = call(sources, "GET", "/api/schedules")?;
        let jobs = schedules["jobs"].as_array().into_iter().flatten();
        let rows = jobs
            .into_iter()
            .find(|found| found["id"] == job.as_str())
            .and_then(|job| job["progress"].as_u64());
        if is_terminal {
            eprint!("\r{}", bar(rows.unwrap_or(0), expected));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// How far a run is, as a bar where it is known how much there is to do.
fn bar(rows: u64, expected: Option<u64>) -> String {
    const WIDTH: usize = 30;
    let Some(expected) = expected.filter(|expected| *expected > 0) else {
        return format!("{rows} rows so far");
    };
    let filled = usize::try_from(rows.min(expected) * 30 / expected).unwrap_or(WIDTH);
    format!(
        "[{}{}] {rows} of {expected} rows",
        "#".repeat(filled),
        " ".repeat(WIDTH - filled)
    )
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

/// What the running service has in force.
pub(super) fn settings(sources: &Sources) -> Result<Vec<Setting>, Exit> {
    let (status, body) = call(sources, "GET", "/api/config")?;
    if status != 200 {
        return Err(Exit::new(FAILED, body["error"].as_str().unwrap_or_default()));
    }
    serde_json::from_value(body["settings"].clone())
        .map_err(|error| Exit::new(FAILED, format!("the answer of the service cannot be read: {error}")))
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
    if let File::Path(path) = &sources.file {
        // What is named must be there: another declaration may name another service.
        std::fs::metadata(path)
            .map_err(|error| Exit::new(BAD_INPUT, format!("{} cannot be read: {error}", path.display())))?;
    }
    let server = config::server(sources).ok_or_else(|| {
        Exit::new(
            UNREACHABLE,
            "the declaration does not say where the service listens; use --port",
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
    if answer.status() == 401 {
        let why = if server.token.is_some() {
            "rejected the token; set CRON_TOKEN or server.token_file to the one that the service uses"
        } else {
            "requires a token; set CRON_TOKEN"
        };
        return Err(Exit::new(FAILED, format!("the service at {address} {why}")));
    }
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
