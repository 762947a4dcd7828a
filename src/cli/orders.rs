//! `trigger`, `cancel`, `start`, `stop`, `reload`, `health`, `why`: orders to the running service, and questions to it.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::client::{self, Answer, Client};
use super::output::{printable, printable_lines, say};
use super::{Exit, FAILED, Format};
use crate::config::Sources;
use crate::values::{JobId, plural};

/// How often `--follow` looks how far the run is.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
pub(super) struct JobOptions {
    /// The job
    job: JobId,
    #[command(flatten)]
    client: client::Options,
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
    #[command(flatten)]
    client: client::Options,
}

#[derive(Args, Debug)]
pub(super) struct RunOptions {
    /// The number of the run, as `history` shows it
    run: i64,
    #[command(flatten)]
    client: client::Options,
}

/// Runs a job and prints what came of it.
pub(super) fn trigger(sources: &Sources, options: &TriggerOptions) -> Result<(), Exit> {
    let client = Client::new(sources, &options.client)?;
    let job = &options.job;
    if options.follow {
        return follow(&client, job);
    }
    let wait = if options.no_wait { "?wait=false" } else { "" };
    order(&client, &format!("/trigger/{job}{wait}"))
}

pub(super) fn start(sources: &Sources, options: &JobOptions) -> Result<(), Exit> {
    order(
        &Client::new(sources, &options.client)?,
        &format!("/start/{}", options.job),
    )
}

pub(super) fn stop(sources: &Sources, options: &JobOptions) -> Result<(), Exit> {
    order(
        &Client::new(sources, &options.client)?,
        &format!("/stop/{}", options.job),
    )
}

pub(super) fn reload(sources: &Sources, options: &client::Options) -> Result<(), Exit> {
    order(&Client::new(sources, options)?, "/reload-config")
}

pub(super) fn cancel(sources: &Sources, options: &RunOptions) -> Result<(), Exit> {
    let path = format!("/api/schedules/executions/{}/cancel", options.run);
    order(&Client::new(sources, &options.client)?, &path)
}

/// Gives an order and prints what came of it, with its problems where it has some.
fn order(client: &Client, path: &str) -> Result<(), Exit> {
    let answer = client.post(path)?;
    let is_good = answer.status < 300 && answer.body["success"] != false;
    let problems = answer.body["problems"].as_array().into_iter().flatten();
    let problems = problems.filter_map(|problem| problem["text"].as_str());
    let lines: Vec<String> = problems.map(printable_lines).chain([answer.message()]).collect();
    client.conclude(&answer.body, is_good, lines.join("\n"))
}

/// Runs a job and shows how far it is until it is done: on a terminal as it goes on, elsewhere at the end.
fn follow(client: &Client, job: &JobId) -> Result<(), Exit> {
    let expected = client.get(&format!("/api/schedules/{job}/plan"));
    let expected = expected.ok().and_then(|plan| plan.body["rows"].as_u64());
    let begun = client.post(&format!("/trigger/{job}?wait=false"))?.good()?;
    let (is_terminal, since) = (std::io::stderr().is_terminal(), Instant::now());
    let run = loop {
        let run = client
            .get(&format!("/api/schedules/executions/{}", begun.body["runId"]))?
            .good()?;
        if !["running", "queued"].contains(&run.text("status")) {
            break run;
        }
        if is_terminal {
            let schedules = client.get("/api/schedules")?;
            let mut jobs = schedules.body["jobs"].as_array().into_iter().flatten();
            let rows = jobs
                .find(|found| found["id"] == job.as_str())
                .and_then(|job| job["progress"].as_u64());
            eprint!("\r\u{1b}[K{}", bar(rows.unwrap_or(0), expected, since.elapsed()));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    };
    if is_terminal {
        eprint!("\r\u{1b}[K");
    }
    client.conclude(&run.body, run.text("status") == "success", run.message())
}

/// How far a run is, as a bar where it is known how much there is to do.
fn bar(rows: u64, expected: Option<u64>, elapsed: Duration) -> String {
    const WIDTH: usize = 30;
    let Some(expected) = expected.filter(|expected| *expected > 0) else {
        let rows = if rows > 0 {
            format!(", {} so far", plural(rows, "row"))
        } else {
            String::new()
        };
        return format!("running for {} s{rows}", elapsed.as_secs());
    };
    let filled = usize::try_from(rows.min(expected) * 30 / expected).unwrap_or(WIDTH);
    format!(
        "[{}{}] {rows} of {expected} rows",
        "#".repeat(filled),
        " ".repeat(WIDTH - filled)
    )
}

/// Prints what was decided about a job, oldest first, and what comes next.
pub(super) fn why(sources: &Sources, options: &JobOptions) -> Result<(), Exit> {
    let client = Client::new(sources, &options.client)?;
    let answer = client.get(&format!("/api/schedules/{}/why", options.job))?.good()?;
    if client.has_printed(&answer.body) {
        return Ok(());
    }
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    for decision in answer.body["decisions"].as_array().into_iter().flatten().rev() {
        let (at, what, why) = (text(decision, "at"), text(decision, "decision"), text(decision, "why"));
        say!("{}", printable(&format!("{at}  {what}: {why}")));
    }
    say!("{}", printable(answer.text("summary")));
    Ok(())
}

#[derive(Args, Debug)]
pub(super) struct HealthOptions {
    /// Where the service is reached [default: where the declaration says that it listens]
    #[arg(long)]
    url: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
}

/// Prints the health of the service; a failing one is a failure.
pub(super) fn health(sources: &Sources, options: &HealthOptions) -> Result<(), Exit> {
    let client = Client::new(sources, &client::Options::at(options.url.clone()))?;
    let Answer { status, body } = client.get("/health")?;
    if options.format == Format::Json {
        say!("{body:#}");
    } else {
        say!("{}", printable(body["status"].as_str().unwrap_or_default()));
        client::print_reasons(&body);
    }
    if status == 200 {
        Ok(())
    } else {
        Err(Exit::new(FAILED, ""))
    }
}
