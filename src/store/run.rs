//! What the state database keeps of a run: the words of the ledger and the history.

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use crate::values::{JobId, iso};

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
                    _ => Err(format!("`{text}` is none of {}", Self::WORDS.join(", "))),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|_| FromSqlError::InvalidType)
            }
        }
    };
}

words! {
    /// How a run ended, or that it has not.
    Status {
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
    }
}

/// An instant as the state database writes it.
pub(super) fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// A run that is about to begin, or one that is recorded as skipped.
#[derive(Clone, Debug)]
pub(crate) struct NewRun {
    /// Whose run.
    pub job: JobId,
    /// What started it.
    pub trigger: Trigger,
    /// The time it was due.
    pub scheduled_at: Timestamp,
    /// The time it begins.
    pub started_at: Timestamp,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct Finish {
    /// In what way.
    pub status: Status,
    /// When.
    pub at: Timestamp,
    /// What it has to say.
    pub message: Option<String>,
    /// Why it did not end well.
    pub error: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Its figures, as JSON.
    pub output: Option<String>,
}

impl Finish {
    /// The end of a run that has nothing to show for itself.
    pub(crate) fn without_result(status: Status, at: Timestamp, why: &str) -> Self {
        Self {
            status,
            at,
            message: None,
            error: Some(why.to_owned()),
            attempts: 1,
            output: None,
        }
    }
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
    #[serde(serialize_with = "write_instant")]
    pub scheduled_at: Timestamp,
    /// The time it began.
    #[serde(serialize_with = "write_instant")]
    pub started_at: Timestamp,
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
    pub output: Option<serde_json::Value>,
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
    /// What the newest successful run could not do though it did the rest; known only since the service started.
    pub troubles: Vec<String>,
}

impl LastRun {
    /// Sums up the newest runs of `job` in an open state database.
    pub(super) fn read(connection: &Connection, job: &JobId) -> rusqlite::Result<Self> {
        let newest = |column: &str, only: &str| {
            let query = format!("SELECT {column} FROM runs WHERE job = ?1 AND {only} ORDER BY id DESC LIMIT 1");
            let mut statement = connection.prepare_cached(&query)?;
            statement
                .query_row([job.as_str()], |row| row.get::<_, Value>(0))
                .optional()
        };
        let instant = |value: Option<Value>| match value {
            Some(Value::Integer(millis)) => Timestamp::from_millisecond(millis).ok(),
            _ => None,
        };
        Ok(Self {
            started_at: instant(newest("started_at", "status <> 'skipped'")?),
            succeeded_at: instant(newest("finished_at", "status = 'success'")?),
            error: match newest("error", "status NOT IN ('running', 'skipped')")? {
                Some(Value::Text(error)) => Some(error),
                _ => None,
            },
            troubles: Vec::new(),
        })
    }
}

fn write_instant<S: serde::Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&iso(*at))
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn write_optional_instant<S: serde::Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    at.map(iso).serialize(to)
}
