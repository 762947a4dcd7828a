//! What a host asks for before it hands a repository out: credentials go to the host they are declared for, and no other.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::values::{Issue, Secret};

/// The hosts of a declaration, by name, or by name and port.
pub(crate) type GitHosts = BTreeMap<String, GitHost>;

/// `[git_hosts.<host>]`
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitHost {
    /// Who asks with the token; most forges do not care.
    pub username: Option<String>,
    /// What is sent as the password, over https. A file is read again at each run.
    pub token: Option<Secret>,
    /// A private key without a passphrase, for ssh. A file is read again at each run.
    pub ssh_key: Option<Secret>,
    /// The keys that the host may show, in the lines of a `known_hosts` file.
    pub known_hosts: Option<Secret>,
}

/// What the names of kinds of keys begin with.
const KEYS: &[&str] = &["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];

/// Whether a line of `text` says whose a key is, and then the key.
pub(crate) fn names_keys(text: &str) -> bool {
    let is_key = |word: &str| KEYS.iter().any(|start| word.starts_with(start));
    let names_one = |line: &str| !line.starts_with('#') && line.split_whitespace().skip(1).any(is_key);
    text.lines().any(|line| names_one(line.trim()))
}

/// Whether `name` is one of a host, perhaps with a port.
pub(crate) fn is_host(name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !name.is_empty() && name.chars().all(is_name)
}

impl GitHost {
    /// What is wrong with the declaration itself.
    pub(crate) fn check(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut refuse = |key: &str, why: &str| issues.push(Issue::error(key, why.to_owned()));
        if self.token.is_none() && self.ssh_key.is_none() {
            refuse("", "declare a `token`, or an `ssh_key` with `known_hosts`");
        }
        if self.ssh_key.is_some() && self.known_hosts.is_none() {
            refuse("ssh_key", "`known_hosts` must list the keys of the host");
        }
        let known = self.known_hosts.as_ref().map(Secret::reveal);
        if known.is_some_and(|known| !names_keys(known)) {
            refuse(
                "known_hosts",
                "no line of it names a host and its key, as `ssh-keyscan` prints them",
            );
        }
        let key = self.ssh_key.as_ref().map(Secret::reveal);
        if key.is_some_and(|key| !key.contains("PRIVATE KEY")) {
            refuse("ssh_key", "it is not a private key");
        }
        let breaks_a_line = |text: &str| text.contains(char::is_control);
        if self.token.as_ref().is_some_and(|token| breaks_a_line(token.reveal())) {
            refuse("token", "it holds a control character");
        }
        if self
            .username
            .as_deref()
            .is_some_and(|name| name.is_empty() || breaks_a_line(name))
        {
            refuse("username", "it is empty or holds a control character");
        }
        issues
    }

    /// The same with everything that is kept in files as it is now.
    ///
    /// # Errors
    /// Which of them cannot be read.
    pub(super) fn fresh(&self) -> Result<Self, String> {
        let fresh = |secret: &Option<Secret>| secret.as_ref().map(Secret::fresh).transpose();
        Ok(Self {
            username: self.username.clone(),
            token: fresh(&self.token)?,
            ssh_key: fresh(&self.ssh_key)?,
            known_hosts: fresh(&self.known_hosts)?,
        })
    }
}
