//! The kind `http`: asks a server for something, and judges its answer.

mod address;
mod request;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration as Wait;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use ureq::http::{HeaderName, HeaderValue};

use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::{CheckedDatabase, Mode};
use crate::values::{Duration, Issue, Redactor, Secret, Size, plural, secrets_of_address, secrets_of_login};
use address::Address;
use request::Cancel;
use verdict::{StatusRule, is_repeatable};

/// The most of an answer that may be read.
const MOST_READ: Size = Size::from_bytes(64 << 20);
/// How long a request takes to end that is looking a name up, or connecting.
const TO_END: Wait = Wait::from_secs(20);
/// The methods there are.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Headers that are set by the service itself.
const OUR_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "idempotency-key",
    "transfer-encoding",
    "x-cron-attempt",
    "x-cron-job",
    "x-cron-scheduled-at",
];

/// The keys of `[jobs.<id>.http]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    url: Secret,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    bearer: Option<Secret>,
    basic: Option<Login>,
    body: Option<Secret>,
    json: Option<serde_json::Value>,
    #[serde(default)]
    expect: Expected,
    #[serde(default = "half_a_minute")]
    attempt_timeout: Duration,
    #[serde(default)]
    redirects: u8,
    /// Whether what the server perhaps received may be sent again.
    #[serde(default)]
    idempotent: bool,
    ca_file: Option<PathBuf>,
    /// Whether any certificate is good enough.
    #[serde(default)]
    insecure: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password: Secret,
}

/// What a good answer is like.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    status: Vec<StatusRule>,
    body_contains: Option<String>,
    /// How much of a body is read.
    max_body: Size,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            status: vec![StatusRule::SUCCESS],
            body_contains: None,
            max_body: Size::from_bytes(1 << 20),
        }
    }
}

impl Expected {
    fn has(&self, status: u16) -> bool {
        self.status.iter().any(|rule| rule.holds(status))
    }
}

fn half_a_minute() -> Duration {
    Duration::from_seconds(30)
}

impl Http {
    fn method(&self) -> &str {
        let has_body = self.body.is_some() || self.json.is_some();
        self.method.as_deref().unwrap_or(if has_body { "POST" } else { "GET" })
    }

    /// Whether the server may receive the request twice.
    fn may_repeat(&self) -> bool {
        self.idempotent || is_repeatable(self.method())
    }

    fn issues(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut refuse = |key, why: &str| issues.push(Issue::error(key, why));
        let address = Address::read(self.url.reveal());
        if let Err(why) = &address {
            refuse("url", why);
        }
        if !METHODS.contains(&self.method()) {
            refuse(
                "method",
                &format!("one of {} is expected, in capitals", METHODS.join(", ")),
            );
        }
        if self.body.is_some() && self.json.is_some() {
            refuse("json", "declare `body` or `json`, not both");
        }
        if matches!(self.method(), "GET" | "HEAD") && (self.body.is_some() || self.json.is_some()) {
            refuse("method", &format!("a {} request has no body", self.method()));
        }
        if self.redirects > 0 && !matches!(self.method(), "GET" | "HEAD") {
            refuse(
                "redirects",
                "only the redirects of a GET or HEAD request can be followed",
            );
        }
        if self.method() == "HEAD" && self.expect.body_contains.is_some() {
            refuse("expect.body_contains", "the answer to a HEAD request has no body");
        }
        if self.expect.status.is_empty() {
            refuse("expect.status", "the list is empty; every answer would be a failure");
        }
        if self.expect.max_body > MOST_READ {
            refuse("expect.max_body", &format!("at most {MOST_READ} of an answer are read"));
        }
        if self.insecure {
            issues.push(Issue::warning(
                "insecure",
                "anyone on the way can read and change what is sent",
            ));
        }
        let is_open = address.is_ok_and(|address| address.is_in_the_clear());
        if is_open && (self.bearer.is_some() || self.basic.is_some()) {
            let why = "the credentials are sent unencrypted; use https://";
            issues.push(Issue::warning("url", why));
        }
        issues.extend(self.issues_of_headers());
        issues
    }

    /// What is wrong with the headers, those that credentials become included.
    fn issues_of_headers(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut refuse = |key, why: &str| issues.push(Issue::error(key, why));
        let has_credentials = self.bearer.is_some() || self.basic.is_some();
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            let is_ours = OUR_HEADERS.contains(&lower.as_str()) || (lower == "authorization" && has_credentials);
            if HeaderName::try_from(name).is_err() || is_ours {
                refuse("headers", &format!("`{name}` cannot be set as a header"));
            } else if HeaderValue::from_str(value.reveal()).is_err() {
                refuse("headers", &format!("the value of `{name}` cannot stand in a header"));
            }
        }
        if self.bearer.is_some() && self.basic.is_some() {
            refuse("basic", "declare `bearer` or `basic`, not both");
        }
        if self
            .bearer
            .as_ref()
            .is_some_and(|token| HeaderValue::from_str(token.reveal()).is_err())
        {
            refuse("bearer", "it cannot stand in a header");
        }
        if self.basic.as_ref().is_some_and(|login| login.username.contains(':')) {
            refuse("basic", "a user's name cannot contain a colon");
        }
        issues
    }

    /// Leaves out what belongs to this request, beside what is secret anyway.
    fn redactor(&self) -> Redactor {
        let mut secrets = Vec::new();
        if !self.url.is_inline() {
            secrets.extend(secrets_of_address(self.url.reveal()));
        } else if let Ok(address) = Address::read(self.url.reveal()) {
            secrets.extend(address.values().map(str::to_owned));
        }
        secrets.extend(self.bearer.iter().map(|token| token.reveal().to_owned()));
        if let Some(login) = &self.basic {
            secrets.extend(secrets_of_login(&login.username, login.password.reveal()));
        }
        let is_known =
            |name: &str| ["accept", "content-type", "user-agent"].contains(&name.to_ascii_lowercase().as_str());
        let headers = self.headers.iter().filter(|(name, _)| !is_known(name));
        secrets.extend(headers.flat_map(|(_, value)| {
            let words = value.reveal().split(' ').map(str::to_owned);
            words.chain([value.reveal().to_owned()]).collect::<Vec<_>>()
        }));
        Redactor::new(secrets.iter().map(String::as_str))
    }

    /// The address as it may be shown: of a secret one only the host, of others all but the values of the query.
    fn shown(&self) -> String {
        Address::read(self.url.reveal()).map_or_else(
            |_| "an address that cannot be read".to_owned(),
            |address| {
                if self.url.is_inline() {
                    address.shown()
                } else {
                    address.origin()
                }
            },
        )
    }
}

impl Kind for Http {
    fn database(&self) -> Option<Mode> {
        None
    }

    fn check(&self, _database: Option<&CheckedDatabase>) -> Vec<Issue> {
        self.issues()
    }

    fn takes_to_end(&self) -> Wait {
        TO_END
    }

    fn only_looks(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD" | "OPTIONS")
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        let cancel: Cancel = Arc::new(OnceLock::new());
        let agent = Arc::clone(&cancel);
        let mut done = std::pin::pin!(ctx.blocking(self, move |kind, ctx| kind.send(ctx, &agent)));
        tokio::select! {
            done = &mut done => return done,
            () = ctx.cancel.cancelled() => {}
        }
        if let Some(agent) = cancel.get() {
            agent.clone().shutdown();
        }
        done.await
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        let size = self.sent_body().map_or(0, |body| body.len());
        let mut headers: Vec<&str> = self.headers.keys().map(String::as_str).collect();
        headers.extend((self.bearer.is_some() || self.basic.is_some()).then_some("Authorization"));
        let expected: Vec<String> = self.expect.status.iter().map(ToString::to_string).collect();
        let (method, url) = (self.method(), self.shown());
        let refusal = self.examine(ctx).await?.pop().map(|issue| issue.message);
        let mut lines: Vec<String> = refusal
            .iter()
            .map(|why| format!("a run would fail now: {why}"))
            .collect();
        lines.push(format!("would send {method} {url}, {}", plural(size as u64, "byte")));
        if !headers.is_empty() {
            lines.push(format!("with the headers {}", headers.join(", ")));
        }
        lines.push(format!("a good answer has the status {}", expected.join(", ")));
        lines.push("no request was sent".to_owned());
        Ok(Some(DryRun {
            json: json!({ "method": method, "url": url, "headers": headers, "bytes": size, "expected_status": expected }),
            lines,
            refusal,
        }))
    }

    async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        let Some(file) = &self.ca_file else {
            return Ok(Vec::new());
        };
        let read = ctx.blocking(file, |file, _| Ok(request::certificates(file).err()));
        Ok(read
            .await?
            .map(|why| Issue::warning("ca_file", why))
            .into_iter()
            .collect())
    }
}
