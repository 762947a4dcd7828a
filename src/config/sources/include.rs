//! `include = ["jobs.d/*.toml"]`: a declaration in several files. A key may be set in one file only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use crate::config::declaration::KEYED;
use crate::config::layer::Layer;
use crate::config::merged::path as path_of;
use crate::config::problem::Problem;
use crate::values::{Severity, within_patience};

/// How many names a pattern may lead to.
const MOST_LOOKED_AT: usize = 10_000;

/// The patterns of files that a declaration which says `values` includes, from its folder.
pub(super) fn patterns(values: &Dict) -> Vec<String> {
    let list = values.get("include").and_then(Value::as_array).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The files that match them, each once, in the order of their names. Looking for them may wait for the disk.
pub(super) fn files(file: &Path, patterns: &[String]) -> Vec<PathBuf> {
    let found = patterns.iter().filter_map(|pattern| matching(file, pattern).ok());
    let mut files: Vec<PathBuf> = found.flatten().collect();
    files.sort();
    // One file may be found by several names, and the declaration itself by its own patterns.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut known = BTreeSet::from([real(file)]);
    files.retain(|path| known.insert(real(path)));
    files
}

/// The regular files that match one pattern, which is meant from the folder of `file`; or that it means too many.
fn matching(file: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut looked_at = 0;
    let mut found = vec![file.parent().unwrap_or(Path::new("")).to_owned()];
    for part in Path::new(pattern) {
        let part = part.to_string_lossy();
        let mut next = Vec::new();
        for folder in found {
            match glob::Pattern::new(&part) {
                _ if part == "**" => below(&folder, &mut looked_at, &mut next)?,
                Ok(pattern) if part.contains(['*', '?', '[']) => {
                    let is_meant = |name: &str| pattern.matches(name);
                    next.extend(
                        entries(&folder, &mut looked_at)?
                            .into_iter()
                            .filter(|path| path.file_name().is_some_and(|name| is_meant(&name.to_string_lossy()))),
                    );
                }
                _ => next.push(folder.join(&*part)),
            }
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    Ok(found)
}

/// What stands in a folder; nothing, where it cannot be read.
fn entries(folder: &Path, looked_at: &mut usize) -> Result<Vec<PathBuf>, String> {
    let shown = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(shown).into_iter().flatten().filter_map(Result::ok) {
        *looked_at += 1;
        if *looked_at > MOST_LOOKED_AT {
            return Err(format!(
                "more than {MOST_LOOKED_AT} files would have to be looked through; name a smaller folder"
            ));
        }
        found.push(folder.join(entry.file_name()));
    }
    Ok(found)
}

/// A folder and all folders in it, at any depth; links are not followed, which may lead round in circles.
fn below(folder: &Path, looked_at: &mut usize, found: &mut Vec<PathBuf>) -> Result<(), String> {
    found.push(folder.to_owned());
    for path in entries(folder, looked_at)? {
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            below(&path, looked_at, found)?;
        }
    }
    Ok(())
}

/// What is wrong with what `layer`, read from `file`, says of files to include.
pub(super) fn flaws(layer: &Layer, file: &Path, is_included: bool) -> Vec<Problem> {
    let Some(include) = layer.values.get("include") else {
        return Vec::new();
    };
    let problem = |path: &[&str], why: &str| layer.problem(&path_of(path), false, Severity::Error, why);
    if is_included {
        let why = "an included file cannot include others; the main declaration must name them all";
        return vec![problem(&["include"], why)];
    }
    let Some(list) = include.as_array() else {
        let why = "a list of patterns is expected, such as [\"jobs.d/*.toml\"]";
        return vec![problem(&["include"], why)];
    };
    let flaw = |(index, pattern): (usize, &Value)| {
        let why = flaw_of(pattern, file)?;
        Some(problem(&["include", &index.to_string()], &why))
    };
    list.iter().enumerate().filter_map(flaw).collect()
}

/// A pattern may match no file, a plain name must not.
fn flaw_of(pattern: &Value, file: &Path) -> Option<String> {
    let Some(text) = pattern.as_str() else {
        return Some("a string is expected".to_owned());
    };
    if let Err(error) = glob::Pattern::new(text) {
        return Some(format!("`{text}` is not a pattern of files: {error}"));
    }
    let (looked_for, pattern) = (file.to_owned(), text.to_owned());
    let found = within_patience(move || matching(&looked_for, &pattern).map(drop));
    if let Err(why) = found.and_then(|found| found) {
        return Some(format!("`{text}`: {why}"));
    }
    let is_name = !text.contains(['*', '?', '[']);
    let is_there = file.parent().unwrap_or(Path::new("")).join(text).is_file();
    (is_name && !is_there).then(|| format!("there is no file `{text}`"))
}

/// Everything that two files say.
pub(super) fn clashes(layers: &[Layer]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, later) in layers.iter().enumerate() {
        for earlier in &layers[..index] {
            let mut found = Vec::new();
            shared(&earlier.values, &later.values, &mut Vec::new(), &mut found);
            problems.extend(found.iter().map(|path| clash(earlier, later, path)));
        }
    }
    problems
}

/// The paths of values, or of tables keyed by an id, that both have.
fn shared(one: &Dict, other: &Dict, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    for (key, value) in one {
        let Some(second) = other.get(key) else { continue };
        path.push(key.clone());
        let is_whole = path.len() == 2 && KEYED.contains(&path[0].as_str());
        match (value, second) {
            (Value::Dict(_, one), Value::Dict(_, other)) if !is_whole => shared(one, other, path, found),
            _ => found.push(path.clone()),
        }
        path.pop();
    }
}

fn clash(earlier: &Layer, later: &Layer, path: &[String]) -> Problem {
    let place = earlier.place(path, true);
    let first = place.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
    let why = format!("it is also declared in {}{first}", earlier.source);
    later.problem(path, true, Severity::Error, why)
}
