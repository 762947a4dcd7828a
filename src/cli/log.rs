//! How events are written: one line each on standard output, as JSON for programs or as text for people.

use std::io::{IsTerminal, stdout};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Common;
use crate::config::Environment;

/// Sets the log up for this process. `people` forces the form for people.
pub(super) fn set_up(common: &Common, environment: &Environment, people: bool) {
    let level = if common.dev { Level::DEBUG } else { Level::INFO };
    let ours = Targets::new().with_target("duplistatus_cron", level);
    let lines = tracing_subscriber::fmt::layer()
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
}
