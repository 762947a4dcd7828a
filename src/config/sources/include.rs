//! `include = ["jobs.d/*.toml"]`: a declaration in several files. A key may be set in one file only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use crate::config::declaration::KEYED;
use crate::config::layer::Layer;
use crate::config::merged::path as path_of;
use crate::config::problem::Problem;
use crate::values::Severity;

/// The patterns of files that a declaration which says `values` includes, from its folder.
pub(super) fn patterns(values: &Dict) -> Vec<String> {
    let list = values.get("include").and_then(Value::as_array).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The files that match them, each once, in the order of their names.
pub(super) fn files(file: &Path, patterns: &[String]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = patterns
        .iter()
        .filter_map(|pattern| glob::glob(in_folder_of(file, pattern).to_str()?).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    // One file may be found by several names, and the declaration itself by its own patterns.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut known = BTreeSet::from([real(file)]);
    files.retain(|path| known.insert(real(path)));
    files
}

/// The pattern from the folder of `file`, which is meant as it is called.
fn in_folder_of(file: &Path, pattern: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    PathBuf::from(glob::Pattern::escape(&folder.to_string_lossy())).join(pattern)
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
