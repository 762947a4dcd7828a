//! Reads merged values as the declaration's types, gathering every problem instead of the first.

use figment::Error;
use figment::error::{Actual, Kind};
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::layer::{insert, remove};
use super::merged::{Merged, below, inside, path};
use super::problem::{Problem, Source};
use crate::kinds::Action;
use crate::values::{Issue, Severity, nearest, with_suggestion};

/// Reads merged values, and gathers what is wrong with them.
pub(super) struct Resolver<'a> {
    pub merged: &'a Merged,
    pub problems: Vec<Problem>,
    pub read_as: Vec<(Vec<String>, Value)>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(merged: &'a Merged) -> Self {
        Self {
            merged,
            problems: Vec::new(),
            read_as: Vec::new(),
        }
    }

    /// Whether `value`, which stands at `at`, is a table; notes it where it is none.
    pub(super) fn is_table(&mut self, at: &[String], value: &Value) -> bool {
        if value.as_dict().is_none() {
            let hidden = at[0] == "notifications";
            let why = describe(&Kind::InvalidType(value.to_actual(), "a map".to_owned()), hidden);
            self.problems.push(self.merged.problem(at, Severity::Error, why));
        }
        value.as_dict().is_some()
    }

    /// The tables of a section that is keyed by names, with their places; what is none is noted.
    pub(super) fn tables(&mut self, section: &str) -> Vec<(String, Vec<String>, Value)> {
        let declared = self.merged.table(section);
        let placed = declared.map(|(name, value)| (name.clone(), path(&[section, name]), value.clone()));
        let placed: Vec<_> = placed.collect();
        let is_table = |(_, at, value): &(String, Vec<String>, Value)| self.is_table(at, value);
        placed.into_iter().filter(is_table).collect()
    }

    /// Notes what is wrong with the table at `at`.
    pub(super) fn note(&mut self, at: &[String], issues: impl IntoIterator<Item = Issue>) {
        for Issue { key, message, severity } in issues {
            self.problems
                .push(self.merged.problem(&inside(at, &key), severity, message));
        }
    }

    pub(super) fn fault(&mut self, at: &[&str], message: impl Into<String>) {
        self.problems
            .push(self.merged.problem(&path(at), Severity::Error, message));
    }

    /// Notes a limit of nothing, which would let nothing run.
    pub(super) fn at_least_one(&mut self, at: &[&str], limit: u32) -> u32 {
        if limit == 0 {
            self.fault(at, "1 or more is expected: with 0, nothing would ever run");
        }
        limit
    }

    /// Reads `value`, which stands at `path`, as `T`. A value that is invalid is noted, taken out, and the reading tried
    /// again, so that all of them are found. Gives what is left, where that can still be read.
    pub(super) fn read<T: DeserializeOwned>(&mut self, path: &[String], mut value: Value) -> Option<T> {
        let mut taken_out: Vec<Vec<String>> = Vec::new();
        loop {
            let error = match value.deserialize::<T>() {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let at = place_of(&error);
            let full: Vec<String> = path.iter().chain(&at).cloned().collect();
            let read = match error.kind {
                Kind::InvalidType(..) => reinterpret(self.merged, &mut value, &at, |_| true),
                // A text that is wanted, and is invalid, stays the text it is; only a list may be meant in its place.
                Kind::Message(..) => reinterpret(self.merged, &mut value, &at, |read| read.as_array().is_some()),
                _ => None,
            };
            if let Some(read) = read {
                self.read_as.push((full, read));
                continue;
            }
            if taken_out.contains(&at) {
                return None; // Taken out above, so that its absence is no news.
            }
            let problem = self.problem_of(&error.kind, &full);
            self.problems.push(problem);
            let Value::Dict(_, table) = &mut value else { return None };
            // A value inside a list cannot be taken out alone: the list goes.
            let gone = (1..=at.len()).rev().find(|length| remove(table, &at[..*length]))?;
            let gone = &at[..gone];
            // The rest is checked with what is built in.
            if let Some(built_in) = self.merged.built_in(&[path, gone].concat()) {
                insert(table, gone, built_in.clone());
            }
            taken_out.push(gone.to_vec());
        }
    }

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
        // What follows from a value that is invalid is no news: the rules are checked once it is fixed.
        (Value::Dict(tag, table), found.filter(|_| self.problems.len() == before))
    }

    fn problem_of(&self, kind: &Kind, path: &[String]) -> Problem {
        match kind {
            Kind::UnknownField(name, known) => {
                // A kind that is mistyped looks like a key.
                let kinds = if path.len() == 3 && path[0] == "jobs" {
                    Action::KINDS
                } else {
                    &[]
                };
                let message = unknown_key(name, &[known, kinds].concat());
                self.merged.problem_of_key(path, message)
            }
            Kind::MissingField(_) => self.merged.problem(path, Severity::Error, "this key is missing"),
            kind => {
                // What stands in a target may be a secret that was put in the wrong place.
                let hidden = path.first().is_some_and(|section| section == "notifications");
                self.merged.problem(path, Severity::Error, describe(kind, hidden))
            }
        }
    }
}

/// The path an error speaks of; for a key that is unknown or missing, figment may stop at its table.
fn place_of(error: &Error) -> Vec<String> {
    let mut at = error.path.clone();
    let key = match &error.kind {
        Kind::UnknownField(name, _) => Some(name.clone()),
        Kind::MissingField(name) => Some(name.to_string()),
        _ => None,
    };
    at.extend(key.filter(|key| error.path.last() != Some(key)));
    at
}

/// A variable is text. Where no text is wanted, it is read as a TOML value: a number, true or false, a list.
fn reinterpret(merged: &Merged, value: &mut Value, at: &[String], may_be: fn(&Value) -> bool) -> Option<Value> {
    let mut found = value;
    for key in at {
        let Value::Dict(_, table) = found else { return None };
        found = table.get_mut(key)?;
    }
    let Value::String(tag, text) = found else { return None };
    if merged.source(*tag) != Some(&Source::Environment) {
        return None;
    }
    let read = super::text::read_value(text).filter(|read| read.as_str().is_none() && may_be(read))?;
    *found = retag(read.clone(), *tag);
    Some(read)
}

/// The same value as if it came from where `tag` came from.
fn retag(value: Value, tag: figment::value::Tag) -> Value {
    match value {
        Value::Bool(_, value) => Value::Bool(tag, value),
        Value::Num(_, value) => Value::Num(tag, value),
        Value::Array(_, list) => Value::Array(tag, list.into_iter().map(|value| retag(value, tag)).collect()),
        Value::Dict(_, table) => Value::Dict(
            tag,
            table.into_iter().map(|(key, value)| (key, retag(value, tag))).collect(),
        ),
        other => other,
    }
}

/// What to say of a key that is not known.
pub(super) fn unknown_key(name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("unknown key `{name}`; no key is allowed here");
    }
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
        None => format!("unknown key `{name}`; known keys: {}", known.join(", ")),
    }
}

pub(super) fn describe(kind: &Kind, hidden: bool) -> String {
    match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) if hidden => {
            format!("{} is expected", expected_in_words(expected))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!(
                "{} is expected, not {}",
                expected_in_words(expected),
                found_in_words(found)
            )
        }
        Kind::InvalidLength(length, expected) => {
            format!("{} is expected, not {length} of them", expected_in_words(expected))
        }
        Kind::UnknownVariant(name, known) => {
            let sentence = format!("`{name}` is not one of {}", known.join(", "));
            with_suggestion(sentence, name, known.iter().copied())
        }
        other => other.to_string(),
    }
}

fn expected_in_words(expected: &str) -> &str {
    match expected {
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i64" => "a whole number",
        "a boolean" => "true or false",
        "a string" => "a string",
        "a sequence" => "a list",
        "a map" => "a table",
        "an array of length 2" => "a list of two",
        "enum CatchUp" => "`none`, `once` or `all`",
        other if other.starts_with("struct ") || other == "enum" => "a table",
        other => other,
    }
}

fn found_in_words(found: &Actual) -> String {
    match found {
        Actual::Str(text) => format!("the string \"{text}\""),
        Actual::Bool(flag) => format!("{flag}"),
        Actual::Unsigned(number) => format!("{number}"),
        Actual::Signed(number) => format!("{number}"),
        Actual::Float(number) => format!("{number}"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        Actual::Unit | Actual::Option => "nothing".to_owned(),
        other => other.to_string(),
    }
}
