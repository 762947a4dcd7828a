//! The shipped declaration and every example are good, and the shipped one is the reference it says it is.

use std::path::{Path, PathBuf};

use crate::support::Workplace;
use crate::support::workplace::printed;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn declarations() -> Vec<PathBuf> {
    let is_toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    std::fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(is_toml)
        .collect()
}

#[test]
fn every_example_is_valid_without_its_databases() {
    let examples = declarations();
    assert!(examples.len() >= 4, "{examples:?}");
    for path in examples.iter().chain([&root().join("jobs.toml")]) {
        let place = Workplace::empty();
        let (code, text) = printed(&place.command().arg("validate").arg(path).output().unwrap());
        assert_eq!(code, 0, "{}:\n{text}", path.display());
    }
}

#[test]
fn the_shipped_declaration_fits_the_applications_database() {
    let place = Workplace::new();
    let (code, text) = printed(
        &place
            .command()
            .arg("validate")
            .arg(root().join("jobs.toml"))
            .output()
            .unwrap(),
    );
    assert_eq!(code, 0, "{text}");
}

#[test]
fn the_shipped_declaration_shows_every_setting_with_its_default() {
    let read = |path: &Path| -> toml::Table { std::fs::read_to_string(path).unwrap().parse().unwrap() };
    let shipped = read(&root().join("jobs.toml"));
    let built_in = read(&root().join("src/config/sources/built_in.toml"));
    for section in ["server", "state", "limits", "defaults"] {
        assert_eq!(shipped[section], built_in[section], "[{section}]");
    }
    let text = std::fs::read_to_string(root().join("jobs.toml")).unwrap();
    // The keys the declaration knows, as it names them to someone who wrote a wrong one.
    let wrong = "[server]\nx = 1\n[state]\nx = 1\n[defaults]\nx = 1\n[databases.d]\nx = 1\n[limits]\nx = 1\n[groups.g]\nx = 1\n[jobs.a]\nx = 1\n[jobs.a.cleanup]\nx = 1\n[jobs.b.sql]\nx = 1\n\
        [jobs.c.cleanup.record]\nx = 1\n[jobs.f.alert]\nx = 1\n[jobs.d.overdue_backups]\nx = 1\n[jobs.e.overdue_backups.expect.e]\nx = 1\n[defaults.notify]\nx = 1\n[notifications]\na.log.x = 1\nb.ntfy.x = 1\nc.email.x = 1\nd.webhook.x = 1\ne.duplistatus.x = 1\n";
    let (_, told) = Workplace::empty().validate(wrong);
    let mut known = 0;
    for keys in told.lines().filter_map(|line| line.split("; known are ").nth(1)) {
        for key in keys.split(", ") {
            let shown = text.lines().any(|line| {
                let line = line.trim_start_matches(['#', ' ']);
                line.starts_with(&format!("{key} "))
                    || line.contains(&format!("{key},"))
                    || line.contains(&format!(", {key} "))
                    || line.contains(&format!(".{key}]"))
                    || line.contains(&format!(".{key}."))
                    || line.contains(&format!("{{ {key} "))
            });
            assert!(shown, "jobs.toml does not show `{key}`");
            known += 1;
        }
    }
    assert!(known > 30, "the keys were told: {told}");
}

#[test]
fn the_shipped_declaration_and_every_example_satisfy_the_schema() {
    let place = Workplace::empty();
    let schema = place.run(&["schema"]);
    std::fs::write(place.file("schema.json"), &schema.stdout).unwrap();
    let script = "import json, sys, tomllib, jsonschema\n\
        check = jsonschema.Draft7Validator(json.load(open(sys.argv[1])))\n\
        for name in sys.argv[2:]:\n    \
            for error in check.iter_errors(tomllib.load(open(name, 'rb'))): print(name, list(error.path), error.message)\n";
    let files: Vec<PathBuf> = declarations().into_iter().chain([root().join("jobs.toml")]).collect();
    let check = |files: &[PathBuf]| {
        let mut command = std::process::Command::new("/usr/bin/python3");
        let output = command
            .args(["-c", script])
            .arg(place.file("schema.json"))
            .args(files)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "python3-jsonschema is missing; tests/run installs it"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(check(&files), "");
    place.write(
        "wrong.toml",
        "[server]\nprot = 1\n[jobs.a]\nschedule = 7\n[jobs.a.cleanup]\ndelete_from = \"t\"\nwhere = \"x\"\nkeep = 3\n",
    );
    let wrong = check(&[place.file("wrong.toml")]);
    assert!(
        wrong.contains("['server']") && wrong.contains("'schedule'") && wrong.contains("'keep' was unexpected"),
        "{wrong}"
    );
}
