//! A text that must never be shown.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;

use super::read_text_in_time;

/// A secret text: its `Debug` form hides it, and it compares in constant time. It may stand in the values of any kind,
/// as itself, or as `{ env = "NAME" }` or `{ file = "path" }`, which is where it is read from.
#[derive(Clone)]
pub(crate) struct Secret {
    text: String,
    /// Whether it stands in the declaration itself.
    is_inline: bool,
    /// The file it was read from.
    file: Option<PathBuf>,
}

/// Where a secret is kept that does not stand in the declaration itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SecretSource {
    Env(String),
    File(String),
}

/// Reads a secret from where it is kept, or says why it cannot.
type Reader = Rc<dyn Fn(&SecretSource) -> Result<String, String>>;

thread_local! {
    // Serde hands nothing to `deserialize` but the values themselves, so that the reader waits here.
    static READER: RefCell<Option<Reader>> = const { RefCell::new(None) };
}

/// Does `work`, in which secrets are deserialized by `reader`.
pub(crate) fn reading_secrets<T>(reader: Reader, work: impl FnOnce() -> T) -> T {
    let before = READER.replace(Some(reader));
    let done = work();
    READER.set(before);
    done
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrSource;
        impl<'de> Visitor<'de> for TextOrSource {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, { env = \"NAME\" } or { file = \"path\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret {
                    text: text.to_owned(),
                    is_inline: true,
                    file: None,
                })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, table: A) -> Result<Secret, A::Error> {
                let source = SecretSource::deserialize(de::value::MapAccessDeserializer::new(table))?;
                let reader = READER.with_borrow(Clone::clone);
                let reader = reader.ok_or_else(|| de::Error::custom("no secret can be read here"))?;
                let text = reader(&source).map_err(de::Error::custom)?;
                let file = match source {
                    SecretSource::File(name) => Some(name.into()),
                    SecretSource::Env(_) => None,
                };
                Ok(Secret {
                    file,
                    ..Secret::new(text)
                })
            }
        }
        from.deserialize_any(TextOrSource)
    }
}

impl Secret {
    /// Keeps `text` secret from here on.
    pub(crate) fn new(text: String) -> Self {
        Self {
            text,
            is_inline: false,
            file: None,
        }
    }

    /// The secret as it is kept now: a file is read again. It may wait for the disk.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn fresh(&self) -> Result<Self, String> {
        let Some(file) = &self.file else {
            return Ok(self.clone());
        };
        Ok(Self {
            text: read_secret(file)?,
            ..self.clone()
        })
    }

    /// The text itself, for the one place that must send or compare it.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// Whether it stands in the declaration itself, where everybody who reads that sees it.
    pub(crate) fn is_inline(&self) -> bool {
        self.is_inline
    }

    /// Whether `given` is the secret; takes equally long for every wrong text of one length.
    pub(crate) fn matches(&self, given: &str) -> bool {
        self.text.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// The secret in the file at `path`. It may wait for the disk.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let name = path.display();
    let text = read_text_in_time(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{name} is empty; a secret is expected")),
        secret => Ok(secret.to_owned()),
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl schemars::JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A secret: the text itself, a variable that holds it, or a file",
            "oneOf": [
                { "type": "string" },
                { "type": "object", "properties": { "env": { "type": "string" } }, "required": ["env"], "additionalProperties": false },
                { "type": "object", "properties": { "file": { "type": "string" } }, "required": ["file"], "additionalProperties": false },
            ],
        })
    }
}

/// What keys of secrets are called, wherever someone puts one.
const TELLING: &[&str] = &[
    "token",
    "passw",
    "pwd",
    "secret",
    "credential",
    "ssh_key",
    "passphrase",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "authorization",
];

/// Whether what has this name is a secret, by the sound of it.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    TELLING.iter().any(|word| name.contains(word))
}
