//! What a new plan changes.

use std::collections::BTreeMap;

use super::plan::{Job, Plan, Policy};
use crate::values::JobId;

/// The jobs that differ between two plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    pub added: Vec<JobId>,
    /// Jobs both have, with the keys that differ.
    pub changed: BTreeMap<JobId, Vec<&'static str>>,
    pub removed: Vec<JobId>,
}

impl Diff {
    /// Compares two plans.
    pub(crate) fn new(old: &Plan, new: &Plan) -> Self {
        let only_in = |here: &Plan, there: &Plan| {
            here.jobs
                .keys()
                .filter(|id| !there.jobs.contains_key(id))
                .cloned()
                .collect()
        };
        let changed = new
            .jobs
            .iter()
            .filter_map(|(id, job)| Some((id, old.jobs.get(id)?, job)))
            .filter(|(_, old, new)| old != new)
            .map(|(id, old, new)| (id.clone(), changed_keys(old, new)))
            .collect();
        Self {
            added: only_in(new, old),
            changed,
            removed: only_in(old, new),
        }
    }
}

/// The keys that differ between two declarations of a job. What is not a key of its own comes as `action`.
fn changed_keys(old: &Job, new: &Job) -> Vec<&'static str> {
    // Every field is named, so that one that is new does not compile until it is compared.
    let Job {
        id: _,
        description,
        enabled,
        schedule,
        time_zone,
        offset,
        policy:
            Policy {
                catch_up,
                starting_deadline,
                concurrency,
                max_running,
                group,
                retry,
                max_age,
                on_interrupt,
            },
        timeout,
        database,
        notify,
        action,
    } = old;
    let policy = &new.policy;
    let keys = [
        ("description", *description != new.description),
        ("enabled", *enabled != new.enabled),
        ("schedule", *schedule != new.schedule),
        ("time_zone", *time_zone != new.time_zone),
        ("jitter", *offset != new.offset),
        ("catch_up", *catch_up != policy.catch_up),
        ("starting_deadline", *starting_deadline != policy.starting_deadline),
        ("concurrency_policy", *concurrency != policy.concurrency),
        ("max_running", *max_running != policy.max_running),
        ("group", *group != policy.group),
        ("retry", *retry != policy.retry),
        ("max_age", *max_age != policy.max_age),
        ("on_interrupt", *on_interrupt != policy.on_interrupt),
        ("timeout", *timeout != new.timeout),
        ("database", *database != new.database),
        ("notify", *notify != new.notify),
        ("action", *action != new.action),
    ];
    keys.into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
}
