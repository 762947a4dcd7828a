//! `GET /api/config`: the configuration in force, each value with its origin; secrets are hidden.

use serde_json::{Value, json};

use super::{Answer, Context, Request};
use crate::config::settings;
use crate::engine::Command;
use crate::values::iso;

/// `GET /api/config`
pub(super) fn get(context: &Context, _request: &Request, _job: &str) -> Answer {
    let Some(report) = context.ask(|reply| Command::Report { reply }) else {
        return Answer::stuck();
    };
    match settings(&report.config.in_force) {
        Ok((settings, _)) => Answer::ok(json!({
            "source": report.config.source,
            "loadedAt": iso(report.config.loaded_at),
            "settings": settings.iter().map(|setting| json!(setting)).collect::<Vec<Value>>(),
        })),
        Err(problems) => Answer::error(503, problems.to_string()),
    }
}
