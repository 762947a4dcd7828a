//! The shape of the sources: imports go down only, every foreign crate has its home, every file says what it owns.

use std::path::{Path, PathBuf};

/// The modules, highest first; those on one line may not import each other.
const ORDER: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["http", "watch", "signals"],
    &["engine"],
    &["config"],
    &["kinds"],
    &["duplistatus"],
    &["run"],
    &["notifications"],
    &["state"],
    &["sql"],
    &["values"],
];

/// Foreign crates and the modules that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("clap", &["cli"]),
    ("ureq", &["cli", "notifications"]),
    ("lettre", &["notifications"]),
    ("aes_gcm", &["duplistatus"]),
    ("pbkdf2", &["duplistatus"]),
    ("icu_datetime", &["duplistatus"]),
    ("tracing_subscriber", &["cli"]),
    ("figment", &["config"]),
    ("toml", &["config"]),
    ("croner", &["values"]),
    ("subtle", &["values"]),
    ("glob", &["config", "values"]),
    ("hmac", &["notifications"]),
    ("strsim", &["config", "values"]),
    ("tiny_http", &["http"]),
    ("httparse", &["http"]),
    ("form_urlencoded", &["cli", "http", "notifications"]),
    ("notify", &["watch"]),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn gather(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 30, "the sources are found");
    files
}

fn module_of(path: &Path) -> String {
    let below = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|modules| modules.contains(&module))
}

/// The lines of code that are not comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

#[test]
fn imports_go_down_only() {
    for (path, text) in sources() {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let own = rank(&module).unwrap_or_else(|| panic!("{module} has no place in the order"));
        for line in code(&text) {
            for imported in line.split("crate::").skip(1) {
                let imported: String = imported
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let down = imported == module || rank(&imported).is_none_or(|rank| rank > own);
                assert!(down, "{} imports {imported}: {line}", path.display());
            }
        }
    }
}

#[test]
fn every_foreign_crate_has_one_home() {
    for (path, text) in sources() {
        let module = module_of(&path);
        for (name, home) in HOMES {
            let named =
                code(&text).find(|line| line.contains(&format!("{name}::")) && !line.contains(&format!("_{name}::")));
            assert!(
                named.is_none() || home.contains(&module.as_str()),
                "{} names {name}: {named:?}",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_owns_and_is_small() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
        assert!(
            text.lines().count() <= 500,
            "{} has {} lines",
            path.display(),
            text.lines().count()
        );
    }
}
