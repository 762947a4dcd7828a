//! What a new plan changes.

use std::collections::BTreeMap;

use super::plan::{Job, Plan};
use crate::values::JobId;

/// The jobs that differ between two plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Jobs only the new plan has.
    pub added: Vec<JobId>,
    /// Jobs both have, with the keys that differ.
    pub changed: BTreeMap<JobId, Vec<&'static str>>,
    /// Jobs only the old plan has.
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
            .filter_map(|(id, job)| Some((id.clone(), changed_keys(old.jobs.get(id)?, job))))
            .filter(|(_, keys)| !keys.is_empty())
            .collect();
        Self {
            added: only_in(new, old),
            changed,
            removed: only_in(old, new),
        }
    }
}

fn changed_keys(old: &Job, new: &Job) -> Vec<&'static str> {
    [
        ("description", old.description != new.description),
        ("enabled", old.enabled != new.enabled),
        ("schedule", old.schedule != new.schedule),
        ("time_zone", old.time_zone != new.time_zone),
        ("jitter", old.offset != new.offset),
        ("catch_up", old.policy.catch_up != new.policy.catch_up),
        (
            "starting_deadline",
            old.policy.starting_deadline != new.policy.starting_deadline,
        ),
        ("concurrency_policy", old.policy.concurrency != new.policy.concurrency),
        ("max_running", old.policy.max_running != new.policy.max_running),
        ("group", old.policy.group != new.policy.group),
        ("retry", old.policy.retry != new.policy.retry),
        ("max_age", old.policy.max_age != new.policy.max_age),
        ("on_interrupt", old.policy.on_interrupt != new.policy.on_interrupt),
        ("timeout", old.timeout != new.timeout),
        ("database", old.database != new.database),
        ("notify", old.notify != new.notify),
        ("action", old.action != new.action),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
