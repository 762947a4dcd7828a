//! Overrides from the application's database, as layers.

use std::path::Path;

use figment::value::Value;
use serde_json::Value as Json;

use crate::config::layer::Layer;
use crate::config::merged::Merged;
use crate::config::problem::{Problem, Source};
use crate::duplistatus::settings::{self, Overrides};
use crate::duplistatus::{Row, read_rows};
use crate::sql::{SqlError, open_read_in_time};
use crate::values::Severity;

/// What the rows say.
#[derive(Default)]
pub(in crate::config) struct Rows {
    pub layers: Vec<Layer>,
    pub noted: Vec<Problem>,
    /// What was read.
    pub texts: Overrides,
}

/// Reads both rows from the default database of what is declared so far, where that is sound enough to tell. `candidate`
/// stands in for the row of our own.
pub(in crate::config) fn read(
    declared: &Merged,
    environment: &Layer,
    candidate: Option<&str>,
) -> Result<Rows, SqlError> {
    let Some(file) = default_database(declared, environment) else {
        return Ok(Rows::default());
    };
    let file = Path::new(&file);
    let found = open_read_in_time(file)?;
    let texts = settings::overrides(&found).map_err(|error| SqlError::of_database(file, &error))?;
    let mut applied = texts.clone();
    if let Some(candidate) = candidate {
        applied.cron_overrides = Some(candidate.to_owned());
    }
    let is_declared = |job: &str| declared.get(&["jobs", job]).is_some();
    let mut rows = Rows {
        texts,
        ..Rows::default()
    };
    for row in read_rows(&applied, &is_declared) {
        rows.noted.extend(row.notes.iter().map(|note| Problem {
            name: note.name.clone(),
            ..Problem::of_source(Source::Row(row.key), severity(note.is_harmless), &note.message)
        }));
        rows.layers.push(layer(row));
    }
    Ok(rows)
}

fn severity(is_harmless: bool) -> Severity {
    if is_harmless {
        Severity::Warning
    } else {
        Severity::Ignored
    }
}

fn layer(row: Row) -> Layer {
    let mut layer = Layer::new(Source::Row(row.key));
    for value in row.values {
        layer.insert(&value.path, convert(&value.value));
        layer.names.extend(value.name.map(|name| (value.path, name)));
    }
    layer
}

/// The path of the default database; variables win over what is declared.
fn default_database(declared: &Merged, environment: &Layer) -> Option<String> {
    let get = |path: &[&str]| {
        let owned: Vec<String> = path.iter().map(ToString::to_string).collect();
        environment.get(&owned).or_else(|| declared.get(path))
    };
    let id = if let Some(id) = get(&["defaults", "database"]) {
        id.as_str()?.to_owned()
    } else {
        let mut ids = declared.table("databases").map(|(id, _)| id);
        ids.next().filter(|_| ids.next().is_none())?.clone()
    };
    Some(get(&["databases", &id, "path"])?.as_str()?.to_owned())
}

fn convert(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(figment::value::Empty::Unit),
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            _ => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Json::String(text) => text.clone().into(),
        Json::Array(list) => list.iter().map(convert).collect::<Vec<_>>().into(),
        Json::Object(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), convert(value)))
            .collect::<figment::value::Dict>()
            .into(),
    }
}
