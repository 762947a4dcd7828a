//! Names that git knows things by: of refs, and of objects.

use std::fmt;
use std::str::FromStr;

/// The short name of a branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefName(String);

impl RefName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
        #[expect(clippy::case_sensitive_file_extension_comparisons, reason = "git has it so")]
        let is_bad_part =
            |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with('.') || part.ends_with(".lock");
        let is_bad_name = text.chars().any(is_bad)
            || text.split('/').any(is_bad_part)
            || text.starts_with('-')
            || text.contains("..")
            || text.contains("@{")
            || text == "@";
        if is_bad_name {
            return Err(format!("`{text}` cannot be the name of a branch or a tag"));
        }
        if text.starts_with("refs/") {
            return Err(format!(
                "`{text}` is a full name; the short one is expected, such as \"main\""
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

crate::values::deserialize_from_text!(RefName);
crate::values::schema_of_text!(RefName, "The name of a branch or a tag");

/// The full name of an object: 40 or 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct ObjectName(String);

impl ObjectName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Its beginning, for people.
    pub(crate) fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if matches!(text.len(), 40 | 64) && text.bytes().all(is_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err("the full hash of a commit is expected: 40 or 64 hexadecimal digits, in lower case".to_owned())
        }
    }
}

crate::values::deserialize_from_text!(ObjectName);
crate::values::schema_of_text!(ObjectName, "The full name of a commit");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_would_read_otherwise_are_refused() {
        for good in ["main", "release/1.2", "größe", "a@b"] {
            assert_eq!(good.parse::<RefName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-x",
            "a..b",
            "a b",
            "a:b",
            "refs/heads/main",
            "@",
            "a@{1}",
            "a/.b",
            "a.lock",
            "a//b",
            "*",
            "a\n",
        ] {
            assert!(bad.parse::<RefName>().is_err(), "{bad}");
        }
        assert!("abc".parse::<ObjectName>().is_err());
        assert!("g".repeat(40).parse::<ObjectName>().is_err());
        assert_eq!("a".repeat(64).parse::<ObjectName>().unwrap().short(), "aaaaaaaa");
    }
}
