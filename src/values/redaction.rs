//! Secrets left out of what others say: a server, or a program, may repeat what it was given, in any form.

use std::{fmt, iter};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What is shorter is not a secret, but a word that may stand anywhere.
const SHORTEST: usize = 5;
const INSTEAD: &str = "[secret]";

/// Leaves secrets out of texts, in any form they may be repeated in. It is a net, not a proof.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    /// The longest first: one may hold another.
    forms: Vec<String>,
}

impl Redactor {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        // Each line of one that has several may be shown alone.
        let lines = secrets
            .into_iter()
            .flat_map(|secret| iter::once(secret).chain(secret.lines()));
        Self::of(lines.flat_map(forms_of).collect())
    }

    fn of(mut forms: Vec<String>) -> Self {
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    /// The same, of further secrets, too.
    pub(crate) fn with<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of([self.forms.clone(), Self::new(secrets).forms].concat())
    }

    /// `text` without the secrets.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.forms
            .iter()
            .fold(text.to_owned(), |text, form| replace(text, form))
    }
}

impl PartialEq for Redactor {
    /// What is left out takes no part in what two declarations have in common.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// `text` without any of `secrets`, in any form they may be repeated in.
pub(crate) fn redact<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    Redactor::new(secrets).redact(text)
}

/// A secret as it is, percent-encoded, in Base64, alone or in the midst of other things, and as JSON writes it.
fn forms_of(secret: &str) -> Vec<String> {
    if secret.len() < SHORTEST {
        return Vec::new();
    }
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let json = serde_json::Value::from(secret).to_string();
    let mut forms = vec![
        secret.to_owned(),
        form.replace('+', "%20"),
        form,
        json.trim_matches('"').to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    forms.extend((0..3).flat_map(|before| in_the_midst(secret, before)));
    forms
}

/// What is the same in Base64 wherever `secret` stands after `before` other bytes, or three more each time.
fn in_the_midst(secret: &str, before: usize) -> impl Iterator<Item = String> {
    let bytes = [&vec![0; before], secret.as_bytes()].concat();
    // A character stands for six bits: those it shares with what is around are left out.
    let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    let encoded = [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)];
    let inner = encoded.map(|text| text[start..end].to_owned());
    inner.into_iter().filter(|form| form.len() >= SHORTEST)
}

/// Replaces `form` in `text`, whatever the case of its letters, which percent-encoding leaves open.
fn replace(text: String, form: &str) -> String {
    if !form.contains('%') {
        return if text.contains(form) {
            text.replace(form, INSTEAD)
        } else {
            text
        };
    }
    let (lower, wanted) = (text.to_ascii_lowercase(), form.to_ascii_lowercase());
    let mut left = String::new();
    let mut after = 0;
    for (at, _) in lower.match_indices(&wanted) {
        left.push_str(&text[after..at]);
        left.push_str(INSTEAD);
        after = at + form.len();
    }
    left + &text[after..]
}

/// The secrets of an address: it as a whole, who asks, its path and what it asks for, as written and as meant.
pub(crate) fn secrets_of_address(url: &str) -> Vec<String> {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    let values = path.split(['/', '?', '&', '#']).flat_map(|part| {
        let value = part.split_once('=').map_or("", |(_, value)| value);
        [part, value]
    });
    let written: Vec<&str> = [url, login].into_iter().chain(login.split(':')).chain(values).collect();
    let meant = written.iter().map(|part| decoded(part));
    meant.chain(written.iter().map(ToString::to_string)).collect()
}

/// What a part of an address means.
fn decoded(text: &str) -> String {
    // A name without a value is decoded as a whole, but for what would end it.
    let text = text.replace('=', "%3D").replace('&', "%26");
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// The secrets of a login, as HTTP and mail send them.
pub(crate) fn secrets_of_login(user: &str, password: &str) -> Vec<String> {
    vec![
        password.to_owned(),
        format!("{user}:{password}"),
        format!("\0{user}\0{password}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_left_out_in_every_form_a_server_may_repeat() {
        let address = secrets_of_address("https://me%40x:p%20ass-w0rd@example.org/hooks/abc%2Fdef?key=va%20lue&n=1");
        let login = secrets_of_login("cron@x", "s3cret/pass+");
        let secrets: Vec<&str> = address.iter().chain(&login).map(String::as_str).collect();
        for (said, expected) in [
            ("got s3cret/pass+ here", "got [secret] here"),
            ("got s3cret%2Fpass%2B and s3cret%2fpass%2b", "got [secret] and [secret]"),
            ("AUTH LOGIN czNjcmV0L3Bhc3Mr", "AUTH LOGIN [secret]"),
            ("AUTH PLAIN AGNyb25AeABzM2NyZXQvcGFzcys=", "AUTH PLAIN [secret]"),
            ("Basic Y3JvbkB4OnMzY3JldC9wYXNzKw==", "Basic [secret]"),
            ("no such hook abc%2fdef or abc/def", "no such hook [secret] or [secret]"),
            ("key va lue, va+lue, va%20lue", "key [secret], [secret], [secret]"),
            ("a user with p ass-w0rd", "a user with [secret]"),
            (
                "Base64 of -s3cret/pass+-: LXMzY3JldC9wYXNzKy0=",
                "Base64 of -[secret]-: LX[secret]y0=",
            ),
            ("nothing to see", "nothing to see"),
        ] {
            assert_eq!(redact(said, secrets.iter().copied()), expected);
        }
    }
}
