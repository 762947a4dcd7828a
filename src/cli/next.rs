//! `next`: when jobs are due, in their own zones and in UTC.

use clap::Args;
use jiff::tz::AmbiguousOffset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::output::say;
use super::{Exit, Format};
use crate::config::{self, Job, Sources};
use crate::values::{Clock, TimeZone};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The job [default: every job]
    job: Option<String>,
    /// How many times
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 5)]
    count: usize,
    /// The times after this instant, such as 2026-03-28T00:00:00Z, or this day in UTC [default: now]
    #[arg(long, value_name = "TIME", value_parser = super::instant)]
    from: Option<Timestamp>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn main(sources: &Sources, options: &Options) -> Result<(), Exit> {
    let plan = config::load(sources)?.plan;
    let jobs = super::jobs_of(&plan, options.job.as_deref())?;
    let from = options.from.unwrap_or_else(|| Clock::system().now());
    match options.format {
        Format::Json => {
            let by_job: Map<String, Value> = jobs
                .iter()
                .map(|job| (job.id.to_string(), instants(job, from, options.count)))
                .collect();
            say!("{}", Value::Object(by_job));
        }
        Format::Text => jobs.iter().for_each(|job| print(job, from, options.count)),
    }
    Ok(())
}

fn times(job: &Job, from: Timestamp, count: usize) -> impl Iterator<Item = Timestamp> {
    std::iter::successors(job.next_after(from), |at| job.next_after(*at)).take(count)
}

fn instants(job: &Job, from: Timestamp, count: usize) -> Value {
    times(job, from, count).map(|at| Value::from(at.to_string())).collect()
}

fn print(job: &Job, from: Timestamp, count: usize) {
    let disabled = if job.enabled { "" } else { ", disabled" };
    say!("{}: {} ({}{disabled})", job.id, job.schedule, job.time_zone);
    for at in times(job, from, count) {
        let there = at.to_zoned(job.time_zone.get().clone());
        say!(
            "  {}  {at}{}",
            there.strftime("%a %Y-%m-%d %H:%M:%S %:z"),
            note(at, &job.time_zone)
        );
    }
}

/// What a change of the clock does to a time.
fn note(at: Timestamp, zone: &TimeZone) -> &'static str {
    let zone = zone.get();
    let offset = zone.to_offset(at);
    let before = zone.to_offset(at - SignedDuration::from_secs(1));
    let shown = zone.to_ambiguous_timestamp(offset.to_datetime(at)).offset();
    match shown {
        AmbiguousOffset::Fold { before, .. } if before == offset => "  (this time comes twice: the first)",
        AmbiguousOffset::Fold { .. } => "  (this time comes twice: the second)",
        _ if before < offset => "  (the clock jumps forward to this time)",
        _ => "",
    }
}
