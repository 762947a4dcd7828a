//! One attempt: a request with every phase bounded, and an answer that is read as far as it is wanted.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::Http;
use super::address::Address;
use super::verdict::{may_pass, may_pass_later, reached};
use crate::run::{Failure, Report, RunContext};
use crate::values::{iso, read_file};

/// How long looking up a name, and connecting, may take of an attempt.
const RESOLVING: Duration = Duration::from_secs(5);
const CONNECTING: Duration = Duration::from_secs(10);
/// How much of an answer the history keeps.
const KEPT: usize = 4 * 1024;

/// What ends a request under way, once there is one.
pub(super) type Cancel = Arc<OnceLock<Agent>>;

/// An answer, as far as it was read.
struct Answer {
    status: u16,
    reason: &'static str,
    headers: HeaderMap,
    body: Vec<u8>,
    is_cut: bool,
}

impl Http {
    /// Sends the request once, and judges the answer.
    pub(super) fn send(&self, ctx: &RunContext, cancel: &Cancel) -> Result<Report, Failure> {
        let own = self.redactor();
        let redact = |text: &str| own.redact(&ctx.surroundings.redactor.redact(text));
        let began = Instant::now();
        let agent = self.agent().map_err(Failure::lasting)?;
        let agent = cancel.get_or_init(|| agent);
        if ctx.cancel.is_cancelled() {
            return Err(Failure::before_it_began("no request was sent"));
        }
        let answer = self.ask(agent, ctx).map_err(|error| match error {
            Unanswered::Error(error) => Failure {
                done: Some("the request was cut off".to_owned()),
                is_transient: may_pass(reached(&error), self.may_repeat()),
                ..Failure::lasting(redact(&format!("{} did not answer: {error}", self.shown())))
            },
            Unanswered::BrokenOff(error) => Failure {
                done: Some("the answer was cut off".to_owned()),
                is_transient: self.may_repeat(),
                ..Failure::lasting(redact(&format!("the answer of {} broke off: {error}", self.shown())))
            },
            Unanswered::Refused(why) => Failure::lasting(redact(&why)),
        })?;
        // More than is kept, so that a secret at the end of that is found whole.
        let start = &answer.body[..answer.body.len().min(2 * KEPT)];
        let text = redact(&String::from_utf8_lossy(start));
        if is_text(&answer.headers) {
            ctx.output.keep_start(&text, KEPT);
        }
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let statistics = json!({ "status": answer.status, "bytes": answer.body.len(), "milliseconds": milliseconds });
        match self.why_not(&answer, &redact, &text) {
            None => Ok(Report {
                message: format!("{} {} in {milliseconds} ms", answer.status, answer.reason),
                statistics: Some(statistics),
                warnings: Vec::new(),
            }),
            Some(why) => {
                let is_status = !self.expect.has(answer.status);
                let retry_after = retry_after(&answer.headers, ctx.clock.now());
                let asks = retry_after.map(|wait| format!("; it asks to wait {} s", wait.as_secs()));
                let why = why + &asks.unwrap_or_default();
                Err(Failure {
                    is_transient: is_status && may_pass_later(answer.status, self.may_repeat()),
                    retry_after,
                    statistics: Some(Box::new(statistics)),
                    ..Failure::lasting(why)
                })
            }
        }
    }

    /// Why an answer is none of those expected.
    fn why_not(&self, answer: &Answer, redact: &impl Fn(&str) -> String, text: &str) -> Option<String> {
        let Answer { status, reason, .. } = answer;
        if !self.expect.has(*status) {
            let location = answer.headers.get("Location").and_then(|target| target.to_str().ok());
            if let Some(target) = location.filter(|_| (300..400).contains(status)) {
                let target = redact(&without_secrets(target));
                return Some(format!(
                    "the server redirects ({status}) to {target}, which is not followed"
                ));
            }
            let first = text
                .lines()
                .map(str::trim)
                .find(|line| !line.is_empty())
                .unwrap_or_default();
            let first: String = first.chars().take(200).collect();
            let said = if first.is_empty() || !is_text(&answer.headers) {
                String::new()
            } else {
                format!(": {first}")
            };
            return Some(format!("the server answered {status} {reason}{said}"));
        }
        let wanted = self.expect.body_contains.as_ref()?;
        let is_there = memchr::memmem::find(&answer.body, wanted.as_bytes()).is_some();
        let cut = if answer.is_cut {
            format!(" in its first {}", self.expect.max_body)
        } else {
            String::new()
        };
        (!is_there).then(|| format!("the answer ({status} {reason}) does not contain the expected text{cut}"))
    }

    /// The body that is sent.
    pub(super) fn sent_body(&self) -> Option<Vec<u8>> {
        let body = self.body.as_ref().map(|body| body.reveal().as_bytes().to_vec());
        body.or_else(|| self.json.as_ref().map(|json| json.to_string().into_bytes()))
    }

    fn agent(&self) -> Result<Agent, String> {
        let tls = TlsConfig::builder()
            .root_certs(self.roots()?)
            .disable_verification(self.insecure)
            .build();
        let whole = self.attempt_timeout.to_std();
        Ok(Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(whole))
            .timeout_resolve(Some(RESOLVING.min(whole)))
            .timeout_connect(Some(CONNECTING.min(whole)))
            .user_agent(concat!("duplistatus-cron/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .into())
    }

    /// The certificates that are trusted: the system's, or those built in where it has none, and the declared ones. None
    /// are looked for where none are needed.
    fn roots(&self) -> Result<RootCerts, String> {
        if self.ca_file.is_none() && self.url.reveal().starts_with("http://") {
            return Ok(RootCerts::WebPki);
        }
        let found = rustls_native_certs::load_native_certs().certs;
        let mut roots: Vec<Certificate<'static>> = found
            .iter()
            .map(|found| Certificate::from_der(found).to_owned())
            .collect();
        match &self.ca_file {
            None if roots.is_empty() => return Ok(RootCerts::WebPki),
            None => {}
            Some(file) => roots.extend(certificates(file)?),
        }
        Ok(RootCerts::Specific(Arc::new(roots)))
    }

    /// Asks the server, and whom it redirects to, as far as that is wanted.
    fn ask(&self, agent: &Agent, ctx: &RunContext) -> Result<Answer, Unanswered> {
        let mut address = Address::read(self.url.reveal()).map_err(Unanswered::Refused)?;
        let began = Instant::now();
        for _ in 0..self.redirects {
            let response = self.ask_once(agent, &address, ctx, began)?;
            let location = response
                .headers()
                .get("Location")
                .and_then(|target| target.to_str().ok());
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(target) = location.filter(|_| is_redirect) else {
                return self.read(response);
            };
            let next = address.join(target).map_err(|_| {
                Unanswered::Refused("the server redirects to an address that cannot be read".to_owned())
            })?;
            if next.origin() != address.origin() {
                let to = next.origin();
                return Err(Unanswered::Refused(format!(
                    "the server redirects to {to}; only redirects to the same server are followed"
                )));
            }
            address = next;
        }
        self.read(self.ask_once(agent, &address, ctx, began)?)
    }

    fn ask_once(
        &self,
        agent: &Agent,
        address: &Address,
        ctx: &RunContext,
        began: Instant,
    ) -> Result<Response<Body>, Unanswered> {
        let mut request = ureq::http::Request::builder()
            .method(self.method())
            .uri(address.text())
            .header("Idempotency-Key", ctx.idempotency_key())
            .header("X-Cron-Job", ctx.job.as_str())
            .header("X-Cron-Scheduled-At", iso(ctx.scheduled_at))
            .header("X-Cron-Attempt", ctx.attempt.load(Ordering::Relaxed).to_string());
        let has = |name: &str| self.headers.keys().any(|known| known.eq_ignore_ascii_case(name));
        if self.json.is_some() && !has("Content-Type") {
            request = request.header("Content-Type", "application/json");
        } else if self.body.is_some() && !has("Content-Type") {
            request = request.header("Content-Type", "text/plain; charset=utf-8");
        }
        if let Some(token) = &self.bearer {
            request = request.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        if let Some(login) = &self.basic {
            let both = STANDARD.encode(format!("{}:{}", login.username, login.password.reveal()));
            request = request.header("Authorization", format!("Basic {both}"));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value.reveal());
        }
        let left = self.attempt_timeout.to_std().saturating_sub(began.elapsed());
        let built = match self.sent_body() {
            Some(body) => request
                .body(body)
                .map(|request| agent.run(within(agent, request, left))),
            None => request.body(()).map(|request| agent.run(within(agent, request, left))),
        };
        built
            .map_err(ureq::Error::Http)
            .and_then(|answer| answer)
            .map_err(Unanswered::Error)
    }

    fn read(&self, response: Response<Body>) -> Result<Answer, Unanswered> {
        let (head, body) = response.into_parts();
        let most = self.expect.max_body.bytes();
        let mut bytes = Vec::new();
        let mut reader = body.into_reader().take(most as u64 + 1);
        reader.read_to_end(&mut bytes).map_err(Unanswered::BrokenOff)?;
        let is_cut = bytes.len() > most;
        bytes.truncate(most);
        Ok(Answer {
            status: head.status.as_u16(),
            reason: head.status.canonical_reason().unwrap_or("unknown status"),
            headers: head.headers,
            body: bytes,
            is_cut,
        })
    }
}

/// A request that ends in time, whoever was asked before.
fn within<B: ureq::AsSendBody>(
    agent: &Agent,
    request: ureq::http::Request<B>,
    left: Duration,
) -> ureq::http::Request<B> {
    agent.configure_request(request).timeout_global(Some(left)).build()
}

/// Where a server redirects to, without a login and what is asked for.
fn without_secrets(target: &str) -> String {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    match target.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => target.to_owned(),
    }
}

/// Why there is no answer to judge.
enum Unanswered {
    Error(ureq::Error),
    /// It began to come.
    BrokenOff(std::io::Error),
    Refused(String),
}

/// The certificates in a file.
pub(super) fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let shown = file.display();
    let text = read_file(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let found: Result<Vec<_>, _> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{shown} holds no certificate in PEM format")),
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers
        .get("Content-Type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    kind.starts_with("text/") || kind.contains("json") || kind.contains("xml")
}

/// How long the server asks to wait, in seconds or until a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get("Retry-After")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(at.duration_since(now).max(SignedDuration::ZERO)).ok()
}
