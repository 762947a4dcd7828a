//! What of a declaration may be a secret, and so is never shown: in the lines of problems, or by `config`.

use super::declaration::{KEYED, SECTIONS};
use crate::notifications::Target;

/// What keys of secrets are called, wherever someone puts one.
const TELLING: &[&str] = &["token", "passw", "pwd", "secret", "credential"];

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
    match *section {
        "notifications" => match path[1..] {
            [_, kind, key, ..] => !(Target::KINDS.contains(&kind) && Target::HARMLESS.contains(&key)),
            _ => true,
        },
        // An id may be called as one likes.
        known if KEYED.contains(&known) => sounds_secret(path.get(2..).unwrap_or_default()),
        known if SECTIONS.contains(&known) => sounds_secret(&path[1..]),
        // A section that is mistyped may hold anything.
        _ => true,
    }
}

fn sounds_secret(keys: &[&str]) -> bool {
    let is_telling = |key: &&str| {
        let key = key.to_lowercase();
        TELLING.iter().any(|word| key.contains(word))
    };
    keys.iter().any(is_telling)
}

/// A line that cannot be read, with stars for everything but its key and its punctuation.
pub(super) fn blot_out(line: &str, is_inside_text: bool) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-. []".contains(c);
    let is_header = line.trim_start().starts_with('[') && line.chars().all(is_name);
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-. \t\"'".contains(c);
    let shown = match line.find('=') {
        _ if is_inside_text => 0,
        None if is_header => line.len(),
        Some(at) if line[..at].chars().all(bare) => at,
        _ => 0,
    };
    let hide = |c: char| {
        if c.is_whitespace() || "[]{}=,\"'#".contains(c) {
            c
        } else {
            '*'
        }
    };
    line[..shown].chars().chain(line[shown..].chars().map(hide)).collect()
}
