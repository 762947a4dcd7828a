//! How a job's runs come about: the words a declaration may say of missed times, overlaps, limits and retries.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{Duration, GroupId};

/// What becomes of times that were missed while the service was down or the clock was put forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CatchUp {
    /// They are skipped.
    None,
    /// One run makes up for all of them.
    Once,
    /// Each is run, one after the other.
    All,
}

/// What becomes of a run that is due while another of the same job is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Concurrency {
    /// It is skipped.
    Forbid,
    /// It waits; only one does.
    Queue,
    /// The one under way is ended.
    Replace,
    /// Both run, up to `max_running`.
    Allow,
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forbid => "forbid",
            Self::Queue => "queue",
            Self::Replace => "replace",
            Self::Allow => "allow",
        })
    }
}

/// What becomes of a run that the end of the service cut off, at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnInterrupt {
    /// It is recorded as interrupted.
    Record,
    /// It is recorded so, and run again.
    Rerun,
}

/// How often a failure that may pass is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// How many attempts there are, the first included.
    pub max_attempts: u32,
    /// The wait before the second; it doubles with each further one.
    pub backoff: Duration,
}

/// How a job's runs come about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    /// What becomes of missed times.
    pub catch_up: CatchUp,
    /// A missed time older than this is skipped.
    pub starting_deadline: Duration,
    /// What becomes of runs that overlap.
    pub concurrency: Concurrency,
    /// How many runs may overlap where they may.
    pub max_running: u32,
    /// The group whose limit the job shares.
    pub group: Option<GroupId>,
    /// How often a failure is tried again.
    pub retry: Retry,
    /// A job whose last success is older makes the service's health fail.
    pub max_age: Option<Duration>,
    /// What becomes of a run that was cut off.
    pub on_interrupt: OnInterrupt,
}
