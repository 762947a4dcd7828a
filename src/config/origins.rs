//! The effective configuration, value by value, each with the source it came from and those it won over.

use std::collections::BTreeSet;

use figment::value::{Dict, Num, Value};
use serde_json::Value as Json;

use super::layer::Layer;
use super::{Layers, Problems, Sources};
use crate::notifications::Target;

/// One effective value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its path in the declaration.
    pub path: Vec<String>,
    /// The value; a secret is hidden.
    pub value: Json,
    /// Where it came from.
    pub origin: String,
    /// The values it won over, with their origins, nearest first.
    pub overridden: Vec<(Json, String)>,
}

/// Every effective value, in the order of the declaration.
///
/// # Errors
/// Where the declaration cannot be read.
pub fn settings(sources: &Sources) -> Result<Vec<Setting>, Problems> {
    let mut layers = Layers::read(sources)?;
    layers.settle(sources);
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for layer in &layers.all {
        leaves(&layer.values, &mut Vec::new(), &mut |path| {
            found.extend([path.to_vec()]);
        });
    }
    let mut paths: Vec<Vec<String>> = found.into_iter().collect();
    // The values of one table stand together, its own before those of the tables in it.
    paths.sort_by_cached_key(|path| {
        let place = |length| {
            layers
                .all
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
        let mut given = layers.all.iter().rev().filter_map(|layer| {
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
    Ok(paths.into_iter().filter_map(setting).collect())
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

fn leaves(table: &Dict, path: &mut Vec<String>, visit: &mut impl FnMut(&[String])) {
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
fn to_json(value: &Value, path: &[String]) -> Json {
    let is_target = path.first().is_some_and(|section| section == "notifications");
    let is_source = path.last().is_some_and(|key| key == "env" || key == "file");
    if is_target && !is_source && path.iter().skip(3).any(|key| Target::SECRETS.contains(&key.as_str())) {
        return "[secret]".into();
    }
    plain(value)
}

pub(super) fn plain(value: &Value) -> Json {
    match value {
        Value::String(_, text) => text.clone().into(),
        Value::Char(_, c) => c.to_string().into(),
        Value::Bool(_, flag) => (*flag).into(),
        Value::Num(_, number) => match number {
            Num::F32(_) | Num::F64(_) => number.to_f64().into(),
            _ => {
                let unsigned = number.to_u128().and_then(|number| i64::try_from(number).ok());
                let signed = || number.to_i128().and_then(|number| i64::try_from(number).ok());
                unsigned.or_else(signed).into()
            }
        },
        Value::Empty(..) => Json::Null,
        Value::Dict(_, table) => table.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        Value::Array(_, list) => list.iter().map(plain).collect(),
    }
}
