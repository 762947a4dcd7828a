//! `include = ["jobs.d/*.toml"]`: a declaration in several files. What one file says, no other may say again.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use crate::config::layer::Layer;
use crate::config::problem::{Problem, Severity};

/// The patterns of files that the declaration in `file`, which says `values`, includes.
pub(super) fn patterns(file: &Path, values: &Dict) -> Vec<PathBuf> {
    let list = values.get("include").and_then(Value::as_array).unwrap_or_default();
    let folder = file.parent().unwrap_or(Path::new(""));
    list.iter()
        .filter_map(Value::as_str)
        .map(|pattern| folder.join(pattern))
        .collect()
}

/// The files that match them, each once, in the order of their names.
pub(super) fn files(file: &Path, patterns: &[PathBuf]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = patterns
        .iter()
        .filter_map(|pattern| glob::glob(pattern.to_str()?).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|path| path.is_file() && path != file)
        .collect();
    files.sort();
    files.dedup();
    files
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
    const KEYED: [&str; 4] = ["jobs", "databases", "notifications", "groups"];
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
    let place = |layer: &Layer| layer.place(path, true);
    let first = place(earlier).map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
    Problem {
        place: place(later),
        name: path.join("."),
        keys: path.to_vec(),
        excerpt: later.excerpt(path, true),
        ..Problem::of_source(
            later.source.clone(),
            Severity::Error,
            format!("it is declared in {}{first}, too", earlier.source),
        )
    }
}
