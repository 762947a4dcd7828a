//! All layers merged by figment, which remembers the layer of every value.

use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::layer::Layer;
use super::problem::{Problem, Source};
use crate::values::Severity;

/// The merged values and the layers they came from.
#[derive(Clone)]
pub(super) struct Merged {
    layers: Vec<Layer>,
    figment: Figment,
    values: Dict,
}

/// A layer as figment takes it, known by its number: no two share it, whatever their sources are called.
struct Numbered<'a>(usize, &'a Layer);

impl Provider for Numbered<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.1.values.clone()))
    }
}

impl Merged {
    /// Merges `layers`, later ones winning.
    pub(super) fn new(layers: Vec<Layer>) -> Self {
        let nothing = Self {
            layers: Vec::new(),
            figment: Figment::new(),
            values: Dict::new(),
        };
        nothing.with(layers)
    }

    /// Merges more layers, which win over those that are there.
    pub(super) fn with(mut self, more: impl IntoIterator<Item = Layer>) -> Self {
        for layer in more {
            self.figment = self.figment.merge(Numbered(self.layers.len(), &layer));
            self.layers.push(layer);
        }
        self.values.clear(); // Before they are made again: with thousands of jobs, they are large.
        // Our own providers never fail, so an error cannot occur here.
        let merged = self.figment.data().ok();
        self.values = merged
            .and_then(|mut profiles| profiles.remove(&Profile::Default))
            .unwrap_or_default();
        self
    }

    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The same without what `change` takes out of the layers.
    pub(super) fn changed(&self, change: impl FnOnce(&mut Vec<Layer>)) -> Self {
        let mut layers = self.layers.clone();
        change(&mut layers);
        Self::new(layers)
    }

    /// The value at `path`.
    pub(super) fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.values.get(*first)?, |value, key| value.as_dict()?.get(*key))
    }

    /// What is built in at `path`.
    pub(super) fn built_in(&self, path: &[String]) -> Option<&Value> {
        let layer = self.layers.iter().find(|layer| layer.source == Source::BuiltIn)?;
        layer.get(path)
    }

    /// The keys of `section`, which is empty where it is not a table, with their values.
    pub(super) fn table(&self, section: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.get(&[section]).and_then(Value::as_dict).into_iter().flatten()
    }

    /// The keys of the outermost tables.
    pub(super) fn sections(&self) -> impl Iterator<Item = &String> {
        self.values.keys()
    }

    /// The source that gave the value which carries `tag`.
    pub(super) fn source(&self, tag: Tag) -> Option<&Source> {
        self.layer(tag).map(|layer| &layer.source)
    }

    fn layer(&self, tag: Tag) -> Option<&Layer> {
        let number: usize = self.figment.get_metadata(tag)?.name.parse().ok()?;
        self.layers.get(number)
    }

    /// The layer whose value stands at `path`: for a table, the last one that has a part in it.
    fn layer_at(&self, path: &[String]) -> Option<&Layer> {
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        (1..=keys.len())
            .rev()
            .find_map(|length| match self.get(&keys[..length])? {
                Value::Dict(..) => self.layers.iter().rev().find(|layer| layer.has(&path[..length])),
                value => self.layer(value.tag()),
            })
    }

    /// A problem with what stands at `path`, in the words of the source it came from.
    pub(super) fn problem(&self, path: &[String], severity: Severity, message: impl Into<String>) -> Problem {
        problem_in(self.layer_at(path), path, false, severity, message.into())
    }

    /// A problem with the key at the end of `path` itself.
    pub(super) fn problem_of_key(&self, path: &[String], message: impl Into<String>) -> Problem {
        problem_in(self.layer_at(path), path, true, Severity::Error, message.into())
    }

    /// Where `path` was declared, for keeping the order of tables: in which source, and where in it.
    pub(super) fn position(&self, path: &[String]) -> (usize, usize) {
        let mut layers = self.layers.iter().enumerate();
        layers
            .find_map(|(index, layer)| Some((index, layer.text.as_ref()?.position(path)?)))
            .unwrap_or((usize::MAX, 0))
    }
}

fn problem_in(layer: Option<&Layer>, path: &[String], of_key: bool, severity: Severity, message: String) -> Problem {
    match layer {
        Some(layer) => layer.problem(path, of_key, severity, message),
        None => Problem {
            name: path.join("."),
            keys: path.to_vec(),
            ..Problem::of_source(Source::BuiltIn, severity, message)
        },
    }
}

/// The text of a path's parts.
pub(super) fn path(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|&part| part.to_owned()).collect()
}

/// The path of an issue's key below the table `at`: dots part the keys of tables in it.
pub(super) fn inside(at: &[String], key: &str) -> Vec<String> {
    let keys = key.split('.').filter(|key| !key.is_empty());
    at.iter().cloned().chain(keys.map(str::to_owned)).collect()
}

/// The path of `key` below `at`.
pub(super) fn below(at: &[String], key: &str) -> Vec<String> {
    at.iter().cloned().chain([key.to_owned()]).collect()
}
