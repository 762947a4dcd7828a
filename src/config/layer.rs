//! One source's values on their way into the merge, each with its place in that source.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use serde::Serialize;

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
        }
    }
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Where a key and its value stand in a file's text, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// The values of one source.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub source: Source,
    pub values: Dict,
    /// A file's text, which its spans point into.
    pub text: String,
    pub spans: HashMap<Vec<String>, Span>,
    /// What the source itself calls a path, where that is not the path.
    pub names: HashMap<Vec<String>, String>,
}

impl Layer {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            values: Dict::new(),
            text: String::new(),
            spans: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// Puts `value` at `path`, making the tables above it.
    pub(super) fn insert(&mut self, path: &[String], value: Value) {
        let Some((last, above)) = path.split_last() else { return };
        let mut table = &mut self.values;
        for key in above {
            let below = table.entry(key.clone()).or_insert_with(|| Dict::new().into());
            if !matches!(below, Value::Dict(..)) {
                *below = Dict::new().into();
            }
            let Value::Dict(_, below) = below else { return };
            table = below;
        }
        table.insert(last.clone(), value);
    }

    /// Takes out what stands at `path`, or at the nearest path above it that the layer has.
    pub(super) fn remove(&mut self, path: &[String]) {
        if (1..=path.len())
            .rev()
            .any(|length| remove(&mut self.values, &path[..length]))
        {
            return;
        }
        self.values.clear();
    }

    /// Whether the layer has anything at `path`.
    pub(super) fn has(&self, path: &[String]) -> bool {
        path.is_empty() || self.get(path).is_some()
    }

    /// What the layer has at `path`.
    pub(super) fn get(&self, path: &[String]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.values.get(first)?, |value, key| value.as_dict()?.get(key))
    }

    /// Line and column, from 1, of `path` or the nearest table above it; of its key where `of_key`.
    pub(super) fn place(&self, path: &[String], of_key: bool) -> Option<(usize, usize)> {
        let (length, span) = (1..=path.len())
            .rev()
            .find_map(|length| Some((length, self.spans.get(&path[..length])?)))?;
        let at = if of_key || length < path.len() {
            span.key.start
        } else {
            span.value.start
        };
        Some(line_and_column(&self.text, at))
    }

    /// The line that [`Layer::place`] names, and how many of its characters are meant. What may be a secret is left
    /// out of it.
    pub(super) fn excerpt(&self, path: &[String], of_key: bool) -> Option<(String, usize)> {
        let (length, span) = (1..=path.len())
            .rev()
            .find_map(|length| Some((length, self.spans.get(&path[..length])?)))?;
        let span = if of_key || length < path.len() {
            &span.key
        } else {
            &span.value
        };
        excerpt_of(
            &self.text,
            span,
            path.first().is_some_and(|section| section == "notifications"),
        )
    }

    /// What the source calls `path`.
    pub(super) fn name(&self, path: &[String]) -> String {
        (1..=path.len())
            .rev()
            .find_map(|length| self.names.get(&path[..length]).cloned())
            .unwrap_or_else(|| path.join("."))
    }
}

/// Takes the value at `path` out of `table`; false where there is none.
pub(super) fn remove(table: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [last] => table.remove(last).is_some(),
        [first, rest @ ..] => match table.get_mut(first) {
            Some(Value::Dict(_, below)) => remove(below, rest),
            _ => false,
        },
    }
}

/// The line of `text` that `span` begins in, and how much of the span stands in it.
pub(super) fn excerpt_of(text: &str, span: &Range<usize>, hides_texts: bool) -> Option<(String, usize)> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next()?;
    let end = span.end.min(start + line.len());
    let width = text.get(span.start..end).map_or(1, |meant| meant.chars().count());
    if !hides_texts {
        return Some((line.to_owned(), width));
    }
    let mut inside = None;
    let hide = |c: char| match inside {
        Some(quote) if c == quote => {
            inside = None;
            c
        }
        Some(_) => '*',
        None => {
            inside = matches!(c, '"' | '\'').then_some(c);
            if c.is_ascii_digit() { '*' } else { c }
        }
    };
    Some((line.chars().map(hide).collect(), width))
}

/// The line and the column in characters, both from 1, of byte `at`.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    (line, column)
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}
