//! `validate`: every problem of every source at once.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::say;
use super::{BAD_INPUT, Exit, Format};
use crate::config::{self, File, Problem, Problems, Sources};
use crate::values::Clock;
use crate::values::plural;

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
    let (jobs, problems) = match super::block_on(config::examine(&sources, Clock::System.now()))? {
        Ok(loaded) => (loaded.plan.jobs.len(), loaded.problems),
        Err(problems) => (0, problems.0),
    };
    let errors = problems.iter().filter(|problem| problem.severity.is_error()).count();
    match options.format {
        Format::Json => say!(
            "{}",
            json!({ "valid": errors == 0, "jobs": jobs, "problems": problems.iter().map(to_json).collect::<Vec<_>>() })
        ),
        Format::Text => {
            if !problems.is_empty() {
                say!("{}", Problems(problems.clone()).to_string().trim_end());
            }
            match errors {
                0 => say!(
                    "{}: good, {}, {}",
                    sources.file,
                    count(jobs, "job"),
                    count(problems.len(), "warning")
                ),
                _ => say!(
                    "{}: {}, {}",
                    sources.file,
                    count(errors, "error"),
                    count(problems.len() - errors, "warning")
                ),
            }
        }
    }
    let is_denied = options.deny_warnings && !problems.is_empty();
    if errors == 0 && !is_denied {
        Ok(())
    } else {
        Err(Exit::new(BAD_INPUT, ""))
    }
}

fn count(of: usize, what: &str) -> String {
    plural(of as u64, what)
}

fn to_json(problem: &Problem) -> serde_json::Value {
    let mut body = serde_json::to_value(problem).unwrap_or_default();
    if let Some((line, column)) = problem.place {
        body["place"] = json!({ "line": line, "column": column });
    }
    body
}
