//! What the state keeps of a run: the words of the ledger and of the history.

use jiff::Timestamp;
use serde::Serialize;

use super::{NewMessage, Skip};
use crate::values::{JobId, Moment, iso, write_iso};

/// The number of a run, unique in one state database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A closed list of words that stand in a column, in JSON and in filters alike.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$what:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$what])* $variant,)* }

        impl $name {
            /// Every word of the list.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The word as it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("`{text}` is not one of {}", Self::WORDS.join(", "))),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// How a run ended, or that it has not.
    Status {
        /// Due, and waiting for its turn.
        Queued => "queued",
        /// Under way.
        Running => "running",
        /// Ended well.
        Success => "success",
        /// Ended with an error.
        Failed => "failed",
        /// Ended by its own deadline.
        TimedOut => "timed_out",
        /// Cut off by the end of the service.
        Interrupted => "interrupted",
        /// Never began.
        Skipped => "skipped",
    }
}

words! {
    /// What a run was started by.
    Trigger {
        /// Its schedule.
        Schedule => "schedule",
        /// Its schedule, for a time that was missed.
        CatchUp => "catch_up",
        /// A person or program, over HTTP.
        Manual => "manual",
        /// A forge, over HTTP, which told of a change.
        Webhook => "webhook",
    }
}

impl Trigger {
    /// Whether it came as somebody asked, not by the schedule.
    pub(crate) fn is_asked_for(self) -> bool {
        matches!(self, Self::Manual | Self::Webhook)
    }
}

/// What is recorded of a run that made room for a newer one.
pub(crate) const REPLACED: &str = "replaced by a newer run";
/// What is recorded of a run that somebody has cancelled, before what was done by then.
pub(crate) const CANCELLED_BY_HAND: &str = "cancelled by hand";

/// A run that is recorded for the first time.
#[derive(Clone, Debug)]
pub(crate) struct NewRun {
    /// Whose run.
    pub job: JobId,
    /// What started it.
    pub trigger: Trigger,
    /// The time it was due.
    pub scheduled_at: Timestamp,
    /// The run that was cut off, where it repeats one.
    pub repeats: Option<RunId>,
    pub beginning: Beginning,
}

/// What becomes of a run at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It begins.
    Now,
    /// It waits for its turn.
    Queued,
    /// It does not take place, for this reason.
    Skipped(Skip),
}

/// A run that an earlier process left waiting for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuedRun {
    pub run: RunId,
    /// Whose run; kept as text, for the job may be gone from the declaration.
    pub job: String,
    pub trigger: Trigger,
    pub scheduled_at: Timestamp,
    pub repeats: Option<Origin>,
}

/// A run that was cut off and is repeated, by itself or by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its number.
    pub run: RunId,
    /// The time it was due.
    pub scheduled_at: Timestamp,
}

/// What is told of a run, recorded together with its end.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    pub job: JobId,
    /// How the job stands after the run, if it fails.
    pub failing: Option<Failing>,
    pub messages: Vec<NewMessage>,
}

/// A run that ended.
#[derive(Clone, Debug)]
pub(crate) struct EndedRun {
    pub run: RunId,
    pub status: Status,
    pub at: Moment,
    /// What it has to say, or why it did not end well.
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Its figures, as JSON.
    pub statistics: Option<String>,
    /// What its programs have printed, as far as it is kept.
    pub output: Option<String>,
    pub telling: Option<Telling>,
    /// The job whose age, as `max_age` means it, begins anew.
    pub renews: Option<JobId>,
}

/// How a job stands whose last run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// What makes one failure the same as another.
    pub cause: String,
    /// The time of the first failure.
    pub since: Timestamp,
    /// The last time it was told to someone, in service time.
    pub told_at: Option<Timestamp>,
    /// How many runs failed.
    pub failures: u32,
}

/// What is known of an active job from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activation {
    /// Since when it has been active with these times.
    pub since: Timestamp,
    /// What its times depend on, as text.
    pub times: String,
    /// The newest time that is in the ledger.
    pub newest: Option<Timestamp>,
    /// Since when it has not succeeded, in service time: its last success, or when it became active.
    pub fresh_at: Option<Timestamp>,
}

/// A recorded run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// Whose run; kept as text, for the job may be gone from the declaration.
    pub job: String,
    /// What started it.
    pub trigger: Trigger,
    /// How it ended.
    pub status: Status,
    /// The time it was due.
    #[serde(serialize_with = "write_iso")]
    pub scheduled_at: Timestamp,
    /// The time it began; of one that did not take place, when that was decided.
    #[serde(serialize_with = "write_optional_instant")]
    pub started_at: Option<Timestamp>,
    /// The time it ended, once it has.
    #[serde(serialize_with = "write_optional_instant")]
    pub finished_at: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<i64>,
    /// What it has to say.
    pub message: Option<String>,
    /// Why it did not end well, or did not take place.
    pub error: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Its figures.
    pub statistics: Option<serde_json::Value>,
}

/// A run in few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecentRun {
    pub id: RunId,
    pub status: Status,
    /// When it began; of one that waits or did not take place, when that was decided.
    pub at: Timestamp,
    /// How long it took, once it is over, in milliseconds.
    pub duration_ms: Option<i64>,
}

/// The newest runs of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecentRuns {
    /// Newest first.
    pub runs: Vec<RecentRun>,
    /// What the newest one that is over has to say.
    pub message: Option<String>,
}

/// The newest of a job's runs, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastRun {
    /// When the newest run began.
    pub started_at: Option<Timestamp>,
    /// When the newest successful run ended.
    pub succeeded_at: Option<Timestamp>,
    /// The newest finished run's error, unless it ended well.
    pub error: Option<String>,
    /// The newest run, if it was cut off, or the one that it repeated.
    pub(crate) interrupted: Option<Origin>,
    /// What the newest successful run could not do though it did the rest; known only since the service started.
    pub warnings: Vec<String>,
}

/// Which runs are wanted, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this job.
    pub job: Option<String>,
    /// Only those that ended so.
    pub status: Option<Status>,
    /// Only those started by this.
    pub trigger: Option<Trigger>,
    /// Only those that began then or later.
    pub from: Option<Timestamp>,
    /// Only those that began before then.
    pub to: Option<Timestamp>,
    /// Only those that are older than this one.
    pub before: Option<RunId>,
    /// At most so many, 1000 at the most.
    pub limit: u16,
    /// After so many.
    pub offset: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            job: None,
            status: None,
            trigger: None,
            from: None,
            to: None,
            before: None,
            limit: 100,
            offset: 0,
        }
    }
}

/// Recorded runs and how many match in all.
#[derive(Clone, Debug)]
pub struct History {
    /// How many runs match the filter.
    pub total: i64,
    /// Those of the wanted page.
    pub runs: Vec<Run>,
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn write_optional_instant<S: serde::Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    at.map(iso).serialize(to)
}
