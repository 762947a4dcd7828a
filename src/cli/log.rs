//! How events are written: one line each on standard output, as JSON for programs or as text for people.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Common;
use crate::config::Environment;
use crate::values::plural;

/// How many lines wait for whoever reads them; those beyond are dropped.
const MOST_WAITING: usize = 8192;
/// How often it is told that lines were dropped.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);

/// The log's own thread. Dropped, it writes what waits, for a second at the most.
#[derive(Debug)]
pub(super) struct Log {
    _thread: WorkerGuard,
    dropped: ErrorCounter,
}

impl Log {
    /// Counts the lines that were dropped.
    pub(super) fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Tells how many lines were dropped, for as long as the service runs.
pub(super) async fn tell_dropped(dropped: ErrorCounter) {
    let mut told = 0;
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let now = dropped.dropped_lines();
        if now > told {
            let lines = plural((now - told) as u64, "line");
            tracing::warn!("{lines} missing from this log: they could not be written in time");
            told = now;
        }
    }
}

/// Standard output, written when nothing more waits: a write for each line would cost more than the line.
fn whole_lines() -> Box<dyn Write + Send> {
    match stdout().as_fd().try_clone_to_owned() {
        Ok(output) => Box::new(BufWriter::new(File::from(output))),
        Err(_) => Box::new(stdout()),
    }
}

/// Sets the log up for this process. `people` forces the form for people. Nobody waits for whoever reads it.
pub(super) fn set_up(common: &Common, environment: &Environment, people: bool) -> Log {
    let level = if common.dev { Level::DEBUG } else { Level::INFO };
    let ours = Targets::new().with_target("duplistatus_cron", level);
    let (writer, thread) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MOST_WAITING)
        .thread_name("log")
        .finish(whole_lines());
    let dropped = writer.error_counter();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_target(false)
        .log_internal_errors(false);
    let no_color = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_coloured = stdout().is_terminal() && !no_color;
    let for_people = people || common.dev || (stdout().is_terminal() && !common.local);
    if for_people {
        tracing_subscriber::registry()
            .with(ours)
            .with(lines.with_ansi(is_coloured))
            .init();
    } else {
        tracing_subscriber::registry()
            .with(ours)
            .with(
                lines
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false),
            )
            .init();
    }
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("panic, a bug in this program: {panic}");
    }));
    Log {
        _thread: thread,
        dropped,
    }
}
