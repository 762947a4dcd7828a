//! The declaration in TOML: jobs.toml, or the one built in. Remembers where each key and value stands.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::include;
use crate::config::layer::{Layer, Source, Span, excerpt_of, line_and_column};
use crate::config::problem::{Problem, Severity};

/// The declaration that is shipped, and used where there is no file.
pub const SHIPPED: &str = include_str!("../../../jobs.toml");

/// Which declaration is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum File {
    /// `./jobs.toml` if there is one, else the one built in.
    #[default]
    Default,
    /// The one built in.
    Shipped,
    /// The one in this file.
    Path(PathBuf),
    /// One that was kept: names and texts of its files.
    Kept(Arc<Vec<(String, String)>>),
}

/// The declaration in the working directory.
const HERE: &str = "jobs.toml";

impl File {
    /// Which one it is now.
    #[must_use]
    pub fn resolve(&self) -> Self {
        match self {
            Self::Default if Path::new(HERE).exists() => Self::Path(PathBuf::from(HERE)),
            Self::Default => Self::Shipped,
            other => other.clone(),
        }
    }

    /// The file that a change of the declaration would show in, whether it is there or not.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Default => Some(Path::new(HERE)),
            Self::Shipped | Self::Kept(_) => None,
            Self::Path(path) => Some(path),
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => self.resolve().fmt(f),
            Self::Shipped => f.write_str("built-in jobs.toml"),
            Self::Path(path) => path.display().fmt(f),
            Self::Kept(_) => f.write_str("last good configuration"),
        }
    }
}

/// Reads the declaration, with the files it includes, into a layer for each file.
///
/// # Errors
/// Every file that cannot be read, and every place at which one is no TOML.
pub(in crate::config) fn read(file: &File) -> Result<Vec<Layer>, Vec<Problem>> {
    let (mut layers, mut problems) = (Vec::new(), Vec::new());
    for (name, text) in texts(file) {
        let source = Source::File(name);
        let read = text
            .map_err(|why| {
                vec![Problem::of_source(
                    source.clone(),
                    Severity::Error,
                    format!("cannot be read: {why}"),
                )]
            })
            .and_then(|text| parse(source, &text));
        match read {
            Ok(layer) => layers.push(layer),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(include::clashes(&layers));
    if !problems.is_empty() {
        return Err(problems);
    }
    let has_databases = layers.iter().any(|layer| layer.values.contains_key("databases"));
    if let (false, Some(first)) = (has_databases, layers.first_mut()) {
        // The one database everyone has, unless the declaration names its own.
        let path = ["databases", "duplistatus", "path"].map(str::to_owned);
        first.insert(&path, "data/backups.db".into());
    }
    Ok(layers)
}

/// The files of a declaration, by the names people know them by, with their texts.
fn texts(file: &File) -> Vec<(String, Result<String, String>)> {
    match file.resolve() {
        File::Kept(texts) => texts
            .iter()
            .map(|(name, text)| (name.clone(), Ok(text.clone())))
            .collect(),
        File::Path(path) => {
            let text = read_text(&path);
            let included = text
                .as_ref()
                .map_or_else(|_| Vec::new(), |text| include::files(&path, text));
            let others = included
                .into_iter()
                .map(|path| (path.display().to_string(), read_text(&path)));
            std::iter::once((path.display().to_string(), text))
                .chain(others)
                .collect()
        }
        shipped => vec![(shipped.to_string(), Ok(SHIPPED.to_owned()))],
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// The files that a change of the declaration would show in.
#[must_use]
pub fn watched(file: &File) -> Vec<PathBuf> {
    let Some(path) = file.path() else { return Vec::new() };
    let included = read_text(path).map_or_else(|_| Vec::new(), |text| include::files(path, &text));
    std::iter::once(path.to_owned()).chain(included).collect()
}

/// The folders in which such files may come and go.
#[must_use]
pub fn watched_folders(file: &File) -> Vec<PathBuf> {
    let Some(path) = file.path() else { return Vec::new() };
    let text = read_text(path).unwrap_or_default();
    let patterns = include::patterns(path, &text);
    let files = std::iter::once(path.to_owned()).chain(patterns);
    let mut folders: Vec<PathBuf> = files
        .map(|file| match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        })
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// Reads TOML text into a layer.
///
/// # Errors
/// Every place at which it is no TOML.
pub(in crate::config) fn parse(source: Source, text: &str) -> Result<Layer, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| Problem {
            place: error.span().map(|span| line_and_column(text, span.start)),
            excerpt: error.span().and_then(|span| excerpt_of(text, &span, true)),
            ..Problem::of_source(source.clone(), Severity::Error, error.message().trim_end())
        };
        return Err(errors.iter().map(problem).collect());
    }
    let mut layer = Layer::new(source);
    layer.values = read_table(table.get_ref(), &mut Vec::new(), &mut layer.spans);
    // Which files belong together is seen to before they are merged.
    if matches!(layer.values.get("include"), Some(Value::Array(..))) {
        layer.values.remove("include");
    }
    text.clone_into(&mut layer.text);
    Ok(layer)
}

/// A text read as one TOML value, as on the right of `=`; `None` where it is none.
pub(in crate::config) fn read_value(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    Some(convert(value.get_ref(), &mut Vec::new(), &mut Spans::new()))
}

/// A text read as one TOML value, as JSON; what is no TOML value is a text.
#[must_use]
pub fn read_json(text: &str) -> serde_json::Value {
    read_value(text).map_or_else(|| text.into(), |value| crate::config::origins::plain(&value))
}

type Spans = std::collections::HashMap<Vec<String>, Span>;

fn read_table(table: &DeTable<'_>, path: &mut Vec<String>, spans: &mut Spans) -> Dict {
    let mut dict = Dict::new();
    for (key, value) in table {
        let name = key.get_ref().to_string();
        path.push(name.clone());
        spans.insert(
            path.clone(),
            Span {
                key: key.span(),
                value: span_of(key, value),
            },
        );
        dict.insert(name, convert(value.get_ref(), path, spans));
        path.pop();
    }
    dict
}

fn span_of<K>(key: &Spanned<K>, value: &Spanned<DeValue<'_>>) -> Range<usize> {
    if value.get_ref().is_table() {
        key.span()
    } else {
        value.span()
    }
}

fn convert(value: &DeValue<'_>, path: &mut Vec<String>, spans: &mut Spans) -> Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => number.to_string().into(),
        },
        DeValue::Float(number) => number.as_str().parse::<f64>().unwrap_or(f64::NAN).into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(at) => at.to_string().into(),
        DeValue::Array(list) => list
            .iter()
            .map(|value| convert(value.get_ref(), path, &mut Spans::new()))
            .collect::<Vec<_>>()
            .into(),
        DeValue::Table(table) => read_table(table, path, spans).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_settings_can_be_read() {
        assert!(super::super::built_in().values.contains_key("server"));
    }

    #[test]
    fn every_syntax_error_is_told_with_its_place() {
        let text = "[server]\nport = = 1\nhost = \"x\nstate = [1,\n";
        let problems = parse(Source::File("jobs.toml".to_owned()), text).unwrap_err();
        let places: Vec<_> = problems.iter().filter_map(|problem| problem.place).collect();
        assert!(
            places.contains(&(2, 8)) && places.iter().any(|place| place.0 == 3),
            "{problems:?}"
        );
    }
}
