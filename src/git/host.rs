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

impl GitHost {
    /// What is wrong with the declaration itself.
    pub(crate) fn check(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut refuse = |key: &str, why: &str| issues.push(Issue::error(key, why.to_owned()));
        if self.token.is_none() && self.ssh_key.is_none() {
            refuse("", "declare a `token`, or an `ssh_key` with `known_hosts`");
        }
        if self.ssh_key.is_some() && self.known_hosts.is_none() {
            refuse("ssh_key", "`known_hosts` must say which keys the host may show");
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
