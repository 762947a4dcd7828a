//! What a remote repository has, asked without fetching anything.

use super::program::{Call, Git, GitError};
use super::reference::ObjectName;
use super::remote::Remote;
use crate::values::{first_of, with_suggestion};

/// How many names of branches are shown.
const SHOWN: usize = 10;

/// What there is in the place of a branch or a tag that is not there, for people.
pub(crate) fn missing(git: &Git<'_>, remote: &Remote, full_name: &str) -> GitError {
    let (kind, start) = if full_name.starts_with("refs/heads/") {
        ("branch", "refs/heads/")
    } else {
        ("tag", "refs/tags/")
    };
    let name = full_name.strip_prefix(start).unwrap_or(full_name);
    let pattern = format!("{start}*");
    let said = git.done(&Call {
        arguments: &["ls-remote", "--quiet", "--refs", remote.as_str(), &pattern],
        ..Call::default()
    });
    let text = said.map(|said| said.text()).unwrap_or_default();
    let known: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once('\t')?.1.strip_prefix(start))
        .collect();
    let sentence = match known.as_slice() {
        [] => format!("{remote} has no {kind} `{name}`, nor any other"),
        known => {
            format!("{remote} has no {kind} `{name}`; it has {}", first_of(known, SHOWN))
        }
    };
    GitError::lasting(with_suggestion(sentence, name, known.iter().copied()))
}

/// The object that a ref of `remote` names, and the commit that is meant where that is a tag's; none where there is no such
/// ref.
///
/// # Errors
/// Why it cannot be asked.
pub(crate) fn ask(git: &Git<'_>, remote: &Remote, full_name: &str) -> Result<Option<ObjectName>, GitError> {
    let peeled = format!("{full_name}^{{}}");
    let said = git.call(&Call {
        arguments: &[
            "ls-remote",
            "--exit-code",
            "--quiet",
            remote.as_str(),
            full_name,
            &peeled,
        ],
        ..Call::default()
    })?;
    match said.code {
        0 => {}
        2 => return Ok(None),
        _ => return Err(git.error_of("ls-remote", &said)),
    }
    let text = said.text();
    let object = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(_, found)| *found == name)?.0.parse().ok()
    };
    Ok(object(&peeled).or_else(|| object(full_name)))
}
