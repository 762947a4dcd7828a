//! The kind `webhook`: posts a JSON document.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use super::Undelivered;
use super::call;
use super::letter::Parcel;
use crate::values::{Secret, Template};

/// The keys of `webhook`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    url: Secret,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// A table, or its JSON as a text; `{title}` in any of its texts stands for the title, and so on.
    body: Option<Value>,
    /// The key of the signature in `X-Signature-256`.
    secret: Option<Secret>,
}

impl Webhook {
    pub(super) fn flaws(&self) -> Vec<(&'static str, String)> {
        let mut flaws: Vec<_> = call::flaw(&self.url).map(|why| ("url", why)).into_iter().collect();
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        for (name, value) in &self.headers {
            if !is_name(name) || !call::fits_a_header(value.reveal()) {
                flaws.push((
                    "headers",
                    format!(
                        "`{name}` is no header: letters, digits and dashes are expected, and a value in printable ASCII"
                    ),
                ));
            }
        }
        match self.document() {
            Err(why) => flaws.push(("body", why)),
            Ok(document) => {
                let mut unknown = Vec::new();
                each_text(&document, &mut |template| {
                    unknown.extend(
                        template
                            .fields()
                            .filter(|name| !Parcel::FIELDS.contains(name))
                            .map(str::to_owned),
                    );
                });
                flaws.extend(unknown.into_iter().map(|name| {
                    let why = format!(
                        "`{name}` is no field of a message; there are {}",
                        Parcel::FIELDS.join(", ")
                    );
                    ("body", why)
                }));
            }
        }
        flaws
    }

    /// The document with its fields still in it; every field of a message where none is declared.
    fn document(&self) -> Result<Value, String> {
        match &self.body {
            None => Ok(Value::Null),
            Some(Value::String(text)) => serde_json::from_str(text)
                .map_err(|error| format!("a table, or a text that is JSON, is expected: {error}")),
            Some(table) => Ok(table.clone()),
        }
    }

    pub(super) fn send(&self, parcel: &Parcel<'_>) -> Result<String, Undelivered> {
        let document = match self.document().map_err(Undelivered::new)? {
            Value::Null => parcel.to_json(),
            document => fill(&document, parcel),
        };
        let body = document.to_string();
        let signature = self.secret.as_ref().map(|secret| sign(secret, body.as_bytes()));
        let mut headers = vec![("Idempotency-Key", parcel.id)];
        if !self
            .headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("content-type"))
        {
            headers.push(("Content-Type", "application/json"));
        }
        headers.extend(
            signature
                .iter()
                .map(|signature| ("X-Signature-256", signature.as_str())),
        );
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())));
        call::post(&self.url, &headers, body.as_bytes())?.accepted()
    }
}

/// The HMAC of the body, as `sha256=` and hexadecimal digits.
fn sign(secret: &Secret, body: &[u8]) -> String {
    // An HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    mac.finalize()
        .into_bytes()
        .iter()
        .fold("sha256=".to_owned(), |digits, byte| format!("{digits}{byte:02x}"))
}

fn each_text(value: &Value, visit: &mut impl FnMut(&Template)) {
    match value {
        Value::String(text) => {
            let Ok(template) = text.parse::<Template>();
            visit(&template);
        }
        Value::Array(list) => list.iter().for_each(|value| each_text(value, visit)),
        Value::Object(table) => table.values().for_each(|value| each_text(value, visit)),
        _ => {}
    }
}

/// The document with every field filled in: in texts only, so that it stays the JSON it is.
fn fill(value: &Value, parcel: &Parcel<'_>) -> Value {
    match value {
        Value::String(text) => {
            let Ok(template) = text.parse::<Template>();
            template.render(|name| parcel.field(name)).into()
        }
        Value::Array(list) => list.iter().map(|value| fill(value, parcel)).collect(),
        Value::Object(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), fill(value, parcel)))
            .collect(),
        other => other.clone(),
    }
}
