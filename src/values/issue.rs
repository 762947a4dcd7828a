//! What is wrong with something declared, by the key at fault.

use super::Severity;

/// What is wrong with what a kind of job or target declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    /// The key at fault, below the kind's own table; dots part the keys of tables in it.
    pub key: String,
    /// What is wrong and what would do.
    pub message: String,
    pub severity: Severity,
}

impl Issue {
    /// It can never work.
    pub(crate) fn error(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, key, message)
    }

    /// It does not fit the database as that is now.
    pub(crate) fn mismatch(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Mismatch, key, message)
    }

    /// It works, but not as one might think.
    pub(crate) fn warning(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, key, message)
    }

    fn new(severity: Severity, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
            severity,
        }
    }
}
