//! The declaration in TOML: jobs.toml, or the one built in. Remembers where each key and value stands.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::layer::{Layer, Source, Span, line_and_column};
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
            Self::Shipped => None,
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
        }
    }
}

/// Reads the declaration into a layer.
///
/// # Errors
/// When the file cannot be read, or every place at which it is no TOML.
pub(in crate::config) fn read(file: &File) -> Result<Layer, Vec<Problem>> {
    let file = file.resolve();
    let source = Source::File(file.to_string());
    let text = match &file {
        File::Shipped | File::Default => SHIPPED.to_owned(),
        File::Path(path) => std::fs::read(path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()))
            .map_err(|why| {
                vec![Problem::of_source(
                    source.clone(),
                    Severity::Error,
                    format!("cannot be read: {why}"),
                )]
            })?,
    };
    let mut layer = parse(source, &text)?;
    if !layer.values.contains_key("databases") {
        // The one database everyone has, unless the declaration names its own.
        let path = ["databases", "duplistatus", "path"].map(str::to_owned);
        layer.insert(&path, "data/backups.db".into());
    }
    Ok(layer)
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
            ..Problem::of_source(source.clone(), Severity::Error, error.message().trim_end())
        };
        return Err(errors.iter().map(problem).collect());
    }
    let mut layer = Layer::new(source);
    layer.values = read_table(table.get_ref(), &mut Vec::new(), &mut layer.spans);
    text.clone_into(&mut layer.text);
    Ok(layer)
}

/// A text read as one TOML value, as on the right of `=`; `None` where it is none.
pub(in crate::config) fn read_value(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    Some(convert(value.get_ref(), &mut Vec::new(), &mut Spans::new()))
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
