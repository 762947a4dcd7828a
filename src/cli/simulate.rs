//! `simulate`: what the service would do in a stretch of time, by the very code that does it.

use std::collections::BTreeMap;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::output::say;
use super::{BAD_INPUT, Exit, Format};
use crate::config::{self, Plan, Sources};
use crate::engine::simulation::{self, Event, Stretch, What};
use crate::state::Trigger;
use crate::values::{Clock, Duration, JobId, iso, plural};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// When the service starts, such as 2026-03-28T00:00:00Z, or on this day in UTC [default: now]
    #[arg(long, value_name = "TIME", value_parser = super::instant)]
    from: Option<Timestamp>,
    /// For how long
    #[arg(long = "for", value_name = "DURATION", default_value = "7d")]
    length: Duration,
    /// When the service is down, as FROM..TO
    #[arg(long, value_name = "FROM..TO")]
    down: Option<String>,
    /// How long every run is assumed to take
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    run_time: Duration,
    /// Show every run, not only what is out of the ordinary
    #[arg(long)]
    all: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What became of a job's times.
#[derive(Default)]
struct Count {
    runs: usize,
    caught_up: usize,
    waited: usize,
    skipped: usize,
    cut_off: usize,
}

pub(super) fn main(sources: &Sources, options: &Options) -> Result<(), Exit> {
    let plan = config::load(sources)?.plan;
    let stretch = options.stretch()?;
    let (mut events, mut counts) = (Vec::new(), BTreeMap::<JobId, Count>::new());
    simulation::run(&plan, stretch, &mut |event| {
        let count = counts.entry(event.job.clone()).or_default();
        if count.add(&event) || options.all || options.format == Format::Json {
            events.push(event);
        }
    });
    let changes = clock_changes(&plan, stretch);
    match options.format {
        Format::Json => {
            let events: Vec<Value> = events.iter().map(to_json).collect();
            say!("{}", json!({ "events": events, "clock_changes": changes }));
        }
        Format::Text => print(&plan, &events, &counts, &changes, stretch),
    }
    Ok(())
}

impl Options {
    fn stretch(&self) -> Result<Stretch, Exit> {
        let from = self.from.unwrap_or_else(|| Clock::system().now());
        let to = from.saturating_add(self.length.signed()).unwrap_or(Timestamp::MAX);
        let refuse = || {
            Exit::new(
                BAD_INPUT,
                "--down: two instants are expected, the later one second, such as 2026-03-28T00:00:00Z..2026-03-28T06:00:00Z",
            )
        };
        let down = match &self.down {
            None => None,
            Some(text) => {
                let (first, last) = text.split_once("..").ok_or_else(refuse)?;
                let (first, last): (Timestamp, Timestamp) = (
                    first.parse().map_err(|_| refuse())?,
                    last.parse().map_err(|_| refuse())?,
                );
                Some((first, last))
                    .filter(|(first, last)| from <= *first && first < last)
                    .ok_or_else(refuse)
                    .map(Some)?
            }
        };
        Ok(Stretch {
            from,
            to,
            down,
            run_time: self.run_time.signed(),
        })
    }
}

impl Count {
    /// Counts an event; whether it is out of the ordinary.
    fn add(&mut self, event: &Event) -> bool {
        match &event.what {
            What::Runs(Trigger::CatchUp) => self.caught_up += 1,
            What::Runs(_) if event.at > event.scheduled_at => self.waited += 1,
            What::Runs(_) => {
                self.runs += 1;
                return false;
            }
            What::Skips(_) => self.skipped += 1,
            What::IsCutOff => self.cut_off += 1,
        }
        true
    }
}

/// When the clocks of the jobs' zones change.
fn clock_changes(plan: &Plan, stretch: Stretch) -> Vec<String> {
    let mut changes = Vec::new();
    for job in plan.jobs_in_order() {
        let zone = job.time_zone.get();
        for change in zone
            .following(stretch.from)
            .take_while(|change| change.timestamp() <= stretch.to)
        {
            let at = change.timestamp();
            let before = zone.to_offset(at - SignedDuration::from_secs(1)).to_datetime(at);
            let after = change.offset().to_datetime(at);
            let line = format!(
                "{}: the clock in {} goes from {} to {}",
                iso(at),
                job.time_zone,
                before.time(),
                after.time()
            );
            if before != after && !changes.contains(&line) {
                changes.push(line);
            }
        }
    }
    changes
}

fn in_words(event: &Event) -> String {
    match &event.what {
        What::Runs(Trigger::CatchUp) => format!("catches up {}", iso(event.scheduled_at)),
        What::Runs(_) if event.at > event.scheduled_at => {
            format!("runs, queued since {}", iso(event.scheduled_at))
        }
        What::Runs(_) => "runs".to_owned(),
        What::Skips(why) => format!("skips {}: {why}", iso(event.scheduled_at)),
        What::IsCutOff => "is interrupted".to_owned(),
    }
}

fn to_json(event: &Event) -> Value {
    let (what, why) = match &event.what {
        What::Runs(trigger) => ("run", Some(trigger.as_str().to_owned())),
        What::Skips(why) => ("skip", Some(why.clone())),
        What::IsCutOff => ("cut_off", None),
    };
    json!({ "at": iso(event.at), "job": event.job, "what": what, "why": why, "scheduled_at": iso(event.scheduled_at) })
}

fn print(plan: &Plan, events: &[Event], counts: &BTreeMap<JobId, Count>, changes: &[String], stretch: Stretch) {
    for event in events {
        say!("{}  {}: {}", iso(event.at), event.job, in_words(event));
    }
    for change in changes {
        say!("{change}");
    }
    say!("From {} to {}:", iso(stretch.from), iso(stretch.to));
    for job in plan.jobs_in_order() {
        let Some(count) = counts.get(&job.id) else {
            say!("  {}: never", job.id);
            continue;
        };
        let Count {
            runs,
            caught_up,
            waited,
            skipped,
            cut_off,
        } = count;
        let parts = [
            (*caught_up, "caught up"),
            (*waited, "after queueing"),
            (*skipped, "skipped"),
            (*cut_off, "interrupted"),
        ];
        let rest = parts.iter().filter(|(count, _)| *count > 0);
        let rest = rest.fold(String::new(), |line, (count, what)| format!("{line}, {count} {what}"));
        say!("  {}: {} on time{rest}", job.id, plural(*runs as u64, "run"));
    }
}
