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
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn the_shipped_declaration_shows_every_setting_with_its_default() {
    let read = |path: &Path| -> toml::Table { std::fs::read_to_string(path).unwrap().parse().unwrap() };
    let shipped = read(&root().join("jobs.toml"));
    let built_in = read(&root().join("src/config/sources/built_in.toml"));
    for section in ["server", "log", "state", "limits", "defaults"] {
        assert_eq!(shipped[section], built_in[section], "[{section}]");
    }
    let text = std::fs::read_to_string(root().join("jobs.toml")).unwrap();
    // The keys the declaration knows, as it names them to someone who wrote a wrong one, and the part that shows them.
    let between = |from: &str, to: &str| -> String {
        let start = text.find(from).unwrap_or_else(|| panic!("{from} is not there"));
        let end = text[start..].find(to).unwrap_or_else(|| panic!("{to} is not there"));
        text[start..start + end].to_owned()
    };
    let target = |kind: &str| {
        between(&format!("# {kind} = {{"), "\n# [")
            .lines()
            .take(4)
            .collect::<String>()
    };
    let parts = [
        ("[server]\nx = 1", between("[server]", "\n[log]")),
        ("[log]\nx = 1", between("[log]", "[state]")),
        ("[state]\nx = 1", between("[state]", "[databases")),
        (
            "[databases.d]\nx = 1",
            between("[databases.duplistatus]", "\n[defaults]"),
        ),
        ("[defaults]\nx = 1", between("\n[defaults]", "# Where messages")),
        (
            "[defaults.notify]\nx = 1",
            between("[defaults.notify]", "# Where messages"),
        ),
        ("[limits]\nx = 1", between("\n[limits]", "# How many runs of a group")),
        ("[groups.g]\nx = 1", between("# [groups.docker]", "# A job:")),
        ("[jobs.a]\nx = 1", between("# A job:", "[jobs.overdue-backup-check]")),
        (
            "[jobs.a.cleanup]\nx = 1",
            between("# The kind `cleanup`", "[jobs.session-cleanup]"),
        ),
        (
            "[jobs.a.cleanup.record]\nx = 1",
            between("# A row written after", "[jobs.session-cleanup]"),
        ),
        ("[jobs.a.sql]\nx = 1", between("# The kind `sql`", "# The kind `alert`")),
        (
            "[jobs.a.alert]\nx = 1",
            between("# The kind `alert`", "# The kind `command`"),
        ),
        (
            "[jobs.a.command]\nx = 1",
            between("# The kind `command`", "# The kind `http`"),
        ),
        (
            "[jobs.a.http]\nx = 1",
            between("# The kind `http`", "# The kind `git_sync`"),
        ),
        (
            "[jobs.a.git_sync]\nx = 1",
            between("# The kind `git_sync`", "# The kind `container_update`"),
        ),
        (
            "[jobs.a.container_update]\nx = 1",
            text[text.find("# The kind `container_update`").unwrap()..].to_owned(),
        ),
        (
            "[jobs.a.container_update.verify]\nx = 1",
            text[text.find("# The image is looked at").unwrap()..].to_owned(),
        ),
        (
            "[engines.a]\nx = 1",
            between("# [engines.docker]", "# How many runs of a group"),
        ),
        ("[git_hosts.a]\nx = 1", between("# [git_hosts", "# Container engines")),
        (
            "[jobs.a.overdue_backups]\nx = 1",
            between("[jobs.overdue-backup-check.overdue_backups]", "# The kind `cleanup`"),
        ),
        (
            "[jobs.a.overdue_backups.expect.e]\nx = 1",
            between("# When some backups are expected", "# The kind `cleanup`"),
        ),
        ("[notifications]\na.log.x = 1", target("log")),
        ("[notifications]\na.ntfy.x = 1", target("ntfy")),
        ("[notifications]\na.email.x = 1", target("email")),
        ("[notifications]\na.webhook.x = 1", target("webhook")),
        ("[notifications]\na.duplistatus.x = 1", target("duplistatus")),
    ];
    for (wrong, part) in parts {
        let (_, told) = Workplace::empty().validate(&format!("{wrong}\n"));
        let keys = told
            .lines()
            .find_map(|line| line.split_once("unknown key `x`; known keys: "));
        let (_, keys) = keys.unwrap_or_else(|| panic!("{wrong} tells no keys: {told}"));
        for key in keys.split(", ") {
            let is_word = |(at, _): (usize, &str)| {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let (before, after) = (part[..at].chars().next_back(), part[at + key.len()..].chars().next());
                !before.is_some_and(is_part) && !after.is_some_and(is_part)
            };
            // Kinds have parts of their own.
            let is_kind = [
                "cleanup",
                "sql",
                "overdue_backups",
                "alert",
                "command",
                "http",
                "git_sync",
                "container_update",
            ]
            .contains(&key);
            assert!(
                is_kind || part.match_indices(key).any(is_word),
                "{wrong}: jobs.toml does not show `{key}`"
            );
        }
    }
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
