//! Credentials on their way to git. They stand in files that exist in memory only, which git's helpers reach by the number of
//! this process: in no argument, no variable, and on no disk.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};

use super::host::GitHost;
use super::remote::{Remote, Scheme};
use crate::values::Secret;

/// The hidden subcommand that git asks for credentials.
pub(crate) const HELPER: &str = "git-credential";

/// Who asks where nothing says.
const USERNAME: &str = "git";

/// What git needs to log in, as long as it is kept.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// The settings and variables that lead git to it.
    pub settings: Vec<(&'static str, String)>,
    pub variables: Vec<(&'static str, String)>,
    /// What nothing that git prints may show.
    pub secrets: Vec<Secret>,
    files: Vec<MemoryFile>,
}

impl Login {
    /// That of `remote` at its host.
    pub(super) fn new(remote: &Remote, host: Option<&GitHost>) -> Result<Self, String> {
        let mut login = Self::default();
        let host = host.map(GitHost::fresh).transpose()?;
        match remote.scheme {
            Scheme::Ssh => login.by_key(remote, host.as_ref())?,
            Scheme::Https | Scheme::Http => login.by_token(remote, host.as_ref())?,
            Scheme::Git | Scheme::File => {}
        }
        Ok(login)
    }

    fn by_token(&mut self, remote: &Remote, host: Option<&GitHost>) -> Result<(), String> {
        let Some((token, host)) = host.and_then(|host| Some((host.token.as_ref()?, host))) else {
            return Ok(());
        };
        if remote.is_cleartext() {
            return Err(format!(
                "{remote}: a token is not sent over http, where anyone along the way can read it"
            ));
        }
        if token.reveal().contains(char::is_control) {
            return Err("the token holds a control character".to_owned());
        }
        let answer = format!(
            "protocol={}\nhost={}\nusername={}\npassword={}\n",
            remote.scheme.as_str(),
            remote.host.as_deref().unwrap_or_default(),
            host.username.as_deref().unwrap_or(USERNAME),
            token.reveal()
        );
        let pair = format!("{}:{}", host.username.as_deref().unwrap_or(USERNAME), token.reveal());
        self.secrets.extend([token.clone(), Secret::new(pair)]);
        let file = self.file("credential", &answer)?;
        // Named by number: the program's own path may hold anything, and a shell reads this.
        let helper = format!("/proc/{}/exe {HELPER} {file}", std::process::id());
        self.settings.push(("credential.helper", helper));
        Ok(())
    }

    fn by_key(&mut self, remote: &Remote, host: Option<&GitHost>) -> Result<(), String> {
        let declared = host.and_then(|host| Some((host.ssh_key.as_ref()?, host.known_hosts.as_ref()?)));
        let name = remote.host.as_deref().unwrap_or_default();
        let (key, known) =
            declared.ok_or_else(|| format!("[git_hosts.\"{name}\"] with `ssh_key` and `known_hosts` is missing"))?;
        self.secrets.push(key.clone());
        let key = self.file("key", &(key.reveal().replace('\r', "") + "\n"))?;
        let known = self.file("known_hosts", &(known.reveal().to_owned() + "\n"))?;
        let mut command = format!("ssh -F none -i {key} -o UserKnownHostsFile={known}");
        for option in SSH {
            command.push_str(" -o ");
            command.push_str(option);
        }
        self.variables.push(("GIT_SSH_COMMAND", command));
        self.variables.push(("GIT_SSH_VARIANT", "ssh".to_owned()));
        Ok(())
    }

    fn file(&mut self, name: &str, content: &str) -> Result<String, String> {
        let file = MemoryFile::new(name, content)?;
        let path = file.path();
        self.files.push(file);
        Ok(path)
    }
}

/// A file that is on no disk, and gone when it is dropped.
#[derive(Debug)]
pub(super) struct MemoryFile(File);

impl MemoryFile {
    pub(super) fn new(name: &str, content: &str) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("a file in memory cannot be created: {error}");
        let made = memfd_create(name, MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        // ssh takes no key that others may read.
        fchmod(&made, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?;
        let mut file = File::from(made);
        file.write_all(content.as_bytes()).map_err(failed)?;
        Ok(Self(file))
    }

    /// Where other processes of this user find it.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// What ssh must not do: ask, learn, guess, or leave something running.
const SSH: &[&str] = &[
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "ControlMaster=no",
    "ForwardAgent=no",
    "PermitLocalCommand=no",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
];

/// What the helper answers when git has `asked` to `get` a credential and `known` is the one there is: another host, whoever
/// named it, gets none, and the attempt ends.
pub(crate) fn answer_git(operation: &str, asked: &str, known: &str) -> String {
    if operation != "get" {
        return String::new();
    }
    let value = |text: &str, key: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_ascii_lowercase()))
    };
    let is_same = |key| value(asked, key).is_some() && value(asked, key) == value(known, key);
    if is_same("protocol") && is_same("host") {
        known.to_owned()
    } else {
        "quit=1\n".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_to_its_own_host_only() {
        let known = "protocol=https\nhost=git.example.org\nusername=git\npassword=t0ken\n";
        let asked = |protocol: &str, host: &str| {
            let asked = format!("capability[]=authtype\nprotocol={protocol}\nhost={host}\nwwwauth[]=Basic\n");
            answer_git("get", &asked, known)
        };
        assert_eq!(asked("https", "git.example.org"), known);
        for (protocol, host) in [
            ("http", "git.example.org"),
            ("https", "git.example.org:8443"),
            ("https", "evil.test"),
            ("https", "git.example.org.evil.test"),
            ("https", ""),
        ] {
            assert_eq!(asked(protocol, host), "quit=1\n", "{protocol} {host}");
        }
        assert_eq!(answer_git("get", "", known), "quit=1\n");
        assert_eq!(answer_git("store", known, known), "");
    }
}
