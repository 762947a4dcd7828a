//! The name of a table or column, safe to stand in a statement.

use std::fmt;
use std::str::FromStr;

use super::deserialize_from_text;

/// A name of letters, digits and underscores that does not start with a digit and is not one of SQLite's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableName(String);

impl TableName {
    /// The name as it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut letters = text.chars();
        let starts_well = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!(
                "`{text}` is not a name of a table or column: letters, digits and _ may be used"
            ));
        }
        if text.to_ascii_lowercase().starts_with("sqlite_") {
            return Err(format!("`{text}` belongs to SQLite itself"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

deserialize_from_text!(TableName);

super::schema_of_text!(TableName, "The name of a table or column");
