//! What comes of a run: a report or a failure; and of a dry run, what it would do.

use std::time::Duration;

use crate::sql::SqlError;
use crate::state::StateError;
use crate::values::plural;

/// What a run that ended well has to say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub message: String,
    pub statistics: Option<serde_json::Value>,
    /// What could not be done though the rest was, for `/health`.
    pub warnings: Vec<String>,
}

/// Why a run did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub message: String,
    /// Whether another attempt may do better: a database that was busy, a network that was away.
    pub is_transient: bool,
    /// What was done before, and stays so.
    pub done: Option<String>,
    /// How long the other side asks to wait before another attempt.
    pub retry_after: Option<Duration>,
    /// Figures, for kinds that give some.
    pub statistics: Option<Box<serde_json::Value>>,
}

impl Failure {
    /// A failure that would come again.
    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_transient: false,
            done: None,
            retry_after: None,
            statistics: None,
        }
    }

    /// That of a run which was asked to end before it did anything.
    pub(crate) fn before_it_began(why: &str) -> Self {
        Self {
            done: Some(why.to_owned()),
            ..Self::lasting(why)
        }
    }

    /// The same failure of a run that had done something before; nothing of that goes unsaid.
    pub(crate) fn after(self, rows: u64, verb: &str) -> Self {
        if rows == 0 {
            return self;
        }
        let rows = plural(rows, "row");
        let done = format!("{rows} already {verb} will stay {verb}; the next run continues");
        Self {
            message: format!("{}; {done}", self.message),
            done: Some(done),
            ..self
        }
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self {
            is_transient: error.is_transient,
            ..Self::lasting(error.message)
        }
    }
}

impl From<crate::sql::sqlite::Error> for Failure {
    fn from(error: crate::sql::sqlite::Error) -> Self {
        SqlError::from(error).into()
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self {
            is_transient: error.is_transient,
            ..Self::lasting(error.message)
        }
    }
}

/// What a run would do now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DryRun {
    pub lines: Vec<String>,
    pub json: serde_json::Value,
    /// Why a run would fail, where it would.
    pub refusal: Option<String>,
}

impl From<Failure> for DryRun {
    /// That of a run which would fail before anything else could be told of it.
    fn from(failure: Failure) -> Self {
        Self {
            lines: vec![format!("a run would fail now: {}", failure.message)],
            json: serde_json::json!({ "error": failure.message }),
            refusal: Some(failure.message),
        }
    }
}
