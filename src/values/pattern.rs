//! A pattern of names, as shells have them. The only place that knows `glob`.

use std::str::FromStr;

use super::deserialize_from_text;

/// A name, or a pattern of names: `*` stands for anything, `?` for one character, `[ab]` for one of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(glob::Pattern);

impl Pattern {
    /// The pattern as it is written.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it means one name only.
    pub(crate) fn is_plain(&self) -> bool {
        !self.0.as_str().contains(['*', '?', '['])
    }

    /// Whether it means `name`. Upper and lower case differ.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

impl Default for Pattern {
    /// The pattern of every name.
    fn default() -> Self {
        Self(glob::Pattern::new("*").unwrap_or_default())
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        glob::Pattern::new(text)
            .map(Self)
            .map_err(|error| format!("`{text}` is not a name pattern: {}", error.msg))
    }
}

deserialize_from_text!(Pattern);

super::schema_of_text!(Pattern, "A name, or a pattern of names with * ? []");
