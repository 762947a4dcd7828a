//! How much something that is wrong with a declaration matters.

use serde::Serialize;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The declaration cannot be used.
    Error,
    /// The declaration is sound but does not fit the database: a start goes on without it, a reload does not.
    Mismatch,
    /// A value of a database row that is invalid and ignored; the rest of the row applies.
    Ignored,
    /// Worth knowing.
    Warning,
}

impl Severity {
    /// The word for it that people know.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error | Self::Mismatch => "error",
            Self::Ignored | Self::Warning => "warning",
        }
    }

    /// Whether `validate` and a reload refuse the declaration for it.
    pub fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Mismatch)
    }
}
