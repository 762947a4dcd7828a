//! TOML text: its values, where each of them stands, and the excerpt that shows the place to a reader.

use std::ops::Range;
use std::sync::OnceLock;

use figment::value::{Dict, Num, Value};
use toml::de::{DeTable, DeValue, Error};

use super::redact::{blot_out, is_not_kept, login_in, may_be_secret};

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
    /// Where values stand that may be secrets, once someone asked.
    private: OnceLock<Vec<Range<usize>>>,
}

/// Where a key and its value stand, in bytes; for a table, both are where its name stands.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    key: Range<usize>,
    value: Range<usize>,
    is_table: bool,
    /// Those of a table's keys or of a list's items, in the order of their names.
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
                private: OnceLock::new(),
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

    /// Where values stand that must not be kept, in bytes.
    pub(super) fn not_to_be_kept(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        values_that(is_not_kept, &self.places, &mut Vec::new(), &mut found);
        found
    }

    /// The line that `span` begins in; what may be a secret is left out of it.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> Option<Excerpt> {
        let line = self.line_of(span.start)?;
        let private = self.private.get_or_init(|| {
            let mut found = Vec::new();
            values_that(may_be_secret, &self.places, &mut Vec::new(), &mut found);
            found
        });
        let touching: Vec<&Range<usize>> = private
            .iter()
            .filter(|secret| secret.start < line.end && secret.end > line.start)
            .collect();
        let hide = |(at, c): (usize, char)| {
            let at = line.start + at;
            let is_hidden = touching.iter().any(|secret| secret.contains(&at));
            if is_hidden && !matches!(c, '"' | '\'') { '*' } else { c }
        };
        let mut shown: String = self.content[line.clone()].char_indices().map(hide).collect();
        if let Some(login) = login_in(&shown) {
            let stars = "*".repeat(shown[login.clone()].chars().count());
            shown.replace_range(login, &stars);
        }
        Some(self.excerpt_of(&shown, line, span))
    }

    /// The line of a text that cannot be read that `span` begins in; whatever may be a secret is left out of it.
    pub(super) fn excerpt_of_error(&self, span: &Range<usize>) -> Option<Excerpt> {
        let line = self.line_of(span.start)?;
        let before = &self.content[..line.start];
        let is_open = |quotes: &str| before.matches(quotes).count() % 2 == 1;
        let is_inside_text = is_open("\"\"\"") || is_open("'''");
        let shown = blot_out(&self.content[line.clone()], is_inside_text);
        Some(self.excerpt_of(&shown, line, span))
    }

    /// Where the line around byte `at` stands, without its end.
    fn line_of(&self, at: usize) -> Option<Range<usize>> {
        let start = self.lines[self.lines.partition_point(|start| *start <= at) - 1];
        let line = self.content.get(start..)?.lines().next().unwrap_or_default();
        Some(start..start + line.len())
    }

    fn excerpt_of(&self, shown: &str, line: Range<usize>, span: &Range<usize>) -> Excerpt {
        let count = |range: Range<usize>| self.content.get(range).map_or(0, |text| text.chars().count());
        let from = span.start.min(line.end);
        Excerpt::new(
            shown,
            count(line.start..from),
            count(from..span.end.min(line.end).max(from)),
        )
    }
}

/// Where values stand whose path is such a one.
fn values_that(
    is_wanted: fn(&[String]) -> bool,
    places: &[Place],
    path: &mut Vec<String>,
    found: &mut Vec<Range<usize>>,
) {
    for place in places {
        path.push(place.name.clone());
        if is_wanted(path) && !place.is_table {
            found.push(place.value.clone());
        } else {
            values_that(is_wanted, &place.below, path, found);
        }
        path.pop();
    }
}

fn named<'a>(places: &'a [Place], name: &str) -> Option<&'a Place> {
    let index = places.binary_search_by(|place| place.name.as_str().cmp(name)).ok()?;
    places.get(index)
}

fn places_of(table: &DeTable<'_>) -> Vec<Place> {
    // A table gives its keys in the order of their names.
    let place = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        place(name.to_string(), key.span(), value)
    };
    table.iter().map(place).collect()
}

fn place(name: String, key: Range<usize>, value: &toml::Spanned<DeValue<'_>>) -> Place {
    let is_table = value.get_ref().is_table();
    let below = match value.get_ref() {
        DeValue::Table(table) => places_of(table),
        DeValue::Array(list) => {
            let items = list.iter().enumerate();
            let mut places: Vec<Place> = items
                .map(|(index, item)| place(index.to_string(), item.span(), item))
                .collect();
            places.sort_by(|one, other| one.name.cmp(&other.name));
            places
        }
        _ => Vec::new(),
    };
    Place {
        name,
        value: if is_table { key.clone() } else { value.span() },
        key,
        is_table,
        below,
    }
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
        // One that is too large for its key is told as the number it is.
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(read) => i64::try_from(read).map_or_else(|_| read.into(), Value::from),
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

/// A value as JSON.
pub(super) fn plain(value: &Value) -> serde_json::Value {
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
        Value::Empty(..) => serde_json::Value::Null,
        Value::Dict(_, table) => table.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        Value::Array(_, list) => list.iter().map(plain).collect(),
    }
}

/// How much of a line is shown, in characters.
const MOST: usize = 160;
/// How much of it before the fault, where the line is longer.
const BEFORE: usize = 60;

/// A line, or the part of a long one around what is at fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Excerpt {
    line: String,
    /// How many of its characters stand before what is at fault.
    before: usize,
    /// How many are at fault.
    width: usize,
}

impl Excerpt {
    /// Of `line`, `width` characters after the first `before`.
    pub(super) fn new(line: &str, before: usize, width: usize) -> Self {
        let width = width.max(1);
        if line.chars().nth(MOST).is_none() {
            return Self {
                line: line.to_owned(),
                before,
                width,
            };
        }
        let left = before.saturating_sub(BEFORE);
        let mut part: String = line.chars().skip(left).take(MOST).collect();
        if line.chars().nth(left + MOST).is_some() {
            part.push('…');
        }
        if left > 0 {
            part.insert(0, '…');
        }
        let before = before - left + usize::from(left > 0);
        Self {
            line: part,
            before,
            width: width.min(MOST.saturating_sub(before).max(1)),
        }
    }

    /// The line with its number, and carets below it.
    pub(super) fn show(&self, number: usize) -> String {
        let number = number.to_string();
        let margin = " ".repeat(number.len());
        // A tab before the caret is as wide as the one above it.
        let before = self.line.chars().take(self.before);
        let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(self.width);
        format!("{margin} |\n{number} | {}\n{margin} | {indent}{carets}", self.line)
    }
}
