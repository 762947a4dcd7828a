//! `plan`: what each job would do if it ran now. Changes nothing.

use clap::Args;
use serde_json::{Map, Value, json};

use super::output::say;
use super::{Exit, FAILED, Format};
use crate::actions::{Failure, Forecast};
use crate::config::{self, Job, Sources};
use crate::engine::Clock;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The job [default: every job]
    job: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn main(sources: &Sources, options: &Options) -> Result<(), Exit> {
    let plan = config::load(sources)?.plan;
    let jobs = super::jobs_of(&plan, options.job.as_deref())?;
    let now = Clock::System.now();
    let found: Vec<(&Job, Result<Forecast, Failure>)> =
        jobs.into_iter().map(|job| (job, plan.forecast(job, now))).collect();
    match options.format {
        Format::Json => {
            let by_job: Map<String, Value> = found
                .iter()
                .map(|(job, forecast)| (job.id.to_string(), to_json(forecast)))
                .collect();
            say!("{}", Value::Object(by_job));
        }
        Format::Text => found.iter().for_each(|(job, forecast)| print(job, forecast)),
    }
    let would_fail =
        |forecast: &Result<Forecast, Failure>| forecast.as_ref().map_or(true, |found| found.refusal.is_some());
    if found.iter().any(|(_, forecast)| would_fail(forecast)) {
        return Err(Exit::new(FAILED, ""));
    }
    Ok(())
}

fn to_json(forecast: &Result<Forecast, Failure>) -> Value {
    match forecast {
        Ok(forecast) => forecast.json.clone(),
        Err(Failure { message: why, .. }) => json!({ "error": why }),
    }
}

/// What rows hold, without anything that a terminal would obey.
fn printable(line: &str) -> String {
    line.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn print(job: &Job, forecast: &Result<Forecast, Failure>) {
    say!("{}:", job.id);
    match forecast {
        Ok(forecast) => forecast.lines.iter().for_each(|line| say!("  {}", printable(line))),
        Err(Failure { message: why, .. }) => say!("  cannot be told: {why}"),
    }
}
