//! What every answer says about itself: its type, who may use it and how, and its tag.

use super::{Answer, Body, Request};
use crate::values::digest;

/// What a browser may do with the page: load its own parts and ask this service, nothing else.
const OF_THE_PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                           require-trusted-types-for 'script'; trusted-types 'none'";
/// What it may do with anything else.
const OF_THE_REST: &str = "default-src 'none'; frame-ancestors 'none'";

/// An answer as it is sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub status: u16,
    pub body: String,
    pub headers: Vec<(&'static str, String)>,
}

/// Makes of an answer to `request` what is sent.
pub(super) fn prepare(answer: Answer, request: &Request) -> Sent {
    let (body, content_type, policy, is_page) = match answer.body {
        Body::Json(json) => (json.to_string(), "application/json", OF_THE_REST, false),
        Body::Text(text, content_type) => (text, content_type, OF_THE_REST, false),
        Body::Page(text, content_type) => (text.into_owned(), content_type, OF_THE_PAGE, true),
    };
    // A part of the page may be kept, and is asked for anew each time.
    let caching = if is_page { "no-cache" } else { "no-store" };
    let mut headers: Vec<(&str, String)> = [
        ("Content-Type", content_type),
        ("Cache-Control", caching),
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("X-Frame-Options", "DENY"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    let status = answer.status;
    if !answer.is_tagged || status != 200 {
        return Sent { status, body, headers };
    }
    let tag = tag_of(&body);
    let known = request.header("If-None-Match");
    let is_known = known.is_some_and(|known| known.trim() == "*" || known.contains(&tag));
    headers.push(("ETag", tag));
    let (status, body) = if is_known { (304, String::new()) } else { (200, body) };
    Sent { status, body, headers }
}

/// A tag that another content does not have.
fn tag_of(content: &str) -> String {
    format!("\"{:.16}\"", digest(content.as_bytes()))
}
