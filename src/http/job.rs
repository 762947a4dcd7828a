//! `GET /api/jobs/:job`: one job, its next times, and its declaration in force with the origin of each value.

use jiff::Timestamp;
use serde_json::json;

use super::{Answer, Context, Request, schedules, why};
use crate::config::settings;
use crate::engine::Command;
use crate::values::iso;

/// How many of its times are told.
const TIMES: usize = 5;

/// `GET /api/jobs/:job`
pub(super) fn get(context: &Context, _request: &Request, id: &str) -> Answer {
    let Some(report) = context.ask(|reply| Command::Report { reply }) else {
        return Answer::stuck();
    };
    let plan = std::sync::Arc::clone(&context.plans.borrow());
    let found = report.jobs.iter().find(|job| job.id.as_str() == id);
    let Some((found, job)) = found.and_then(|found| Some((found, plan.jobs.get(&found.id)?))) else {
        return Answer::error(404, format!("no job `{id}` is declared"));
    };
    let after = |at: &Timestamp| job.next_after(*at);
    let next = std::iter::successors(after(&report.at), after).take(TIMES);
    let settings = match settings(&report.config.in_force) {
        Ok((settings, _)) => settings,
        Err(problems) => return Answer::error(503, problems.to_string()),
    };
    let of_job = |path: &[String]| path.len() > 2 && path[0] == "jobs" && path[1] == id;
    let mut body = schedules::describe(found);
    body["kind"] = job.action.name().into();
    body["words"] = job.schedule.in_words().into();
    body["next"] = next.map(iso).collect::<Vec<_>>().into();
    body["why"] = why::summary(found).into();
    body["settings"] = json!(
        settings
            .iter()
            .filter(|setting| of_job(&setting.path))
            .collect::<Vec<_>>()
    );
    Answer::ok(body)
}
