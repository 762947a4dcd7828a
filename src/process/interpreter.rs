//! Who runs a script: its `#!` line. That the interpreter is missing and that the script is missing look the same to whoever
//! starts it, so it is looked at before.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::search::search;

/// How much of a file Linux looks at.
const LONGEST: usize = 256;

/// Why the file at `path` could not be started although it is there; `folders` is where programs are looked for.
pub(super) fn trouble(path: &Path, folders: &str) -> Option<String> {
    let mut start = [0; LONGEST];
    // One that may be run, but not be read, is a program.
    let length = File::open(path).and_then(|mut file| file.read(&mut start)).ok()?;
    let start = &start[..length];
    let shown = path.display();
    let Some(line) = start.strip_prefix(b"#!") else {
        let is_text = !start.contains(&0) && std::str::from_utf8(start).is_ok();
        return is_text.then(|| format!("{shown} is not a program: it has no `#!` line that names its interpreter"));
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    if line.ends_with('\r') {
        return Some(format!(
            "the `#!` line of {shown} ends with a carriage return; save the file with Unix line endings"
        ));
    }
    let mut words = line.split_whitespace();
    let interpreter = words.next().unwrap_or_default();
    if !Path::new(interpreter).is_file() {
        return Some(format!("the interpreter of {shown}, `{interpreter}`, does not exist"));
    }
    let named = words.next().filter(|_| interpreter.ends_with("/env"))?;
    let is_name = !named.starts_with('-') && !named.contains(['/', '=']);
    (is_name && search(named, folders).is_none())
        .then(|| format!("the interpreter of {shown}, `{named}`, was not found in PATH"))
}
