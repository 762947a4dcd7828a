//! Whom a turn of a run is told to, and how the job stands after it.

use super::job_state::JobState;
use crate::config::{Job, Plan};
use crate::notifications::alert::{News, Turn};
use crate::notifications::{About, Event, Notification, addresses};
use crate::state::{NewMessage, RunId, Telling};
use crate::values::Moment;

/// What a turn of a run of `job` tells, if anything; notes how the job stands after it.
pub(super) fn tell(
    job: &Job,
    state: Option<&mut JobState>,
    plan: &Plan,
    (run, turn): (RunId, Turn<'_>),
    now: Moment,
) -> Option<Telling> {
    let before = state.as_ref().and_then(|state| state.failing.clone());
    let (news, failing) = job.notify.decide(&job.id, turn, before.as_ref(), now, &plan.targets);
    let messages: Vec<NewMessage> = news.iter().flat_map(|news| messages(job, run, news, plan)).collect();
    if messages.is_empty() && failing == before {
        return None;
    }
    // One that was removed in the meantime is not remembered.
    let failing = failing.filter(|_| plan.jobs.contains_key(&job.id));
    if let Some(state) = state {
        state.failing.clone_from(&failing);
    }
    Some(Telling {
        job: job.id.clone(),
        failing,
        messages,
    })
}

fn messages(job: &Job, run: RunId, news: &News, plan: &Plan) -> Vec<NewMessage> {
    let database = plan.default_database_path();
    // A newer message about one subject takes the place of one that could not be sent yet.
    let subject = match news.event {
        _ if news.is_signal => format!("job {} signal", job.id),
        Event::Failed | Event::Recovered => format!("job {}", job.id),
        _ => format!("job {} run {run}", job.id),
    };
    let cause = format!("run {run} {}", news.event.as_str());
    let notification = |address| Notification {
        address,
        event: news.event,
        about: About::Job(job.id.clone()),
        message: news.message.clone(),
    };
    addresses(&news.targets, &plan.targets, database.as_deref())
        .into_iter()
        .filter_map(|address| notification(address).to_row(&subject, &cause))
        .collect()
}
