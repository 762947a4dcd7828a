//! What comes of an action: a report or a failure of its run, and what is wrong with its declaration.

use crate::store::sqlite::{Unusable, describe, is_busy};
use crate::values::plural;

/// What a run that ended well has to say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// One sentence.
    pub message: String,
    /// Figures, for kinds that give some.
    pub statistics: Option<serde_json::Value>,
    /// What could not be done though the rest was, for `/health`.
    pub troubles: Vec<String>,
}

/// Why a run did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One sentence.
    pub message: String,
    /// Whether another attempt may do better: a database that was busy, a network that was away.
    pub may_pass: bool,
    /// What was done before, and stays so.
    pub done: Option<String>,
}

impl Failure {
    /// A failure that would come again.
    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            may_pass: false,
            done: None,
        }
    }

    /// The same failure of a run that had done something before; nothing of that goes unsaid.
    pub(super) fn after(self, rows: u64, verb: &str) -> Self {
        if rows == 0 {
            return self;
        }
        let were = if rows == 1 { "was" } else { "were" };
        let done = format!(
            "{} {were} {verb} before, and stay so; the next run selects anew",
            plural(rows, "row")
        );
        Self {
            message: format!("{}; {done}", self.message),
            done: Some(done),
            ..self
        }
    }
}

impl From<Unusable> for Failure {
    fn from(unusable: Unusable) -> Self {
        Self {
            may_pass: unusable.is_busy(),
            message: unusable.to_string(),
            done: None,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            may_pass: is_busy(&error),
            message: format!("the database {}", describe(&error)),
            done: None,
        }
    }
}

/// What is wrong with the declaration of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// The key at fault, below the kind's own table; dots part the keys of tables in it.
    pub key: String,
    /// What is wrong and what would do.
    pub message: String,
    /// How much it matters.
    pub weight: Weight,
}

/// How much a flaw matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The action can never work.
    Broken,
    /// The action does not fit the database as it is now.
    Mismatch,
    /// The action works, but not as one might think.
    Notable,
}

impl Flaw {
    pub(super) fn broken(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::weighing(Weight::Broken, key, message)
    }

    pub(super) fn notable(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::weighing(Weight::Notable, key, message)
    }

    pub(super) fn weighing(weight: Weight, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
            weight,
        }
    }
}
