//! The shape of the sources: imports go down only, no folder has a circle, every foreign crate has its home, every file
//! says what it owns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules, highest first; those on one line may not import each other.
const ORDER: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["http", "watch", "signals"],
    &["service_manager"],
    &["engine"],
    &["config"],
    &["kinds"],
    &["duplistatus"],
    &["run"],
    &["notifications"],
    &["state"],
    &["sql", "git", "docker"],
    &["postgres", "process"],
    &["values"],
];

/// Foreign crates and the modules that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("aes_gcm", &["duplistatus"]),
    ("base64", &["docker", "kinds", "values"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("croner", &["values"]),
    ("figment", &["config"]),
    (
        "form_urlencoded",
        &["cli", "docker", "http", "notifications", "postgres", "values"],
    ),
    ("futures_util", &["postgres"]),
    ("glob", &["config", "values"]),
    ("hmac", &["values"]),
    ("http_body_util", &["docker"]),
    ("httparse", &["http"]),
    ("hyper", &["docker"]),
    ("hyper_util", &["docker"]),
    ("icu_calendar", &["duplistatus"]),
    ("icu_datetime", &["duplistatus"]),
    ("icu_locale_core", &["duplistatus"]),
    ("lettre", &["notifications"]),
    ("libc", &["signals", "values"]),
    ("nix", &["process"]),
    ("notify", &["watch"]),
    ("pbkdf2", &["duplistatus"]),
    ("rusqlite", &["sql", "state"]),
    ("rustls", &["postgres"]),
    ("rustls_native_certs", &["kinds", "postgres"]),
    ("strsim", &["values"]),
    ("subtle", &["values"]),
    ("tiny_http", &["http"]),
    ("tokio_postgres", &["postgres"]),
    ("tokio_postgres_rustls", &["postgres"]),
    ("toml", &["config"]),
    ("tracing_appender", &["cli"]),
    ("tracing_subscriber", &["cli"]),
    ("ureq", &["cli", "kinds", "notifications"]),
];

/// A file of `src`.
struct File {
    path: PathBuf,
    /// The modules it stands in, its own name last; a folder's `mod.rs` has the folder's.
    module: Vec<String>,
    text: String,
    /// Its code in one line, without comments.
    code: String,
}

fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(read(&root, path));
            }
        }
    }
    assert!(files.len() > 30, "the sources are found");
    files
}

fn read(root: &Path, path: PathBuf) -> File {
    let below = path.strip_prefix(root).unwrap().with_extension("");
    let mut module: Vec<String> = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().unwrap() == "mod" {
        module.pop();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap().trim())
        .collect::<Vec<_>>()
        .join(" ");
    File {
        path,
        module,
        text,
        code,
    }
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|modules| modules.contains(&module))
}

/// The paths that some code names after `start`, those in braces one by one.
fn paths_after(code: &str, start: &str) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(start) {
        if !code[..at].ends_with(|c| is_name(c) || c == ':') {
            follow(&code[at + start.len()..], &[], &mut paths);
        }
    }
    paths
}

/// Reads one path, or a list of them in braces; gives what comes after it.
fn follow<'a>(code: &'a str, before: &[String], into: &mut Vec<Vec<String>>) -> &'a str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = follow(rest, before, into).trim_start();
            match rest.strip_prefix(',') {
                Some(next) if next.trim_start().starts_with('}') => return &next.trim_start()[1..],
                Some(next) => rest = next,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = code
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(code.len());
    let (name, mut rest) = code.split_at(end);
    let path: Vec<String> = before.iter().cloned().chain([name.to_owned()]).collect();
    if let Some(further) = rest.strip_prefix("::") {
        return follow(further, &path, into);
    }
    into.push(path);
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        rest = renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    rest
}

/// What a file imports of the program itself, as paths from the top.
fn imports(file: &File) -> Vec<Vec<String>> {
    let mut imports = paths_after(&file.code, "crate::");
    let is_folder = file.path.ends_with("mod.rs");
    let parent = &file.module[..file.module.len() - usize::from(!is_folder)];
    let parents = [("super::", parent), ("self::", &file.module[..])];
    for (start, from) in parents {
        // In a folder's own file `super` is the folder above.
        let from = if is_folder && start == "super::" {
            &from[..from.len() - 1]
        } else {
            from
        };
        for path in paths_after(&file.code, start) {
            imports.push(from.iter().cloned().chain(path).collect());
        }
    }
    imports
}

/// The module that each name of a folder's own file comes from, by the folder's path and the name.
fn handed_on(files: &[File]) -> BTreeMap<(Vec<String>, String), Vec<String>> {
    let mut names = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with("mod.rs")) {
        for statement in file.code.split("use ").skip(1) {
            let statement = statement.split(';').next().unwrap();
            let mut paths = Vec::new();
            follow(statement, &[], &mut paths);
            for mut path in paths.into_iter().filter(|path| path.len() > 1) {
                let name = path.pop().unwrap();
                names.insert((file.module.clone(), name), path);
            }
        }
    }
    names
}

#[test]
fn imports_go_down_only() {
    for file in sources() {
        let module = &file.module[0];
        if module == "lib" {
            continue;
        }
        let own = rank(module).unwrap_or_else(|| panic!("{module} has no place in the order"));
        for path in paths_after(&file.code, "crate::") {
            let down = path[0] == *module || rank(&path[0]).is_none_or(|rank| rank > own);
            assert!(down, "{} imports {}", file.path.display(), path.join("::"));
        }
    }
}

#[test]
fn no_folder_has_a_circle() {
    let files = sources();
    let handed_on = handed_on(&files);
    let modules: BTreeSet<&[String]> = files.iter().map(|file| &file.module[..]).collect();
    // What stands in a folder, and what of the same folder it imports.
    let mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.path.ends_with("mod.rs")) {
        for mut path in imports(file) {
            // A name that a folder hands on counts as the file it comes from.
            for depth in 1..path.len() {
                let key = (path[..depth].to_vec(), path[depth].clone());
                if let Some(from) = handed_on.get(&key) {
                    path = [&path[..depth], from, &path[depth..]].concat();
                }
            }
            let common = file
                .module
                .iter()
                .zip(&path)
                .take_while(|(own, other)| own == other)
                .count();
            let (own, other) = (file.module.get(..=common), path.get(..=common));
            if let (Some(own), Some(other)) = (own, other)
                && modules.contains(other)
            {
                edges.entry(own.to_vec()).or_default().insert(other.to_vec());
            }
        }
    }
    assert!(edges.len() > 30, "imports are found: {}", edges.len());
    let circles: Vec<&Vec<String>> = edges.keys().filter(|start| reaches(&edges, start, start)).collect();
    assert!(circles.is_empty(), "these lead back to themselves: {circles:?}");
}

/// Whether the imports of one module lead to the other.
fn reaches(edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>, from: &[String], to: &[String]) -> bool {
    let mut seen = BTreeSet::new();
    let mut ahead = vec![from];
    while let Some(module) = ahead.pop() {
        for next in edges.get(module).into_iter().flatten() {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                ahead.push(next);
            }
        }
    }
    false
}

#[test]
fn every_foreign_crate_has_its_home() {
    for file in sources() {
        for (name, home) in HOMES {
            let named = !paths_after(&file.code, &format!("{name}::")).is_empty();
            assert!(
                !named || home.contains(&file.module[0].as_str()),
                "{} names {name}, which is at home in {home:?}",
                file.path.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_is_small() {
    for File { path, text, .. } in sources() {
        let lines = text.lines().count();
        assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_sources_are_read_as_they_are_meant() {
    let file = |path: &str, code: &str| {
        let root = Path::new("src");
        let module = root.join(path);
        let mut file = File {
            path: module.clone(),
            module: vec![],
            text: String::new(),
            code: code.to_owned(),
        };
        let below = module.strip_prefix(root).unwrap().with_extension("");
        file.module = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if file.module.last().unwrap() == "mod" {
            file.module.pop();
        }
        file
    };
    let one = file(
        "a/one.rs",
        "use super::{Two, three::{Four, Five as Six}}; crate::b::seven()",
    );
    let named: BTreeSet<String> = imports(&one).iter().map(|path| path.join("::")).collect();
    assert_eq!(
        named,
        ["a::Two", "a::three::Four", "a::three::Five", "b::seven"]
            .map(String::from)
            .into()
    );
    let folder = file("a/mod.rs", "mod two; pub(crate) use two::{Two, more::Three};");
    assert_eq!(
        handed_on(&[folder]),
        [
            ((vec!["a".to_owned()], "Two".to_owned()), vec!["two".to_owned()]),
            (
                (vec!["a".to_owned()], "Three".to_owned()),
                vec!["two".to_owned(), "more".to_owned()]
            ),
        ]
        .into()
    );
}
