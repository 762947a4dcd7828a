//! The effective configuration, value by value, each with the source it came from and those it won over.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};
use serde_json::Value as Json;

use super::layer::Layer;
use super::problem::Source;
use super::redact::{login_in, may_be_secret};
use super::resolve::Resolved;
use super::text::plain;
use super::{Layers, Problems, Sources};

/// One effective value.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub(crate) struct Setting {
    /// Its path in the declaration.
    pub path: Vec<String>,
    pub value: Json,
    pub origin: String,
    /// The values it won over, with their origins, nearest first.
    pub overridden: Vec<(Json, String)>,
}

/// Every effective value, in the order of the declaration, and what is wrong with them.
pub(crate) fn settings(sources: &Sources) -> Result<(Vec<Setting>, Problems), Problems> {
    let mut layers = Layers::read(sources)?;
    let Resolved {
        mut problems, read_as, ..
    } = layers.settle(sources);
    problems.extend(layers.port_without_effect());
    // A variable is shown as what it was read as: a number where one is wanted, say.
    let layers = layers.merged.changed(|layers| {
        for layer in layers.iter_mut().filter(|layer| layer.source == Source::Environment) {
            for (path, value) in &read_as {
                layer.insert(path, value.clone());
            }
        }
    });
    let layers = layers.layers();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for layer in layers {
        leaves(&layer.values, &mut Vec::new(), &mut |path| {
            found.extend([path.to_vec()]);
        });
    }
    // A table that is empty in one source may be filled by another.
    let is_filled = |path: &Vec<String>| {
        let next = found
            .range((std::ops::Bound::Excluded(path.clone()), std::ops::Bound::Unbounded))
            .next();
        next.is_some_and(|next| next.starts_with(path))
    };
    let mut paths: Vec<Vec<String>> = found.iter().filter(|path| !is_filled(path)).cloned().collect();
    // The values of one table stand together, its own before those of the tables in it.
    paths.sort_by_cached_key(|path| {
        let place = |length| {
            layers
                .iter()
                .find_map(|layer: &Layer| layer.text.as_ref()?.span(&path[..length], true))
                .map(|span| span.start)
        };
        let of_part = if path.len() > 2 { place(2) } else { None };
        (
            place(1),
            of_part,
            path.len() > 2,
            path[..path.len() - 1].to_vec(),
            path.clone(),
        )
    });
    let setting = |path: Vec<String>| {
        let mut given = layers.iter().rev().filter_map(|layer| {
            let value = layer.get(&path)?;
            Some((to_json(value, &path), origin(layer, &path)))
        });
        let (value, origin) = given.next()?;
        let overridden = given.collect();
        Some(Setting {
            path,
            value,
            origin,
            overridden,
        })
    };
    Ok((paths.into_iter().filter_map(setting).collect(), Problems(problems)))
}

fn origin(layer: &Layer, path: &[String]) -> String {
    if let Some((line, _)) = layer.place(path, false) {
        return format!("{}:{line}", layer.source);
    }
    let name = layer.name(path);
    if name == path.join(".") {
        layer.source.to_string()
    } else {
        format!("{} {name}", layer.source)
    }
}

pub(super) fn leaves(table: &Dict, path: &mut Vec<String>, visit: &mut impl FnMut(&[String])) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Dict(_, below) if !below.is_empty() => leaves(below, path, visit),
            _ => visit(path),
        }
        path.pop();
    }
}

/// The value as JSON, hidden where it may be a secret.
pub(super) fn to_json(value: &Value, path: &[String]) -> Json {
    let has_login = value.as_str().is_some_and(|text| login_in(text).is_some());
    if has_login || (value.as_dict().is_none() && may_be_secret(path)) {
        return "[secret]".into();
    }
    plain(value)
}
