//! How events are written: one line each on standard output, as JSON for programs or as text for people.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::output::is_coloured;
use super::{Common, RunOptions};
use crate::config::{self, LogFormat, LogLevel, Sources};
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

/// How this process is to log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    level: LogLevel,
    for_people: bool,
}

impl Form {
    /// That of a command that people call.
    pub(super) fn for_people(common: &Common) -> Self {
        Self {
            level: if common.dev { LogLevel::Debug } else { LogLevel::Info },
            for_people: true,
        }
    }

    /// What the options say, or else the declaration, of a service or of its demonstration, which is for people.
    pub(super) fn new(common: &Common, options: &RunOptions, sources: &Sources) -> Self {
        let declared = config::log(sources);
        let level = options.log_level.or(common.dev.then_some(LogLevel::Debug));
        let format = options
            .log_format
            .or((common.dev || options.demo).then_some(LogFormat::Text));
        let format = format.or(declared.map(|log| log.format)).unwrap_or(LogFormat::Auto);
        Self {
            level: level.or(declared.map(|log| log.level)).unwrap_or(LogLevel::Info),
            for_people: match format {
                LogFormat::Auto => stdout().is_terminal() && !common.local,
                LogFormat::Json => false,
                LogFormat::Text => true,
            },
        }
    }
}

/// Reads a word of the section `log`.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Sets the log up for this process. Nobody waits for whoever reads it.
pub(super) fn set_up(form: Form) -> Log {
    let level = match form.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
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
    if form.for_people {
        tracing_subscriber::registry()
            .with(ours)
            .with(lines.with_ansi(is_coloured()))
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
