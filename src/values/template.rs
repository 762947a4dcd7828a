//! Texts with `{name}` fields, for messages.

use std::str::FromStr;

use super::deserialize_from_text;

/// A text with `{name}` fields; `{{name}}` stands for `{name}` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// The names of its fields, in order of appearance.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with every field replaced by what `value` gives for its name; nothing where it gives none.
    pub(crate) fn render(&self, value: impl Fn(&str) -> Option<String>) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Field(name) => value(name).unwrap_or_default(),
            })
            .collect()
    }
}

/// The length of the name at the start of `text`, where it is followed by `end`.
fn name_before(text: &str, end: &str) -> Option<usize> {
    let length = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    (length > 0 && text[length..].starts_with(end)).then_some(length)
}

impl FromStr for Template {
    type Err = std::convert::Infallible;

    fn from_str(mut rest: &str) -> Result<Self, Self::Err> {
        let (mut parts, mut text) = (Vec::new(), String::new());
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(length) = rest.strip_prefix("{{").and_then(|inner| name_before(inner, "}}")) {
                text.push_str(&rest[1..length + 3]);
                rest = &rest[length + 4..];
            } else if let Some(length) = name_before(&rest[1..], "}") {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Field(rest[1..=length].to_owned()));
                rest = &rest[length + 2..];
            } else {
                text.push('{');
                rest = &rest[1..];
            }
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }
}

deserialize_from_text!(Template);

super::schema_of_text!(Template, "A string with {name} fields");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_replaced_and_everything_else_stays() {
        let value = |name: &str| (name == "rows").then(|| "7".to_owned());
        for (text, rendered) in [
            ("Deleted {rows} rows", "Deleted 7 rows"),
            ("{rows}{rows}", "77"),
            ("{{rows}} is {rows}", "{rows} is 7"),
            ("{unknown}!", "!"),
            ("a { b } {} {rows", "a { b } {} {rows"),
            ("ä{rows}ü", "ä7ü"),
        ] {
            let Ok(template) = text.parse::<Template>();
            assert_eq!(template.render(value), rendered, "{text}");
        }
    }
}
