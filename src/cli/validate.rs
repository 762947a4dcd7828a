//! `validate`: every problem of every source at once.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::say;
use super::{BAD_INPUT, Exit, Format};
use crate::config::{self, File, Problem, Problems, Sources};
use crate::values::{Clock, plural};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The declaration to check [default: the one the service would use]
    file: Option<PathBuf>,
    /// Fail on warnings, too
    #[arg(long)]
    deny_warnings: bool,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn main(mut sources: Sources, options: Options) -> Result<(), Exit> {
    if let Some(file) = options.file {
        sources.file = File::Path(file);
    }
    let (jobs, problems) = match super::block_on(config::examine(&sources, Clock::system().now()))? {
        Ok(loaded) => (loaded.plan.jobs.len(), Problems(loaded.problems)),
        Err(problems) => (0, problems),
    };
    let is_valid = !problems.0.iter().any(|problem| problem.severity.is_error());
    match options.format {
        Format::Json => say!(
            "{}",
            json!({ "valid": is_valid, "jobs": jobs, "problems": problems.0.iter().map(to_json).collect::<Vec<_>>() })
        ),
        Format::Text => {
            if !problems.0.is_empty() {
                say!("{}", problems.to_string().trim_end());
            }
            if is_valid {
                let warnings = plural(problems.0.len() as u64, "warning");
                say!("{}: good, {}, {warnings}", sources.file, plural(jobs as u64, "job"));
            } else {
                say!("{}: {}", sources.file, problems.count());
            }
        }
    }
    let is_denied = options.deny_warnings && !problems.0.is_empty();
    if is_valid && !is_denied {
        Ok(())
    } else {
        Err(Exit::new(BAD_INPUT, ""))
    }
}

fn to_json(problem: &Problem) -> serde_json::Value {
    let mut body = serde_json::to_value(problem).unwrap_or_default();
    if let Some((line, column)) = problem.place {
        body["place"] = json!({ "line": line, "column": column });
    }
    body
}
