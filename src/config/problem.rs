//! What is wrong with a source, and where: sentences for the person who can fix it.

use std::fmt;

use serde::Serialize;

use super::text::Excerpt;
use crate::values::{Severity, plural};

/// Where values come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The settings every installation starts from.
    BuiltIn,
    /// A declaration, by the name people know it by.
    File(String),
    /// A row of the application's table `configurations`, by its key.
    Row(&'static str),
    /// `--dev` or `--local`, which stand in for what is declared.
    Mode,
    /// The environment.
    Environment,
    /// The command line.
    CommandLine,
    /// Another replica of the service.
    Replica,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File(name) => f.write_str(name),
            Self::Row(key) => write!(f, "database row configurations.{key}"),
            Self::Mode => f.write_str("--dev or --local"),
            Self::Environment => f.write_str("environment"),
            Self::CommandLine => f.write_str("command line"),
            Self::Replica => f.write_str("the leading replica"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
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
    pub(super) fn can_be_ignored(&self) -> bool {
        matches!(self.source, Source::Row(_)) && self.severity.is_error()
    }

    /// The same problem as one that is worth knowing only.
    pub(super) fn into_warning(self) -> Self {
        Self {
            severity: Severity::Warning,
            ..self
        }
    }

    /// The same problem once its value is ignored.
    pub(super) fn noted(self) -> Self {
        Self {
            severity: Severity::Ignored,
            message: format!("{}; ignored", self.message),
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

impl Problems {
    /// How many errors there are, and how many warnings.
    pub(crate) fn count(&self) -> String {
        let errors = self.0.iter().filter(|problem| problem.severity.is_error()).count();
        let counted = |of: usize, what| plural(of as u64, what);
        format!(
            "{}, {}",
            counted(errors, "error"),
            counted(self.0.len() - errors, "warning")
        )
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|problem| writeln!(f, "{}", problem.with_excerpt()))
    }
}
