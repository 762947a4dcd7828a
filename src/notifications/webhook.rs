//! The kind `webhook`: posts a JSON document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Delivery, Target, Undelivered, call};
use crate::values::{Issue, Secret, Template, signature};

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

impl Target for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn check(&self) -> Vec<Issue> {
        let mut issues: Vec<_> = call::check_url(&self.url).into_iter().collect();
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        for (name, value) in &self.headers {
            if !is_name(name) || !call::fits_a_header(value.reveal()) {
                issues.push(Issue::error(
                    "headers",
                    format!(
                        "`{name}` is not a header: letters, digits and dashes are expected, and a value in printable ASCII"
                    ),
                ));
            }
        }
        match self.document() {
            Err(why) => issues.push(Issue::error("body", why)),
            Ok(document) => {
                let mut unknown = Vec::new();
                each_text(&document, &mut |template| {
                    unknown.extend(
                        template
                            .fields()
                            .filter(|name| !Delivery::FIELDS.contains(name))
                            .map(str::to_owned),
                    );
                });
                issues.extend(unknown.into_iter().map(|name| {
                    let why = format!(
                        "`{name}` is not a field of a message; the fields are {}",
                        Delivery::FIELDS.join(", ")
                    );
                    Issue::error("body", why)
                }));
            }
        }
        issues
    }

    fn send(&self, delivery: &Delivery<'_>) -> Result<String, Undelivered> {
        let document = match self.document().map_err(Undelivered::new)? {
            Value::Null => delivery.to_json(),
            document => fill(&document, delivery),
        };
        let body = document.to_string();
        let signature = self.secret.as_ref().map(|secret| sign(secret, body.as_bytes()));
        let mut headers = vec![("Idempotency-Key", delivery.id)];
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

impl Webhook {
    /// The document with its fields still in it; every field of a message where none is declared.
    fn document(&self) -> Result<Value, String> {
        match &self.body {
            None => Ok(Value::Null),
            Some(Value::String(text)) => serde_json::from_str(text)
                .map_err(|error| format!("a table, or a string that is JSON, is expected: {error}")),
            Some(table) => Ok(table.clone()),
        }
    }
}

/// What tells a receiver that the body comes from one who knows the secret.
fn sign(secret: &Secret, body: &[u8]) -> String {
    format!("sha256={}", signature(secret, body))
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
fn fill(value: &Value, delivery: &Delivery<'_>) -> Value {
    match value {
        Value::String(text) => {
            let Ok(template) = text.parse::<Template>();
            template.render(|name| delivery.field(name)).into()
        }
        Value::Array(list) => list.iter().map(|value| fill(value, delivery)).collect(),
        Value::Object(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), fill(value, delivery)))
            .collect(),
        other => other.clone(),
    }
}
