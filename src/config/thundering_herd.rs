//! Warns of jobs that all begin in one minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::merged::path;
use super::plan::Job;
use super::reading::Resolver;
use crate::values::{JobId, Severity};

/// So many jobs in one minute are a herd.
const HERD: usize = 10;
/// The Monday that times are compared on.
const REFERENCE: i64 = 1_767_571_200;

impl Resolver<'_> {
    pub(super) fn warn_of_thundering_herds(&mut self, jobs: &BTreeMap<JobId, Arc<Job>>) {
        if jobs.len() < HERD {
            return;
        }
        let start = Timestamp::from_second(REFERENCE).unwrap_or_default();
        let mut by_minute: BTreeMap<i64, Vec<&JobId>> = BTreeMap::new();
        let spread = |job: &&Arc<Job>| job.policy.group.is_none() && job.offset.is_zero();
        for job in jobs.values().filter(|job| job.enabled).filter(spread) {
            if let Some(first) = job.next_after(start) {
                by_minute.entry(first.as_second() / 60).or_default().push(&job.id);
            }
        }
        for ids in by_minute.values().filter(|ids| ids.len() >= HERD) {
            let names: Vec<&str> = ids.iter().take(3).map(|id| id.as_str()).collect();
            let message = format!(
                "{} jobs begin in the same minute ({}, …); `jitter` spreads them, a `group` has them take turns",
                ids.len(),
                names.join(", ")
            );
            let at = path(&["jobs", ids[0].as_str(), "schedule"]);
            self.problems.push(self.merged.problem(&at, Severity::Warning, message));
        }
    }
}
