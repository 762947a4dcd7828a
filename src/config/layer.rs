//! One source's values on their way into the merge, each with its place in that source.

use std::collections::HashMap;

use figment::value::{Dict, Value};

use super::problem::{Problem, Source};
use super::text::{Excerpt, Text};
use crate::values::Severity;

/// The values of one source.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub source: Source,
    pub values: Dict,
    /// The text of a file.
    pub text: Option<Text>,
    /// What the source itself calls a path, where that is not the path.
    pub names: HashMap<Vec<String>, String>,
}

impl Layer {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            values: Dict::new(),
            text: None,
            names: HashMap::new(),
        }
    }

    /// Puts `value` at `path`, making the tables above it.
    pub(super) fn insert(&mut self, path: &[String], value: Value) {
        insert(&mut self.values, path, value);
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
        let text = self.text.as_ref()?;
        Some(text.line_and_column(text.span(path, of_key)?.start))
    }

    /// The line that [`Layer::place`] names.
    fn excerpt(&self, path: &[String], of_key: bool) -> Option<Excerpt> {
        let text = self.text.as_ref()?;
        text.excerpt(&text.span(path, of_key)?)
    }

    /// A problem with what stands at `path`, or with its key, in the words of this source.
    pub(super) fn problem(
        &self,
        path: &[String],
        of_key: bool,
        severity: Severity,
        message: impl Into<String>,
    ) -> Problem {
        Problem {
            place: self.place(path, of_key),
            excerpt: self.excerpt(path, of_key),
            name: self.name(path),
            keys: path.to_vec(),
            ..Problem::of_source(self.source.clone(), severity, message)
        }
    }

    /// The first variable that stands for something below `path`: a table has none of its own.
    fn variable_below(&self, path: &[String]) -> Option<String> {
        let is_below = |found: &&Vec<String>| self.source == Source::Environment && found.starts_with(path);
        self.names.get(self.names.keys().filter(is_below).min()?).cloned()
    }

    /// What the source calls `path`.
    pub(super) fn name(&self, path: &[String]) -> String {
        (1..=path.len())
            .rev()
            .find_map(|length| self.names.get(&path[..length]).cloned())
            .or_else(|| self.variable_below(path))
            .unwrap_or_else(|| path.join("."))
    }
}

/// Puts `value` at `path` of `table`, making the tables above it.
pub(super) fn insert(table: &mut Dict, path: &[String], value: Value) {
    let Some((last, above)) = path.split_last() else { return };
    let mut table = table;
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
