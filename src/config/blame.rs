//! Which part of a database row is at fault for problems that show elsewhere: no row may keep the service from working.

use super::layer::{Layer, Source};
use super::merged::Merged;
use super::problem::{Problem, Severity};
use super::resolve::resolve;
use super::sources::Environment;

/// A part of a row: what it says of one job, or of one default.
struct Part<'a> {
    layer: &'a Layer,
    path: Vec<String>,
}

/// A problem for every part of a row without which some of `problems` would not be there.
pub(super) fn caused_by_rows(layers: &[Layer], problems: &[Problem], environment: &Environment) -> Vec<Problem> {
    let errors = |layers: &[Layer]| -> Vec<Problem> {
        let (_, found) = resolve(&Merged::new(layers), environment);
        found
            .into_iter()
            .filter(|problem| problem.severity.is_error())
            .collect()
    };
    let is_row = |layer: &Layer| matches!(layer.source, Source::Row(_));
    if !layers.iter().any(is_row) || !problems.iter().any(|problem| problem.severity.is_error()) {
        return Vec::new();
    }
    let others: Vec<Layer> = layers.iter().filter(|layer| !is_row(layer)).cloned().collect();
    let there_anyway = errors(&others);
    let new: Vec<&Problem> = problems
        .iter()
        .filter(|problem| problem.severity.is_error() && !there_anyway.contains(problem))
        .collect();
    let rows = layers.iter().filter(|layer| is_row(layer));
    let parts: Vec<Part<'_>> = rows.flat_map(parts_of).filter(|part| part.may_cause(&new)).collect();
    let guilty = |part: &Part<'_>| {
        let found = errors(&part.taken_out_of(layers));
        let gone = new.iter().find(|problem| !found.contains(problem))?;
        Some(part.blamed_for(gone))
    };
    let alone: Vec<Problem> = parts.iter().filter_map(guilty).collect();
    match new.first() {
        // Several cause it together.
        Some(problem) if alone.is_empty() => parts.iter().map(|part| part.blamed_for(problem)).collect(),
        _ => alone,
    }
}

fn parts_of(layer: &Layer) -> impl Iterator<Item = Part<'_>> {
    layer.values.iter().flat_map(move |(section, value)| {
        let keys = value.as_dict().into_iter().flatten();
        keys.map(move |(key, _)| Part {
            layer,
            path: vec![section.clone(), key.clone()],
        })
    })
}

impl Part<'_> {
    /// What is said of one job can only be at fault for problems of that job.
    fn may_cause(&self, problems: &[&Problem]) -> bool {
        self.path[0] != "jobs" || problems.iter().any(|problem| problem.keys.starts_with(&self.path))
    }

    fn taken_out_of(&self, layers: &[Layer]) -> Vec<Layer> {
        let mut left = layers.to_vec();
        for layer in left.iter_mut().filter(|layer| layer.source == self.layer.source) {
            layer.remove(&self.path);
        }
        left
    }

    fn blamed_for(&self, problem: &Problem) -> Problem {
        let message = format!("it does not fit the declaration: {}: {}", problem.name, problem.message);
        Problem {
            name: self.layer.name(&self.path),
            keys: self.path.clone(),
            ..Problem::of_source(self.layer.source.clone(), Severity::Error, message)
        }
    }
}
