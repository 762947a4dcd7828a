//! Calls of git: each in an environment of its own, in which nothing that this machine or a repository has configured is in
//! force, and never longer than the run that makes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::credentials::Login;
use super::host::GitHost;
use super::remote::Remote;
use crate::process::{self, Asked, Captured, Exit, Identity, Limits, Program, Rules, StopSignal, Surroundings};
use crate::values::{CancellationToken, Redactor, Secret};

/// The oldest git that can be given settings by variables.
const OLDEST: (u32, u32) = (2, 31);
/// How long a call may take to end once it is asked to.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How much memory of its own a call may take, and how large a file it may write: a server that sends without end is given up.
const LIMITS: Limits = Limits {
    memory: 2 << 30,
    file: 4 << 30,
};
/// How much a call may answer, in bytes, unless more is expected.
const SHORT: usize = 1 << 20;

/// Variables of this process that lead to other machines, and tell which of them to trust.
const NETWORK: &[&str] = &[
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// What is in force wherever git is called.
const VARIABLES: &[(&str, &str)] = &[
    // Nothing is in it, and nothing can be.
    ("HOME", "/dev/null"),
    ("LC_ALL", "C"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("SSH_ASKPASS", "false"),
    ("SSH_ASKPASS_REQUIRE", "never"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_ADVICE", "0"),
];
const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("core.protectNTFS", "true"),
    ("core.quotePath", "false"),
    ("safe.bareRepository", "explicit"),
    ("fetch.fsckObjects", "true"),
    ("transfer.bundleURI", "false"),
    ("transfer.credentialsInUrl", "die"),
    ("submodule.recurse", "false"),
    ("gc.auto", "0"),
    ("gc.autoDetach", "false"),
    ("maintenance.auto", "false"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "30"),
    ("credential.helper", ""),
    ("credential.interactive", "false"),
    ("gpg.program", "false"),
    ("gpg.x509.program", "false"),
];

/// The settings for one repository.
fn settings_of(remote: &Remote, login: &Login) -> Vec<(&'static str, String)> {
    let mut settings = login.settings.clone();
    if remote.is_loopback() {
        // What is on this machine is no other's business.
        settings.push(("http.proxy", String::new()));
    }
    settings
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GitError {
    pub message: String,
    /// Whether another attempt may do better: a network that was away, a server that was busy.
    pub is_transient: bool,
}

impl GitError {
    pub(super) fn lasting(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_transient: false,
        }
    }
}

impl From<String> for GitError {
    fn from(message: String) -> Self {
        Self::lasting(message)
    }
}

/// The program, ready to be called for one run and one remote repository.
pub(crate) struct Git<'a> {
    path: PathBuf,
    variables: BTreeMap<String, String>,
    settings: Vec<(&'static str, String)>,
    /// Leaves out the credentials, too.
    pub redactor: Redactor,
    /// The host of the repository, for people.
    host: String,
    asked: &'a Asked,
    cancel: &'a CancellationToken,
    #[expect(dead_code, reason = "what git needs to log in is gone with it")]
    login: Login,
}

/// One call.
#[derive(Clone, Default)]
pub(super) struct Call<'c> {
    pub arguments: &'c [&'c str],
    pub settings: &'c [(&'static str, &'c str)],
    pub variables: &'c [(&'static str, &'c Path)],
    pub input: Option<String>,
    /// Whether it writes files that others are to read.
    pub writes_for_others: bool,
    /// How much it may answer, in bytes.
    pub most: Option<usize>,
}

/// What a call came to.
pub(super) struct Said {
    pub code: i32,
    pub output: Vec<u8>,
    /// The end of its errors, as it may be shown.
    pub errors: String,
}

impl Said {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim().to_owned()
    }
}

impl<'a> Git<'a> {
    /// For calls about `remote`, with what its host asks for. The programs of a run are known by `of_run`, variables that
    /// each of them has.
    ///
    /// # Errors
    /// That there is no git, or that the credentials cannot be used.
    pub(crate) fn new(
        surroundings: &Surroundings,
        of_run: impl IntoIterator<Item = (&'static str, String)>,
        (remote, host): (&Remote, Option<&GitHost>),
        (asked, cancel): (&'a Asked, &'a CancellationToken),
    ) -> Result<Self, GitError> {
        let login = Login::new(remote, host)?;
        let mut variables: BTreeMap<String, String> = VARIABLES
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let inherited = NETWORK.iter().filter_map(|name| {
            let value = surroundings.variables.get(*name)?;
            Some(((*name).to_owned(), value.clone()))
        });
        variables.extend(inherited);
        variables.insert("GIT_ALLOW_PROTOCOL".to_owned(), remote.scheme.as_str().to_owned());
        let given = of_run.into_iter().chain(login.variables.clone());
        variables.extend(given.map(|(name, value)| (name.to_owned(), value)));
        let git = Self {
            path: PathBuf::new(),
            variables,
            settings: settings_of(remote, &login),
            host: remote.host.clone().unwrap_or_default(),
            redactor: surroundings.redactor.with(login.secrets.iter().map(Secret::reveal)),
            asked,
            cancel,
            login,
        };
        let path = git.program(&Call::default()).find()?;
        Ok(Self { path, ..git })
    }

    /// The version of the program, which must not be too old.
    ///
    /// # Errors
    /// That it is.
    pub(crate) fn version(&self) -> Result<(u32, u32, u32), GitError> {
        let said = self.call(&Call {
            arguments: &["version"],
            ..Call::default()
        })?;
        let text = said.text();
        let mut numbers = text
            .split_whitespace()
            .nth(2)
            .unwrap_or_default()
            .split('.')
            .map_while(|number| number.parse::<u32>().ok());
        let version = (
            numbers.next().unwrap_or(0),
            numbers.next().unwrap_or(0),
            numbers.next().unwrap_or(0),
        );
        if (version.0, version.1) < OLDEST {
            let (major, minor) = OLDEST;
            let why = format!(
                "git {major}.{minor} or newer is needed; {} is \"{text}\"",
                self.path.display()
            );
            return Err(GitError::lasting(why));
        }
        Ok(version)
    }

    fn program(&self, call: &Call<'_>) -> Program {
        let mut variables = self.variables.clone();
        let own = self.settings.iter().map(|(key, value)| (*key, value.as_str()));
        let settings = SETTINGS.iter().copied().chain(own).chain(call.settings.iter().copied());
        let mut count = 0;
        for (number, (key, value)) in settings.enumerate() {
            variables.insert(format!("GIT_CONFIG_KEY_{number}"), key.to_owned());
            variables.insert(format!("GIT_CONFIG_VALUE_{number}"), value.to_owned());
            count = number + 1;
        }
        variables.insert("GIT_CONFIG_COUNT".to_owned(), count.to_string());
        let paths = call.variables.iter();
        variables.extend(paths.map(|(name, path)| ((*name).to_owned(), path.display().to_string())));
        let arguments = call.arguments.iter().copied();
        Program {
            argv: ["git"].into_iter().chain(arguments).map(str::to_owned).collect(),
            dir: "/".into(),
            variables,
            stdin: call.input.clone().map(Secret::new),
            limits: Some(LIMITS),
            identity: Identity {
                umask: call.writes_for_others.then_some(process::Umask::FOR_OTHERS),
                ..Identity::default()
            },
        }
    }

    /// Calls it, and gives what it said, whatever it ended with.
    pub(super) fn call(&self, call: &Call<'_>) -> Result<Said, GitError> {
        if self.cancel.is_cancelled() {
            return Err(cut_off(call.name()));
        }
        let rules = Rules {
            stop_signal: StopSignal::default(),
            kill_after: KILL_AFTER,
            leaves_others: false,
        };
        let mut captured = Captured {
            most: call.most.unwrap_or(SHORT),
            ..Captured::default()
        };
        let program = self.program(call);
        let ended = process::run(&program, &self.path, rules, self.asked, &mut captured)?;
        let name = call.name();
        tracing::debug!("git {name}: {}", ended.exit);
        match ended.exit {
            _ if captured.output.len() > captured.most => {
                let most = crate::values::Size::from_bytes(captured.most as u64);
                Err(GitError::lasting(format!("git {name} said more than {most}")))
            }
            Exit::Code(code) if ended.by.is_none() => Ok(Said {
                code,
                output: captured.output,
                errors: self.redactor.redact(&String::from_utf8_lossy(&captured.errors)),
            }),
            _ if ended.by.is_some() => Err(cut_off(name)),
            exit => Err(GitError::lasting(format!("git {name}: {exit}"))),
        }
    }

    /// Calls it, and gives what it said where that went well.
    pub(super) fn done(&self, call: &Call<'_>) -> Result<Said, GitError> {
        let said = self.call(call)?;
        if said.code == 0 {
            return Ok(said);
        }
        Err(self.error_of(call.name(), &said))
    }
}

/// What a server or network may answer differently the next time.
const MAY_PASS: &[&str] = &[
    "could not resolve host",
    "temporary failure in name resolution",
    "failed to connect",
    "couldn't connect",
    "connection refused",
    "connection reset",
    "connection timed out",
    "connection closed",
    "network is unreachable",
    "no route to host",
    "operation timed out",
    "operation too slow",
    "transfer closed",
    "early eof",
    "unexpected disconnect",
    "hung up unexpectedly",
    "empty reply from server",
    "returned error: 429",
    "returned error: 5",
];
/// What it will say again, whatever else it said.
const IS_LASTING: &[&str] = &[
    "permission denied",
    "host key verification failed",
    "authentication failed",
    "not found",
    "does not appear to be a git repository",
];

impl Git<'_> {
    /// What went wrong, in the words of git that say most.
    pub(super) fn error_of(&self, name: &str, said: &Said) -> GitError {
        let lower = said.errors.to_lowercase();
        let has_one_of = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
        let host = &self.host;
        let message = if lower.contains("told us to quit") {
            format!("another host asked for the credential of {host}, and got none; there is a redirect")
        } else if has_one_of(&["could not read username", "unable to get password"]) {
            format!("{host} asks for a credential; [git_hosts.\"{host}\"] with a `token` would declare it")
        } else {
            in_words(said)
        };
        GitError {
            message: format!("git {name}: {message}"),
            is_transient: has_one_of(MAY_PASS) && !has_one_of(IS_LASTING),
        }
    }
}

/// The lines of git's errors that say most.
fn in_words(said: &Said) -> String {
    let lines = said.errors.lines().map(str::trim).filter(|line| !line.is_empty());
    let starts = ["fatal:", "error:", "remote:", "ERROR:"];
    let telling = |line: &&str| starts.iter().any(|start| line.starts_with(start)) || has_one_of_line(line);
    let mut lines: Vec<&str> = lines.filter(telling).collect();
    lines.dedup();
    match lines.as_slice() {
        [] => said
            .errors
            .trim()
            .lines()
            .last()
            .unwrap_or("it gave no reason")
            .to_owned(),
        lines => lines[..lines.len().min(3)].join("; "),
    }
}

fn cut_off(name: &str) -> GitError {
    GitError::lasting(format!("git {name} was cut off"))
}

impl Call<'_> {
    /// What git is asked for.
    fn name(&self) -> &str {
        let name = self.arguments.iter().find(|argument| !argument.starts_with('-'));
        name.copied().unwrap_or_default()
    }
}

/// Whether a line is one of ssh's that tells what git only suspects.
fn has_one_of_line(line: &str) -> bool {
    let lower = line.to_lowercase();
    let is_telling = |text: &&str| lower.contains(*text);
    IS_LASTING.iter().chain(MAY_PASS).any(is_telling) || lower.contains("no user exists")
}
