//! The kind `ntfy`: a topic of an ntfy server. The application's own ntfy settings are sent by here too.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Delivery, Message, Target, Undelivered, call};
use crate::values::{Issue, Secret};

/// The code of ntfy for too many messages.
const RATE_LIMITED: i64 = 42_901;
/// The priorities a message may have.
const PRIORITIES: [&str; 11] = [
    "1", "2", "3", "4", "5", "min", "low", "default", "high", "max", "urgent",
];

/// The keys of `ntfy`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ntfy {
    #[serde(default = "public_server")]
    url: Secret,
    topic: String,
    token: Option<Secret>,
    /// In the place of the message's own.
    priority: Option<String>,
    tags: Option<String>,
}

fn public_server() -> Secret {
    Secret::new("https://ntfy.sh".to_owned())
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub(crate) struct NtfyServer {
    pub url: String,
    /// The access token, where the server wants one.
    pub token: Option<Secret>,
}

impl Target for Ntfy {
    fn name(&self) -> &'static str {
        "ntfy"
    }

    fn check(&self) -> Vec<Issue> {
        let mut issues: Vec<_> = call::check_url(&self.url).into_iter().collect();
        if self.topic.trim().is_empty() || self.topic.contains('/') {
            issues.push(Issue::error("topic", "the name of a topic is expected"));
        }
        if self
            .token
            .as_ref()
            .is_some_and(|token| !call::fits_a_header(token.reveal()))
        {
            issues.push(Issue::error(
                "token",
                "not a token: printable ASCII characters are expected",
            ));
        }
        if self
            .priority
            .as_ref()
            .is_some_and(|priority| !PRIORITIES.contains(&priority.as_str()))
        {
            issues.push(Issue::error(
                "priority",
                format!("one of {} is expected", PRIORITIES.join(", ")),
            ));
        }
        issues
    }

    fn send(&self, delivery: &Delivery<'_>) -> Result<String, Undelivered> {
        let mut message = delivery.notification.message.clone();
        message.priority = self.priority.clone().unwrap_or(message.priority);
        message.tags = self.tags.clone().unwrap_or(message.tags);
        let server = NtfyServer {
            url: self.url.reveal().to_owned(),
            token: self.token.clone(),
        };
        send(&server, &self.topic, &message, delivery.id)
    }
}

/// Sends `message` to `topic`; `id` lets a server that knows it tell a repetition.
pub(crate) fn send(ntfy: &NtfyServer, topic: &str, message: &Message, id: &str) -> Result<String, Undelivered> {
    let fields = [
        ("title", &message.title),
        ("priority", &message.priority),
        ("tags", &message.tags),
    ];
    let given = fields.into_iter().filter(|(_, value)| !value.trim().is_empty());
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(given)
        .finish();
    let topic: String = form_urlencoded::byte_serialize(topic.as_bytes()).collect();
    let url = format!(
        "{}/{}?{query}",
        ntfy.url.trim_end_matches('/'),
        topic.replace('+', "%20")
    );
    let mut headers = vec![("Content-Type", "text/plain; charset=utf-8"), ("X-Sequence-ID", id)];
    let authorization = ntfy.token.as_ref().map(|token| format!("Bearer {}", token.reveal()));
    headers.extend(authorization.iter().map(|token| ("Authorization", token.as_str())));
    let answer = call::post(&Secret::new(url), &headers, message.text.as_bytes()).map_err(|undelivered| {
        // The application's audit log has always said whose server it is.
        Undelivered::new(undelivered.error.replace("the server", "the ntfy server"))
    })?;
    if answer.is_success() {
        return Ok(answer.in_words());
    }
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let error = match (body["code"].as_i64(), body["error"].as_str()) {
        (Some(RATE_LIMITED), _) => "Notification service is temporarily unavailable due to rate limiting. \
                                    Please try again later or upgrade your notification service plan."
            .to_owned(),
        (_, Some(error)) => format!("Notification service error: {error}"),
        _ => format!("Failed to send notification to NTFY: {}", answer.reason),
    };
    Err(Undelivered {
        error,
        wait: answer.wait,
        is_final: false,
    })
}
