//! `plan`: what each job would do if it ran now. Changes nothing.

use clap::Args;
use serde_json::{Map, Value, json};

use super::output::{printable, say};
use super::{Exit, FAILED, Format};
use crate::config::{self, Job, Services, Sources};
use crate::run::{DryRun, Failure};
use crate::state::Store;
use crate::values::Clock;

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
    let now = Clock::system().now();
    // Nothing is asked of the state, so that none is made.
    let services = Services::dry(Store::on(&plan.state.place), Clock::system());
    let found: Vec<(&Job, Found)> = super::block_on(async {
        let mut found = Vec::new();
        for job in jobs {
            found.push((job, plan.dry_run(job, now, &services).await));
        }
        found
    })?;
    match options.format {
        Format::Json => {
            let by_job: Map<String, Value> = found
                .iter()
                .map(|(job, found)| (job.id.to_string(), to_json(found)))
                .collect();
            say!("{}", Value::Object(by_job));
        }
        Format::Text => found.iter().for_each(|(job, found)| print(job, found)),
    }
    let would_fail = |found: &Found| match found {
        Ok(found) => found.as_ref().is_some_and(|found| found.refusal.is_some()),
        Err(_) => true,
    };
    if found.iter().any(|(_, found)| would_fail(found)) {
        return Err(Exit::new(FAILED, ""));
    }
    Ok(())
}

/// What a run would do, where its kind can tell.
type Found = Result<Option<DryRun>, Failure>;

fn to_json(found: &Found) -> Value {
    match found {
        Ok(found) => found.as_ref().map_or_else(|| json!({}), |found| found.json.clone()),
        Err(failure) => json!({ "error": failure.message }),
    }
}

fn print(job: &Job, found: &Found) {
    say!("{}:", job.id);
    match found {
        Ok(Some(found)) => found.lines.iter().for_each(|line| say!("  {}", printable(line))),
        Ok(None) => say!("  what it would do is only known when it runs"),
        Err(failure) => say!("  unknown: {}", failure.message),
    }
}
