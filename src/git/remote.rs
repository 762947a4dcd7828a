//! The address of a repository: checked for what git or ssh would take for something else, and never with a password.

use std::fmt;
use std::str::FromStr;

use super::host::is_host;
use crate::values::is_this_machine;

/// Where a repository is fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    url: String,
    pub scheme: Scheme,
    /// As it stands in `[git_hosts]`: with its port, where the address has one.
    pub host: Option<String>,
}

/// How it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
    Ssh,
    Git,
    File,
}

impl Scheme {
    /// The name git has for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::Git => "git",
            Self::File => "file",
        }
    }
}

impl Remote {
    /// The address as it may be shown, which is all of it.
    pub(crate) fn as_str(&self) -> &str {
        &self.url
    }

    /// Whether others on the way can read and change what is fetched.
    pub(crate) fn is_cleartext(&self) -> bool {
        matches!(self.scheme, Scheme::Http | Scheme::Git) && !self.is_loopback()
    }

    pub(crate) fn is_ssh(&self) -> bool {
        self.scheme == Scheme::Ssh
    }

    pub(super) fn is_loopback(&self) -> bool {
        let host = self.host.as_deref().unwrap_or_default();
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        is_this_machine(name)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("the address of a repository has no spaces or control characters".to_owned());
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("ssh", rest)) => (Scheme::Ssh, rest),
            Some(("git", rest)) => (Scheme::Git, rest),
            Some(("file", rest)) => (Scheme::File, rest),
            None if text.starts_with('/') => (Scheme::File, text),
            None if is_short_ssh(text) => (Scheme::Ssh, text),
            _ => return Err(not_an_address()),
        };
        if scheme == Scheme::File {
            let is_absolute = rest.starts_with('/');
            return is_absolute.then(|| Self::local(rest)).ok_or_else(not_an_address);
        }
        let end = if text.contains("://") { '/' } else { ':' };
        let (authority, path) = rest.split_once(end).ok_or_else(not_an_address)?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if let Some(user) = user {
            check_user(user, scheme)?;
        }
        if path.is_empty() || path.starts_with(['-', ':']) || host.starts_with('-') || !is_host(host) {
            return Err(not_an_address());
        }
        Ok(Self {
            url: text.to_owned(),
            scheme,
            host: Some(host.to_ascii_lowercase()),
        })
    }
}

impl Remote {
    fn local(path: &str) -> Self {
        Self {
            url: format!("file://{path}"),
            scheme: Scheme::File,
            host: None,
        }
    }
}

/// Whether `text` is of the form `user@host:path`.
fn is_short_ssh(text: &str) -> bool {
    !text.contains("://") && text.split_once(':').is_some_and(|(host, _)| !host.contains('/'))
}

fn check_user(user: &str, scheme: Scheme) -> Result<(), String> {
    if user.contains(':') {
        return Err("an address must not contain a password; put it in [git_hosts] as `token`".to_owned());
    }
    if scheme != Scheme::Ssh {
        return Err("an address must not contain a user; put it in [git_hosts] as `username`".to_owned());
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if user.is_empty() || user.starts_with('-') || !user.chars().all(is_name) {
        return Err(not_an_address());
    }
    Ok(())
}

fn not_an_address() -> String {
    "an address of a repository is expected, such as https://git.example.org/ops/stacks.git, \
     git@git.example.org:ops/stacks.git or the absolute path of a local one"
        .to_owned()
}

crate::values::deserialize_from_text!(Remote);
crate::values::schema_of_text!(Remote, "The address of a repository: https, ssh, git or file");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_host_and_holds_no_secret() {
        for (text, scheme, host) in [
            (
                "https://git.example.org/a/b.git",
                Scheme::Https,
                Some("git.example.org"),
            ),
            (
                "https://Git.Example.org:8443/a",
                Scheme::Https,
                Some("git.example.org:8443"),
            ),
            ("git@host:ops/stacks.git", Scheme::Ssh, Some("host")),
            ("ssh://git@host:2222/a", Scheme::Ssh, Some("host:2222")),
            ("git://127.0.0.1:9418/a", Scheme::Git, Some("127.0.0.1:9418")),
            ("/srv/git/a.git", Scheme::File, None),
        ] {
            let remote: Remote = text.parse().unwrap();
            assert_eq!((remote.scheme, remote.host.as_deref()), (scheme, host), "{text}");
        }
        for text in [
            "https://me:t0ken@host/a",
            "https://t0ken@host/a",
            "ext::sh -c id",
            "ext::id",
            "-oProxyCommand=id:x",
            "ssh://-oProxyCommand=id/x",
            "ssh://host/",
            "ftp://host/a",
            "file://relative",
            "https://host/a\nb",
            "nonsense",
            "",
        ] {
            let refused = text.parse::<Remote>().unwrap_err();
            assert!(!refused.contains("t0ken"), "{refused}");
        }
        let is_cleartext = |text: &str| text.parse::<Remote>().unwrap().is_cleartext();
        assert!(is_cleartext("http://host/a") && is_cleartext("git://127.0.0.1.evil.test/a"));
        assert!(!is_cleartext("http://127.0.0.1:80/a") && !is_cleartext("http://[::1]:80/a"));
    }
}
