//! What of a declaration may be a secret, and so is never shown: in the lines of problems, or by `config`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::declaration::{KEYED, SECTIONS};
use super::schema;
use crate::kinds::{Action, DeclaredTarget, HARMLESS_KEYS};

/// For each kind of job or target, the keys whose value is a secret.
type SecretKeys = LazyLock<BTreeMap<String, BTreeSet<String>>>;
static OF_JOBS: SecretKeys = LazyLock::new(schema::secret_keys::<Action>);
static OF_TARGETS: SecretKeys = LazyLock::new(schema::secret_keys::<DeclaredTarget>);

/// Whether the value at `path` in the declaration is a secret of a job's kind.
fn is_secret_of_job<S: AsRef<str>>(path: &[S]) -> bool {
    let [section, _, kind, keys @ ..] = path else {
        return false;
    };
    let secrets = OF_JOBS.get(kind.as_ref()).filter(|_| section.as_ref() == "jobs");
    secrets.is_some_and(|secrets| keys.iter().any(|key| secrets.contains(key.as_ref())))
}

/// Whether the value at `path` must not be kept: it may be a secret of a target or a host, or is one of a job.
pub(super) fn is_not_kept<S: AsRef<str>>(path: &[S]) -> bool {
    let is_of_target = path.first().is_some_and(|section| section.as_ref() == "notifications");
    let is_of_host = path.first().is_some_and(|section| section.as_ref() == "git_hosts");
    ((is_of_target || is_of_host) && may_be_secret(path)) || is_secret_of_job(path) || is_address(path)
}

/// Whether the value at `path` is the address of a database, which holds a password.
fn is_address<S: AsRef<str>>(path: &[S]) -> bool {
    let keys: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    matches!(keys.as_slice(), ["databases", _, "url"] | ["state", "url"])
}

/// Whether the value at `path` may be a secret.
pub(super) fn may_be_secret<S: AsRef<str>>(path: &[S]) -> bool {
    let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    let (Some(section), Some(last)) = (path.first(), path.last()) else {
        return false;
    };
    // Where a secret is kept is none.
    if matches!(*last, "env" | "file" | "token_file") {
        return false;
    }
    if is_address(&path) {
        return true;
    }
    match *section {
        // What stands in an engine's section says where its credentials are kept.
        "include" | "engines" => false,
        "notifications" => match path[1..] {
            [_, kind, key, ..] => !(DeclaredTarget::KINDS.contains(&kind) && HARMLESS_KEYS.contains(&key)),
            _ => true,
        },
        "jobs" if is_secret_of_job(&path) => true,
        // An id may be called as one likes.
        known if KEYED.contains(&known) => sounds_secret(path.get(2..).unwrap_or_default()),
        known if SECTIONS.contains(&known) => sounds_secret(&path[1..]),
        // A section that is mistyped may hold anything.
        _ => true,
    }
}

/// Where a login stands in the address that `text` holds, which has no place in one.
pub(super) fn login_in(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let is_end = |c: char| "/\"'".contains(c) || c.is_whitespace();
    let authority = text[start..].split(is_end).next().unwrap_or_default();
    let login = &authority[..authority.rfind('@')?];
    // The name alone of a user of ssh is none.
    let is_login = login.contains(':') || text[..start].ends_with("http://") || text[..start].ends_with("https://");
    is_login.then(|| start..start + login.len())
}

fn sounds_secret(keys: &[&str]) -> bool {
    keys.iter().any(|key| crate::values::sounds_secret(key))
}

/// A line that cannot be read, with stars for everything but names of keys and punctuation.
pub(super) fn blot_out(line: &str, is_inside_text: bool) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-. []".contains(c);
    let is_header = line.trim_start().starts_with('[') && line.chars().all(is_name);
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-. \t\"'".contains(c);
    let shown = match line.find('=') {
        _ if is_inside_text => 0,
        None if is_header => line.len(),
        // Patterns of files are no secrets.
        Some(at) if line[..at].trim() == "include" => line.len(),
        Some(at) if line[..at].chars().all(bare) => at,
        _ => 0,
    };
    let keys = if shown > 0 { known_keys(line) } else { Vec::new() };
    let hide = |(at, c): (usize, char)| {
        let is_key = keys.iter().any(|key| key.contains(&at));
        if at < shown || is_key || c.is_whitespace() || "[]{}=,\"'#".contains(c) {
            c
        } else {
            '*'
        }
    };
    line.char_indices().map(hide).collect()
}

/// Where names of keys of targets stand in a line: after a brace or a comma, and before an equals sign.
fn known_keys(line: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices(['{', ',']) {
        let rest = &line[at + 1..];
        let start = at + 1 + rest.len() - rest.trim_start().len();
        let length = line[start..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(line.len() - start);
        let (key, after) = line[start..].split_at(length);
        let is_known = DeclaredTarget::KINDS.contains(&key)
            || HARMLESS_KEYS.contains(&key)
            || OF_TARGETS.values().any(|secrets| secrets.contains(key));
        if is_known && after.trim_start().starts_with('=') {
            found.push(start..start + length);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_an_address_is_found() {
        let found = |text: &str| login_in(text).map(|range| text[range].to_owned());
        assert_eq!(found("url = \"https://me:pass@host/a@b\"").as_deref(), Some("me:pass"));
        assert_eq!(found("https://t0ken@host").as_deref(), Some("t0ken"));
        assert_eq!(found("ssh://git:p@host/a").as_deref(), Some("git:p"));
        assert_eq!(found("ssh://git@host/a"), None);
        assert_eq!(found("https://host/a@b"), None);
    }

    #[test]
    fn names_of_keys_and_patterns_are_shown_and_nothing_else() {
        for (line, shown) in [
            ("include = *\"jobs.d/*.toml\"*", "include = *\"jobs.d/*.toml\"*"),
            (
                "ntfy = { topic = *, token = abc== }",
                "ntfy = { topic = *, token = ***== }",
            ),
            ("token = ab,cd=ef", "token = **,**=**"),
            ("token = ab,topic=ef", "token = **,topic=**"),
            ("x = \"s3cret", "x = \"******"),
            ("[notifications.phone]", "[notifications.phone]"),
        ] {
            assert_eq!(blot_out(line, false), shown);
        }
        assert_eq!(blot_out("topic = 1", true), "***** = *");
    }
}
