//! Sends a message to a topic of an ntfy server.

use std::time::Duration;

use serde_json::Value;

use super::Undelivered;
use crate::duplistatus::channels::Ntfy;
use crate::duplistatus::message::Message;

/// How long a server may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// The code of ntfy for too many messages.
const RATE_LIMITED: i64 = 42_901;
/// The longest wait a server may ask for.
const LONGEST_WAIT: u64 = 6 * 3600;

/// Sends `message` to `topic`; `id` lets a server that knows it tell a repetition.
pub(super) fn send(ntfy: &Ntfy, topic: &str, message: &Message, id: &str) -> Result<(), Undelivered> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .build()
        .into();
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
    let mut request = agent
        .post(url)
        .header("Content-Type", "text/plain; charset=utf-8")
        .header("X-Sequence-ID", id);
    if let Some(token) = &ntfy.token {
        request = request.header("Authorization", format!("Bearer {}", token.reveal()));
    }
    let mut answer = request
        .send(message.text.as_bytes())
        .map_err(|error| Undelivered::new(format!("the ntfy server cannot be reached: {error}")))?;
    if answer.status().is_success() {
        return Ok(());
    }
    let wait = answer
        .headers()
        .get("Retry-After")
        .and_then(|wait| wait.to_str().ok()?.trim().parse::<u64>().ok());
    let reason = answer
        .status()
        .canonical_reason()
        .unwrap_or("unknown status")
        .to_owned();
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let error = match (body["code"].as_i64(), body["error"].as_str()) {
        (Some(RATE_LIMITED), _) => "Notification service is temporarily unavailable due to rate limiting. \
                                    Please try again later or upgrade your notification service plan."
            .to_owned(),
        (_, Some(error)) => format!("Notification service error: {error}"),
        _ => format!("Failed to send notification to NTFY: {reason}"),
    };
    Err(Undelivered {
        error,
        wait: wait.map(|seconds| Duration::from_secs(seconds.min(LONGEST_WAIT))),
    })
}
