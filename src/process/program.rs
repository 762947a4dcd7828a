//! A program as it is to be started: where it is, in which folder, with which variables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Identity;
use super::interpreter;
use super::search::search;
use crate::values::Secret;

/// Where programs are looked for if no variable says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program, and what it is given.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its name, as a path or to be looked for, and its arguments.
    pub argv: Vec<String>,
    pub dir: PathBuf,
    pub variables: BTreeMap<String, String>,
    /// What it can read.
    pub stdin: Option<Secret>,
    pub identity: Identity,
    /// How much it may take, where that is limited.
    pub limits: Option<Limits>,
}

/// How much a program, and each that it starts, may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Memory of its own, in bytes.
    pub memory: u64,
    /// One file that it writes, in bytes.
    pub file: u64,
}

impl Program {
    /// Where the program is that would be started, or why none can be. A system would only say that something was not
    /// found.
    pub(crate) fn find(&self) -> Result<PathBuf, String> {
        let dir = self.dir.display();
        match std::fs::metadata(&self.dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(format!("the folder `{dir}` is not a folder")),
            Err(error) => return Err(format!("the folder `{dir}` cannot be used: {}", in_words(&error))),
        }
        let name = self.argv.first().map_or("", String::as_str);
        let path = self.variables.get("PATH").map_or(PATH, String::as_str);
        let found = if name.contains('/') {
            std::path::absolute(self.dir.join(name)).map_err(|error| error.to_string())?
        } else {
            search(name, path).ok_or_else(|| format!("the program `{name}` was not found in PATH ({path})"))?
        };
        check(&found)?;
        match interpreter::trouble(&found, path) {
            Some(trouble) => Err(trouble),
            None => Ok(found),
        }
    }
}

fn check(program: &Path) -> Result<(), String> {
    let shown = program.display();
    let found = std::fs::metadata(program)
        .map_err(|error| format!("the program {shown} cannot be used: {}", in_words(&error)))?;
    if !found.is_file() {
        return Err(format!("the program {shown} is not a file"));
    }
    access(program, Access::EXEC_OK).map_err(|_| format!("the program {shown} is not executable"))
}

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_cannot_be_started_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            std::fs::write(folder.path().join(name), text).unwrap();
            std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("good", "#!/bin/sh\n", 0o755);
        write("plain", "echo\n", 0o755);
        write("locked", "#!/bin/sh\n", 0o644);
        write("windows", "#!/bin/sh\r\n", 0o755);
        write("lost", "#!/no/such/shell\n", 0o755);
        write("env", "#!/usr/bin/env no-such-language\n", 0o755);
        let find = |name: &str, dir: &str| {
            let program = Program {
                argv: vec![name.to_owned()],
                dir: folder.path().join(dir),
                variables: BTreeMap::default(),
                stdin: None,
                identity: Identity::default(),
                limits: None,
            };
            program.find()
        };
        assert_eq!(find("./good", "").unwrap(), folder.path().join("./good"));
        assert!(find("sh", "").unwrap().ends_with("sh"));
        for (name, dir, why) in [
            ("./plain", "", "has no `#!` line"),
            ("./locked", "", "is not executable"),
            ("./windows", "", "ends with a carriage return"),
            ("./lost", "", "`/no/such/shell`, does not exist"),
            ("./env", "", "`no-such-language`, was not found in PATH"),
            ("./none", "", "it does not exist"),
            ("no-such-program", "", "`no-such-program` was not found in PATH"),
            ("sh", "none", "cannot be used: it does not exist"),
            ("sh", "good", "is not a folder"),
        ] {
            let said = find(name, dir).unwrap_err();
            assert!(said.contains(why), "{name}: {said}");
        }
    }
}
