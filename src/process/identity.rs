//! Whom a program runs as: its user with groups, how nice it is, and what others may do with its files. Between a fork and
//! the program's start nothing of this can be set safely, so this program starts itself in between, sets it, and becomes the
//! other one.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::str::FromStr;

use nix::unistd::{Uid, getgrouplist, setgid, setgroups, setuid};
use rustix::fs::Mode;
use rustix::process::{setpriority_process, umask};
use schemars::JsonSchema;
use serde::Deserialize;

/// The hidden subcommand that becomes another program.
pub(crate) const BECOME: &str = "become";

/// Whom a program runs as; as the service itself, where nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub user: Option<User>,
    /// From -20, which gets the most of the processor, to 19.
    pub nice: Option<i8>,
    pub umask: Option<Umask>,
}

/// The name of a user of this system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct User(String);

/// The permissions that new files do not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Umask(u32);

impl Umask {
    /// Others may read what is written, and nobody else may change it.
    pub(crate) const FOR_OTHERS: Self = Self(0o022);
}

impl FromStr for Umask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = u32::from_str_radix(text, 8).ok().filter(|number| *number <= 0o777);
        number
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a umask; up to three octal digits are expected, such as \"077\""))
    }
}

crate::values::deserialize_from_text!(Umask);

crate::values::schema_of_text!(Umask, "Octal digits, such as \"077\"");

impl User {
    /// For those who are given one as an argument.
    pub(crate) fn named(name: String) -> Self {
        Self(name)
    }

    /// What the system knows of it, if we may become it.
    fn find(&self) -> Result<nix::unistd::User, String> {
        let name = &self.0;
        let found = nix::unistd::User::from_name(name);
        let found = found.map_err(|error| format!("the user `{name}` cannot be looked up: {error}"))?;
        let user = found.ok_or_else(|| format!("there is no user `{name}` on this system"))?;
        let own = Uid::effective();
        if own.is_root() || own == user.uid {
            Ok(user)
        } else {
            Err(format!("only root may run programs as the user `{name}`"))
        }
    }
}

impl Identity {
    /// The variables that the user's programs expect, or why none can run as it.
    pub(crate) fn variables(&self) -> Result<Vec<(&'static str, String)>, String> {
        let Some(user) = &self.user else { return Ok(Vec::new()) };
        let user = user.find()?;
        Ok(vec![
            ("HOME", user.dir.to_string_lossy().into_owned()),
            ("SHELL", user.shell.to_string_lossy().into_owned()),
            ("USER", user.name.clone()),
            ("LOGNAME", user.name),
        ])
    }

    /// What starts the program at `path`.
    pub(super) fn command(&self, path: &Path, argv: &[String]) -> std::process::Command {
        let (name, arguments) = argv
            .split_first()
            .map_or(("", argv), |(name, rest)| (name.as_str(), rest));
        if *self == Self::default() {
            let mut command = std::process::Command::new(path);
            command.arg0(name).args(arguments);
            return command;
        }
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg(BECOME);
        if let Some(user) = &self.user {
            command.args(["--user", &user.0]);
        }
        if let Some(nice) = self.nice {
            command.arg(format!("--nice={nice}"));
        }
        if let Some(umask) = self.umask {
            command.arg(format!("--umask={:o}", umask.0));
        }
        command.arg("--").arg(path).args(argv);
        command
    }

    fn take_on(&self) -> Result<(), String> {
        if let Some(nice) = self.nice {
            setpriority_process(None, nice.into()).map_err(|error| format!("cannot be {nice} nice: {error}"))?;
        }
        if let Some(mask) = self.umask {
            umask(Mode::from_raw_mode(mask.0));
        }
        let Some(user) = &self.user else { return Ok(()) };
        let user = user.find()?;
        if user.uid == Uid::effective() {
            return Ok(());
        }
        let name = CString::new(user.name.as_str()).map_err(|error| error.to_string())?;
        getgrouplist(&name, user.gid)
            .and_then(|groups| setgroups(&groups))
            .and_then(|()| setgid(user.gid))
            .and_then(|()| setuid(user.uid))
            .map_err(|error| format!("cannot become the user `{}`: {error}", user.name))
    }
}

/// Becomes the program at `path`; comes back only to say why it could not.
pub(crate) fn become_it(identity: &Identity, path: &Path, argv: &[String]) -> String {
    if let Err(why) = identity.take_on() {
        return why;
    }
    let error = Identity::default().command(path, argv).exec();
    format!("{} cannot be started: {error}", path.display())
}
