//! `status` and `history`: how the running service's jobs are, and their runs, as tables for people.

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Exit;
use super::client::{self, Client};
use super::output::{Paint, printable, say, table};
use crate::config::Sources;
use crate::state::Status;
use crate::values::JobId;

/// How much of a message a table shows, in characters.
const LONGEST_MESSAGE: usize = 60;

#[derive(Args, Debug)]
pub(super) struct StatusOptions {
    #[command(flatten)]
    client: client::Options,
}

#[derive(Args, Debug)]
pub(super) struct HistoryOptions {
    /// The job [default: every job]
    job: Option<JobId>,
    /// Only runs that ended so: success, failed, timed_out, interrupted, skipped; or running, queued
    #[arg(long)]
    status: Option<Status>,
    /// How many runs to show, newest first
    #[arg(short, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    n: u16,
    /// Show this run with what its programs printed
    #[arg(long, conflicts_with_all = ["job", "status", "n"])]
    run: Option<i64>,
    #[command(flatten)]
    client: client::Options,
}

/// A row with its rank: those that fail come first, then those that run, then by their next time.
type Ranked = ((u8, String), Vec<(String, Paint)>);

/// Prints one line for each job.
pub(super) fn status(sources: &Sources, options: &StatusOptions) -> Result<(), Exit> {
    let client = Client::new(sources, &options.client)?;
    let answer = client.get("/api/overview")?.good()?;
    if client.has_printed(&answer.body) {
        return Ok(());
    }
    let now = crate::values::Clock::system().now();
    let jobs = answer.body["jobs"].as_array().into_iter().flatten();
    let mut rows: Vec<Ranked> = jobs.map(|job| row_of_job(job, now)).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    table(
        &["JOB", "STATE", "NEXT", "LEFT", "LAST", "RESULT", "MESSAGE"],
        rows.into_iter().map(|(_, row)| row).collect(),
    );
    let (status, version) = (printable(answer.text("status")), printable(answer.text("version")));
    say!("\nThe service is {status}, version {version}.");
    print_replicas(&answer.body);
    client::print_reasons(&answer.body);
    Ok(())
}

/// Prints who leads, where there are several replicas.
fn print_replicas(overview: &Value) {
    let Some(replicas) = overview["replicas"].as_array() else {
        return;
    };
    for replica in replicas {
        let is = |key: &str| replica[key] == true;
        let role = if is("isLeading") { "leader" } else { "standby" };
        let this = if is("isThis") { ", this replica" } else { "" };
        let plan = if is("hasAnotherPlan") {
            ", its declaration differs"
        } else {
            ""
        };
        say!(
            "Replica {}: {role}{this}{plan}.",
            printable(replica["id"].as_str().unwrap_or_default())
        );
    }
}

fn row_of_job(job: &Value, now: Timestamp) -> Ranked {
    let text = |key: &str| job[key].as_str().unwrap_or_default();
    let error = job["error"].as_str().or_else(|| job["overdue"].as_str());
    let (rank, paint) = match text("state") {
        "failing" | "overdue" => (0, Paint::Bad),
        _ if error.is_some() => (0, Paint::Plain),
        "running" | "queued" => (1, Paint::Plain),
        "stopped" => (3, Paint::Warn),
        "disabled" => (3, Paint::Plain),
        "warning" => (2, Paint::Warn),
        _ => (2, Paint::Good),
    };
    let state = match text("state") {
        failing @ ("failing" | "overdue") if job["active"] == false => format!("{failing}, stopped"),
        state => state.to_owned(),
    };
    let next: Option<Timestamp> = text("next_run").parse().ok();
    let newest = job["runs"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|run| !run[3].is_null());
    let last = newest.and_then(|run| Timestamp::from_millisecond(run[2].as_i64()?).ok());
    let result = newest.map_or("", |run| run[1].as_str().unwrap_or_default());
    let message = error.unwrap_or_else(|| text("message"));
    let plain = |text: String| (text, Paint::Plain);
    let row = vec![
        plain(text("id").to_owned()),
        (state, paint),
        plain(next.map_or_else(|| "-".to_owned(), at)),
        plain(next.map_or_else(|| "-".to_owned(), |next| in_few_words(next.duration_since(now)))),
        plain(last.map_or_else(|| "-".to_owned(), at)),
        (result.replace('_', " "), paint_of(result)),
        plain(shortened(message)),
    ];
    ((rank, next.map_or_else(|| "~".to_owned(), at)), row)
}

/// Prints the newest runs, or one with its output.
pub(super) fn history(sources: &Sources, options: &HistoryOptions) -> Result<(), Exit> {
    let client = Client::new(sources, &options.client)?;
    if let Some(run) = options.run {
        return show_run(&client, run);
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &options.n.to_string());
    if let Some(job) = &options.job {
        query.append_pair("job", job.as_str());
    }
    if let Some(status) = options.status {
        query.append_pair("status", status.as_str());
    }
    let answer = client
        .get(&format!("/api/schedules/executions?{}", query.finish()))?
        .good()?;
    if client.has_printed(&answer.body) {
        return Ok(());
    }
    let runs = answer.body["executions"].as_array().into_iter().flatten();
    table(
        &["RUN", "JOB", "BEGAN", "TOOK", "TRIGGER", "RESULT", "MESSAGE"],
        runs.map(row_of_run).collect(),
    );
    Ok(())
}

fn row_of_run(run: &Value) -> Vec<(String, Paint)> {
    let text = |key: &str| run[key].as_str().unwrap_or_default();
    let began = run["started_at"].as_str().unwrap_or_else(|| text("scheduled_at"));
    let began = began.parse().map_or_else(|_| began.to_owned(), at);
    let took = run["duration_ms"].as_i64().map(SignedDuration::from_millis);
    let message = run["error"].as_str().unwrap_or_else(|| text("message"));
    let plain = |text: String| (text, Paint::Plain);
    vec![
        plain(run["id"].to_string()),
        plain(text("job").to_owned()),
        plain(began),
        plain(took.map_or_else(|| "-".to_owned(), in_few_words)),
        plain(text("trigger").replace('_', " ")),
        (text("status").replace('_', " "), paint_of(text("status"))),
        plain(shortened(message)),
    ]
}

/// Prints one run, a line for each thing known of it, then its output.
fn show_run(client: &Client, run: i64) -> Result<(), Exit> {
    let answer = client.get(&format!("/api/schedules/executions/{run}"))?.good()?;
    if client.has_printed(&answer.body) {
        return Ok(());
    }
    let facts = answer.body.as_object().into_iter().flatten();
    for (key, value) in facts.filter(|(key, value)| *key != "output" && !value.is_null()) {
        let value = value.as_str().map_or_else(|| json!(value).to_string(), str::to_owned);
        say!("{:<13} {}", format!("{key}:"), printable(&value));
    }
    if let Some(output) = answer.body["output"].as_str() {
        say!("output:");
        output.lines().for_each(|line| say!("  {}", printable(line)));
    }
    Ok(())
}

fn at(at: Timestamp) -> String {
    let zoned = at.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A length of time in one or two units.
fn in_few_words(time: SignedDuration) -> String {
    let (millis, seconds) = (time.as_millis(), time.as_secs());
    match seconds.abs() {
        0 if millis.abs() < 1000 => format!("{millis} ms"),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds.abs() % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds.abs() % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn paint_of(status: &str) -> Paint {
    match status {
        "success" => Paint::Good,
        "failed" | "timed_out" => Paint::Bad,
        "interrupted" | "skipped" => Paint::Warn,
        _ => Paint::Plain,
    }
}

fn shortened(message: &str) -> String {
    let line = printable(message.lines().next().unwrap_or_default());
    match line.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
