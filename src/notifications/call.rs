//! One HTTP request of a target, and what its answer means for the message. The only place that knows ureq here.

use std::time::Duration;

use super::Undelivered;

use crate::values::{Issue, Secret, redact, secrets_of_address};

/// How long a server may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest wait a server may ask for.
const LONGEST_WAIT: u64 = 6 * 3600;
/// How much of an answer is read.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// What a server answered.
pub(super) struct Answer {
    pub status: u16,
    /// The words that belong to the status.
    pub reason: &'static str,
    pub body: String,
    /// How long the server asks to wait.
    pub wait: Option<Duration>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The answer as a person wants it when trying a target.
    pub(super) fn in_words(&self) -> String {
        let start: String = self.body.trim().chars().take(200).collect();
        format!("{} {} {start}", self.status, self.reason).trim_end().to_owned()
    }

    /// The answer as the outcome of a message.
    pub(super) fn accepted(self) -> Result<String, Undelivered> {
        if self.is_success() {
            return Ok(self.in_words());
        }
        Err(Undelivered {
            error: format!("the server answered {}", self.in_words()),
            wait: self.wait,
            is_final: false,
        })
    }
}

/// Posts `body` to `url`, following no redirect. Neither the address nor a header stands in what is said of it, even
/// where the server repeats them.
pub(super) fn post(url: &Secret, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Undelivered> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .build()
        .into();
    let mut request = agent.post(url.reveal());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let unreachable = |error: ureq::Error| {
        let why = blot_out(&error.to_string(), url, headers);
        Undelivered::new(format!("the server cannot be reached: {why}"))
    };
    let mut answer = request.send(body).map_err(unreachable)?;
    let wait = answer
        .headers()
        .get("Retry-After")
        .and_then(|wait| wait.to_str().ok()?.trim().parse::<u64>().ok())
        .map(|seconds| Duration::from_secs(seconds.min(LONGEST_WAIT)));
    let text = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
    Ok(Answer {
        status: answer.status().as_u16(),
        reason: answer.status().canonical_reason().unwrap_or("unknown status"),
        body: blot_out(&text.unwrap_or_default(), url, headers),
        wait,
    })
}

/// `text` without the address, its parts and the values of headers in it.
fn blot_out(text: &str, url: &Secret, headers: &[(&str, &str)]) -> String {
    let address = secrets_of_address(url.reveal());
    let values = headers
        .iter()
        .filter(|(name, _)| !matches!(*name, "Content-Type" | "X-Sequence-ID" | "Idempotency-Key"))
        .map(|(_, value)| {
            ["Bearer ", "Basic "]
                .iter()
                .find_map(|scheme| value.strip_prefix(scheme))
                .unwrap_or(value)
        })
        .flat_map(|value| std::iter::once(value).chain(value.split(' ')));
    redact(text, address.iter().map(String::as_str).chain(values))
}

/// What is wrong with the `url` that messages are posted to. It is not shown: addresses may be secrets.
pub(super) fn check_url(url: &Secret) -> Option<Issue> {
    let is_good = ureq::http::Uri::try_from(url.reveal()).is_ok_and(|uri| {
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        let port = uri
            .authority()
            .and_then(|authority| authority.as_str().rsplit_once(':'));
        let has_good_port = port.is_none_or(|(_, port)| port.ends_with(']') || port.parse::<u16>().is_ok());
        has_host && has_good_port && matches!(uri.scheme_str(), Some("http" | "https"))
    });
    (!is_good).then(|| Issue::error("url", "an address that begins with https:// or http:// is expected"))
}

/// Whether `text` can be the value of a header.
pub(super) fn fits_a_header(text: &str) -> bool {
    text.chars().all(|c| c == '\t' || (' '..='~').contains(&c))
}
