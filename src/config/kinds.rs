//! Tables that hold exactly one kind: jobs and notification targets.

use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::merged::below;
use super::resolve::Resolver;
use crate::values::Severity;

impl Resolver<'_> {
    /// Takes the one kind out of the table at `at`, which is a `noun`, and reads it.
    pub(super) fn take_kind<T: DeserializeOwned>(
        &mut self,
        at: &[String],
        value: Value,
        noun: &str,
        known: &[&str],
    ) -> (Value, Option<T>) {
        let Value::Dict(tag, mut table) = value else {
            return (value, None);
        };
        let mut kinds: Vec<&str> = known.iter().copied().filter(|kind| table.contains_key(*kind)).collect();
        if kinds.is_empty() {
            let message = format!(
                "the {noun} has no kind; exactly one of {} is expected",
                known.join(", ")
            );
            self.problems.push(self.merged.problem(at, Severity::Error, message));
        }
        if kinds.len() > 1 {
            // The kind that came last is the one to point at, for it may stand in a row that can be ignored.
            let sources = |kind: &&str| {
                let message = format!("the {noun} has more than one kind: {}", kinds.join(", "));
                self.merged.problem(&below(at, kind), Severity::Error, message)
            };
            let extra = kinds
                .iter()
                .map(sources)
                .max_by_key(|problem| (problem.source.clone(), problem.place));
            self.problems.extend(extra);
        }
        let mut found = None;
        let before = self.problems.len();
        for kind in kinds.drain(..) {
            let Some(keys) = table.remove(kind) else { continue };
            let keys = Value::from(Dict::from([(kind.to_owned(), keys)]));
            found = self.read(at, keys);
        }
        // That the kind as a whole could not be read follows from what is wrong in it.
        if self.problems.len() > before + 1 {
            let mut index = 0;
            self.problems.retain(|problem| {
                index += 1;
                index <= before || problem.keys != at
            });
        }
        // What follows from a value that is no good is no news: the rules are checked once it is mended.
        (Value::Dict(tag, table), found.filter(|_| self.problems.len() == before))
    }
}
