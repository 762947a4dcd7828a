//! Which part of a database row is at fault for problems: no row may keep the service from working.

use std::collections::BTreeSet;

use super::layer::Layer;
use super::merged::Merged;
use super::problem::{Problem, Source};
use crate::values::Severity;

/// A part of a row: what it says of one job, or of one default.
struct Part<'a> {
    layer: &'a Layer,
    path: Vec<String>,
}

/// A problem for every value or part of a row without which some of `problems` would not be there. `again` finds the
/// problems of some jobs in other layers.
pub(super) fn at_fault(
    merged: &Merged,
    problems: &[Problem],
    again: impl Fn(&Merged, &BTreeSet<String>) -> Vec<Problem>,
) -> Vec<Problem> {
    let own: Vec<Problem> = problems
        .iter()
        .filter(|problem| problem.can_be_ignored())
        .cloned()
        .collect();
    let is_row = |layer: &Layer| matches!(layer.source, Source::Row(_));
    let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.severity.is_error()).collect();
    if !own.is_empty() || errors.is_empty() || !merged.layers().iter().any(is_row) {
        return own;
    }
    let job_of = |problem: &&Problem| match problem.keys.as_slice() {
        [section, job, ..] if section == "jobs" => Some(job.clone()),
        _ => None,
    };
    let jobs: BTreeSet<String> = errors.iter().filter_map(job_of).collect();
    let there_anyway = again(&merged.changed(|layers| layers.retain(|layer| !is_row(layer))), &jobs);
    let new: Vec<&Problem> = errors
        .into_iter()
        .filter(|problem| !there_anyway.contains(problem))
        .collect();
    let rows = merged.layers().iter().filter(|layer| is_row(layer));
    let parts: Vec<Part<'_>> = rows.flat_map(parts_of).filter(|part| part.may_cause(&new)).collect();
    let guilty = |part: &Part<'_>| {
        let found = again(&merged.changed(|layers| part.take_out_of(layers)), &jobs);
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

    fn take_out_of(&self, layers: &mut [Layer]) {
        for layer in layers.iter_mut().filter(|layer| layer.source == self.layer.source) {
            layer.remove(&self.path);
        }
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
