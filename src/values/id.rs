//! The names that tables of the declaration are keyed by: lower case letters, digits and dashes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::deserialize_from_text;

fn check(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(format!("`{text}` is not an id: only a-z, 0-9 and - may be used"));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $visible:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visible struct $name(Arc<str>);

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                check(text).map(|()| Self(text.into()))
            }
        }

        impl $name {
            /// The id as it is written.
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        deserialize_from_text!($name);
        super::schema_of_text!($name, "An id: a-z, 0-9 and dashes");
    };
}

id!(
    /// The id of a job: `[jobs.<id>]`.
    pub JobId
);
id!(
    /// The id of a database: `[databases.<id>]`.
    pub(crate) DatabaseId
);

id!(
    /// The id of a notification target: `[notifications.<id>]`.
    pub(crate) TargetId
);
id!(
    /// The id of a group of jobs: `[groups.<id>]`.
    pub(crate) GroupId
);
id!(
    /// The id of a container engine: `[engines.<id>]`.
    pub(crate) EngineId
);
id!(
    /// The id of a declared expectation: `[jobs.<id>.overdue_backups.expect.<id>]`.
    pub(crate) ExpectationId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_lower_case_letters_digits_and_dashes_only() {
        for good in ["a", "audit-log-cleanup", "7"] {
            assert_eq!(good.parse::<JobId>().unwrap().as_str(), good);
        }
        for bad in ["", "Audit", "a_b", "a.b", "ä", "a b"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad:?}");
        }
    }
}
