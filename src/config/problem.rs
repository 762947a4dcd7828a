//! What is wrong with a source, and where: sentences for the person who can mend it.

use std::fmt;

use serde::Serialize;

use super::excerpt::Excerpt;
use super::layer::Source;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The declaration cannot be used.
    Error,
    /// The declaration is sound but does not fit the database: a start goes on without, a reload does not.
    Mismatch,
    /// A value of a database row that is no good; the rest of the row applies.
    SetAside,
    /// Worth knowing.
    Warning,
}

impl Severity {
    /// The word for it that people know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error | Self::Mismatch => "error",
            Self::SetAside | Self::Warning => "warning",
        }
    }

    /// Whether `validate` and a reload refuse the declaration for it.
    pub fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Mismatch)
    }
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Line and column in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<(usize, usize)>,
    /// The source it stands in.
    pub source: Source,
    /// What the source itself calls it: a key path, a path inside a row's JSON, a variable.
    #[serde(rename = "path")]
    pub name: String,
    /// What is wrong.
    pub message: String,
    /// How much it matters.
    pub severity: Severity,
    /// The path in the declaration.
    #[serde(skip)]
    pub keys: Vec<String>,
    /// The line it stands in.
    #[serde(skip)]
    pub excerpt: Option<Excerpt>,
}

impl Problem {
    /// The problem with the line it stands in, and a caret under what is at fault.
    pub fn with_excerpt(&self) -> String {
        let sentence = format!("{}: {self}", self.severity.as_str());
        match (self.place, &self.excerpt) {
            (Some((line, _)), Some(excerpt)) => format!("{sentence}\n{}", excerpt.show(line)),
            _ => sentence,
        }
    }

    /// A problem of a whole source.
    pub fn of_source(source: Source, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            place: None,
            source,
            name: String::new(),
            message: message.into(),
            severity,
            keys: Vec::new(),
            excerpt: None,
        }
    }

    /// Whether the value at fault stands in a database row, which must never stop the service.
    pub(super) fn can_be_set_aside(&self) -> bool {
        matches!(self.source, Source::Row(_)) && self.severity.is_error()
    }

    /// The same problem as one that is worth knowing only.
    pub(super) fn into_warning(self) -> Self {
        Self {
            severity: Severity::Warning,
            ..self
        }
    }

    /// The same problem once its value is set aside.
    pub(super) fn noted(self) -> Self {
        Self {
            severity: Severity::SetAside,
            message: format!("{}; set aside", self.message),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.name.is_empty() {
            write!(f, ": {}", self.name)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Every problem of the sources, at least one of them an error.
#[derive(Clone, Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|problem| writeln!(f, "{}", problem.with_excerpt()))
    }
}
