//! TOML text: its values, and where each of them stands.

use std::ops::Range;

use figment::value::{Dict, Value};
use toml::de::{DeTable, DeValue, Error};

/// What was read of a text.
pub(super) struct Parsed {
    pub text: Text,
    /// As far as the text is TOML.
    pub values: Dict,
    /// Every place at which it is none.
    pub errors: Vec<Error>,
}

/// A text with the place of everything in it.
#[derive(Clone, Debug)]
pub(super) struct Text {
    content: String,
    places: Vec<Place>,
    /// The byte that each line begins at.
    lines: Vec<usize>,
}

/// Where a key and its value stand, in bytes; for a table, both are where its name stands.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    key: Range<usize>,
    value: Range<usize>,
    /// Those of a table's own keys, in the order of their names.
    below: Vec<Place>,
}

impl Text {
    /// Reads `text` as TOML.
    pub(super) fn parse(text: String) -> Parsed {
        let (table, errors) = DeTable::parse_recoverable(&text);
        let (values, places) = (dict_of(table.get_ref()), places_of(table.get_ref()));
        drop(table);
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        Parsed {
            text: Self {
                content: text,
                places,
                lines,
            },
            values,
            errors,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.content
    }

    /// Where the key of `path` itself begins, in bytes.
    pub(super) fn position(&self, path: &[String]) -> Option<usize> {
        Some(self.find(path)?.key.start)
    }

    /// Where `path`, or the nearest table above it, stands, in bytes; its key where `of_key`.
    pub(super) fn span(&self, path: &[String], of_key: bool) -> Option<Range<usize>> {
        let (length, place) = (1..=path.len())
            .rev()
            .find_map(|length| Some((length, self.find(&path[..length])?)))?;
        let is_key = of_key || length < path.len();
        Some(if is_key { &place.key } else { &place.value }.clone())
    }

    fn find(&self, path: &[String]) -> Option<&Place> {
        let (last, above) = path.split_last()?;
        let places = above
            .iter()
            .try_fold(&self.places, |places, name| Some(&named(places, name)?.below))?;
        named(places, last)
    }

    /// The line and the column in characters, both from 1, of byte `at`.
    pub(super) fn line_and_column(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at);
        let before = self.content.get(self.lines[line - 1]..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The line that `span` begins in, and how many characters of the span stand in it. With `hides_texts`, what may
    /// be a secret is left out.
    pub(super) fn excerpt(&self, span: &Range<usize>, hides_texts: bool) -> Option<(String, usize)> {
        let text = &self.content;
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        let line = text[start..].lines().next()?;
        let end = span.end.min(start + line.len());
        let width = text.get(span.start..end).map_or(1, |meant| meant.chars().count());
        let line = if hides_texts {
            without_texts(line)
        } else {
            line.to_owned()
        };
        Some((line, width))
    }
}

/// The same line, with stars for every quoted character and every digit.
fn without_texts(line: &str) -> String {
    let mut inside = None;
    let hide = |c: char| match inside {
        Some(quote) if c == quote => {
            inside = None;
            c
        }
        Some(_) => '*',
        None => {
            inside = matches!(c, '"' | '\'').then_some(c);
            if c.is_ascii_digit() { '*' } else { c }
        }
    };
    line.chars().map(hide).collect()
}

fn named<'a>(places: &'a [Place], name: &str) -> Option<&'a Place> {
    let index = places.binary_search_by(|place| place.name.as_str().cmp(name)).ok()?;
    places.get(index)
}

fn places_of(table: &DeTable<'_>) -> Vec<Place> {
    // A table gives its keys in the order of their names.
    let place = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let below = value.get_ref().as_table();
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        Place {
            name: name.to_string(),
            key: key.span(),
            value: if below.is_some() { key.span() } else { value.span() },
            below: below.map(places_of).unwrap_or_default(),
        }
    };
    table.iter().map(place).collect()
}

fn dict_of(table: &DeTable<'_>) -> Dict {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), value_of(value.get_ref())))
        .collect()
}

fn value_of(value: &DeValue<'_>) -> Value {
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
            .map(|value| value_of(value.get_ref()))
            .collect::<Vec<_>>()
            .into(),
        DeValue::Table(table) => dict_of(table).into(),
    }
}

/// A text read as one TOML value, as on the right of `=`; `None` where it is none.
pub(super) fn read_value(text: &str) -> Option<Value> {
    DeValue::parse(text).ok().map(|value| value_of(value.get_ref()))
}
