//! What is wrong with a declaration, and what a run would meet on this machine.

use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::command::{Command, Setting};
use super::GitSync;
use super::deployment::is_ours;
use crate::git::{Git, names_keys};
use crate::process::{Asked, Identity, Program};
use crate::run::RunContext;
use crate::values::Issue;

/// The shortest secret of a webhook, in characters.
const SHORTEST_SECRET: usize = 8;
/// The releases of git in which a repository can no longer have programs of its own run, by the two middle numbers.
const MENDED: &[(u32, u32)] = &[(43, 7), (44, 4), (45, 4), (46, 4), (47, 3), (48, 2), (49, 1), (50, 1)];

impl GitSync {
    pub(super) fn issues(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut refuse = |key: &str, why: &str| issues.push(Issue::error(key, why.to_owned()));
        let named = [self.branch.is_some(), self.tag.is_some(), self.commit.is_some()];
        match named.iter().filter(|is_named| **is_named).count() {
            0 => refuse("", "declare what to fetch: a `branch`, a `tag` or a `commit`"),
            1 => {}
            _ => refuse("", "declare one of `branch`, `tag` and `commit`, not several"),
        }
        for path in &self.paths {
            if let Some(why) = wrong_path(path) {
                refuse("paths", &format!("{path:?} {why}"));
            }
        }
        let folder = self.folder.as_os_str();
        if folder.is_empty() || self.folder.parent().is_none() || self.folder == Path::new(".") {
            refuse(
                "folder",
                "name a folder that belongs to this job alone, such as \"stacks/blog\"",
            );
        }
        let secret = self.webhook.as_ref().map(|webhook| webhook.secret.reveal());
        if secret.is_some_and(|secret| secret.len() < SHORTEST_SECRET) {
            refuse("webhook.secret", "it is too short: at least 8 characters are expected");
        }
        let signers = self.verify.as_ref().map(|verify| verify.signers.reveal());
        if signers.is_some_and(|signers| !names_keys(signers)) {
            let why =
                "no line of it names a key, as in `me@example.org ssh-ed25519 AAAA…`; `{ file = … }` reads a file";
            refuse("verify.signers", why);
        }
        if self.url.is_cleartext() && self.verify.is_none() {
            let why = "whatever is fetched this way can be altered in transit; use https or ssh, or declare `verify`";
            issues.push(Issue::warning("url", why.to_owned()));
        }
        issues.extend(self.commands().flat_map(|(key, command)| issues_of(key, command)));
        issues.extend(self.warns_of_project_name());
        issues
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = (&'static str, &Command)> {
        let check = self.check.iter().map(|command| ("check", &**command));
        check.chain(self.deploy.iter().map(|command| ("deploy", &**command)))
    }

    /// Compose takes the name of a project from its folder, which other jobs may have as well.
    fn warns_of_project_name(&self) -> Option<Issue> {
        let deploy = self.deploy.as_ref()?;
        let argv = deploy.argv();
        let is_compose = argv.windows(2).any(|pair| pair == ["docker", "compose"])
            || argv.iter().any(|word| word == "docker-compose");
        let is_named = deploy.variables().any(|name| name == "COMPOSE_PROJECT_NAME")
            || argv
                .iter()
                .any(|word| word == "-p" || word.starts_with("--project-name"));
        (is_compose && !is_named).then(|| {
            let why =
                "the name of the project depends on the folder; set COMPOSE_PROJECT_NAME in `env`, or `--project-name`";
            Issue::warning("deploy", why.to_owned())
        })
    }

    /// The programs that are not on this machine; those of the repository are not there yet.
    pub(super) fn missing_programs(&self, ctx: &RunContext) -> Vec<(&'static str, &Command, String)> {
        let setting = Setting {
            folder: "/".as_ref(),
            inherited: &ctx.surroundings.variables,
            variables: Vec::new(),
            redactor: &ctx.surroundings.redactor,
        };
        let is_own = |command: &Command| {
            let name = command.argv().into_iter().next().unwrap_or_default();
            name.contains('/') && !name.starts_with('/')
        };
        let missing = self.commands().filter(|(_, command)| !is_own(command));
        let missing = missing.filter_map(|(key, command)| {
            let found = command
                .at_root()
                .program(ctx, &setting)
                .and_then(|program| program.find());
            Some((key, command, found.err()?))
        });
        missing.collect()
    }

    /// What a run would meet, as far as this machine tells.
    pub(super) fn examined(&self, ctx: &RunContext, asked: &Asked) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut warn = |key: &str, why: String| issues.push(Issue::warning(key, why));
        match self.git(ctx, asked) {
            Ok(git) => warn_of_holes(&git, &mut warn),
            Err(error) => warn("url", error.message),
        }
        let needed = [
            (self.url.is_ssh(), "ssh", "url"),
            (self.verify.is_some(), "ssh-keygen", "verify"),
        ];
        for (_, name, key) in needed.into_iter().filter(|(is_needed, ..)| *is_needed) {
            if let Err(why) = find(name, ctx) {
                warn(key, why);
            }
        }
        let key = self
            .host(ctx)
            .and_then(|host| host.ssh_key.as_ref())
            .filter(|_| self.url.is_ssh());
        if key.is_some_and(|key| key.fresh().is_ok_and(|key| has_passphrase(key.reveal()))) {
            warn(
                "url",
                "the `ssh_key` of its host has a passphrase, which nobody is there to type".to_owned(),
            );
        }
        if let Some(signers) = self.verify.as_ref().map(|verify| verify.signers.fresh())
            && let Err(why) = signers
        {
            warn("verify.signers", why);
        }
        for (key, command, why) in self.missing_programs(ctx) {
            warn(&format!("{key}.{}", command.key()), why);
        }
        issues
    }
}

fn warn_of_holes(git: &Git<'_>, warn: &mut impl FnMut(&str, String)) {
    let Ok((2, minor, patch)) = git.version() else { return };
    let newest = MENDED.last().copied().unwrap_or_default();
    let is_mended = (minor, patch) >= newest || MENDED.iter().any(|(of, from)| *of == minor && patch >= *from);
    if !is_mended {
        let why = format!(
            "git 2.{minor}.{patch} may have known holes that hostile repositories use (CVE-2025-48384), unless the distribution has mended it"
        );
        warn("url", why);
    }
}

/// What is wrong with a path of the repository.
fn wrong_path(path: &str) -> Option<&'static str> {
    if path.starts_with('/') {
        return Some("starts with a slash; the paths of a repository do not");
    }
    if path.contains(['*', '?', '[']) {
        return Some("is a pattern; name a file or a folder");
    }
    let is_whole = Path::new(path).components().all(|part| part == Component::CurDir);
    let is_odd = path.starts_with('-') || path.contains(char::is_control);
    (is_whole || is_odd || !stays_below(Path::new(path))).then_some("is not a file or folder of the repository")
}

/// What is wrong with one of a job's programs.
fn issues_of(key: &str, command: &Command) -> Vec<Issue> {
    let below = |inner: &str| match inner {
        "" => key.to_owned(),
        inner => format!("{key}.{inner}"),
    };
    let mut issues: Vec<Issue> = command.issues();
    if command.dir().is_some_and(|dir| !stays_below(dir)) {
        issues.push(Issue::error("dir", "a folder of the repository is expected".to_owned()));
    }
    if command.variables().any(is_ours) {
        let why = "GIT_CONFIG_COUNT and GIT_CEILING_DIRECTORIES are set by the service itself";
        issues.push(Issue::error("env", why.to_owned()));
    }
    let placed = issues.into_iter().map(|issue| Issue {
        key: below(&issue.key),
        ..issue
    });
    placed.collect()
}

/// Looks for a program that git needs.
fn find(name: &str, ctx: &RunContext) -> Result<(), String> {
    let program = Program {
        argv: vec![name.to_owned()],
        dir: "/".into(),
        variables: ctx.surroundings.variables.clone(),
        stdin: None,
        identity: Identity::default(),
        limits: None,
    };
    program.find().map(drop)
}

/// Whether a private key is of no use without a passphrase.
fn has_passphrase(key: &str) -> bool {
    let body: String = key
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::trim)
        .collect();
    let decoded = STANDARD.decode(body).unwrap_or_default();
    // OpenSSH's own form begins with the name of the form and that of the cipher.
    let cipher = decoded.strip_prefix(b"openssh-key-v1\0\0\0\0");
    cipher.is_some_and(|rest| !rest.starts_with(b"\x04none")) || key.contains("ENCRYPTED")
}

/// Whether a path stays in the folder that it starts from.
fn stays_below(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_a_passphrase_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for (name, form, passphrase) in [
            ("open", "RFC4716", ""),
            ("closed", "RFC4716", "long enough"),
            ("old", "PEM", ""),
            ("old-closed", "PEM", "long enough"),
        ] {
            let path = folder.path().join(name);
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", "rsa", "-b", "2048", "-m", form, "-N", passphrase, "-f"])
                .arg(&path)
                .status();
            assert!(made.unwrap().success());
            let key = std::fs::read_to_string(&path).unwrap();
            assert_eq!(has_passphrase(&key), !passphrase.is_empty(), "{name}");
        }
    }
}
