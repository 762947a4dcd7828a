//! A corpus of declarations that are no good, each beside the exact text `validate` prints of it; and the same for
//! rows and variables. `PROBLEMS=write` writes the texts anew, for someone to read over.

use std::path::{Path, PathBuf};

use crate::support::Workplace;
use crate::support::workplace::printed;

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "it is a variable of this test, not of the program"
)]
fn every_problem_is_told_as_it_stands_in_the_corpus() {
    let files = corpus();
    assert!(files.len() >= 60, "{}", files.len());
    let place = Workplace::new();
    let mut wrong = Vec::new();
    for path in &files {
        let (_, text) = place.validate(&std::fs::read_to_string(path).unwrap());
        let expected = path.with_extension("txt");
        if std::env::var("PROBLEMS").is_ok_and(|what| what == "write") {
            std::fs::write(&expected, &text).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn problems_of_rows_name_row_and_key() {
    for (key, value, expected) in [
        (
            "cron_overrides",
            "{\"jobs\":{\"session-cleanup\":{\"enabled\":\"no\"}}}",
            "warning: database row configurations.cron_overrides: jobs.session-cleanup.enabled: true or false is expected, not the string \"no\"; ignored",
        ),
        (
            "cron_overrides",
            "{\"jobs\":{\"session-cleanup\":{\"enabeld\":false}}}",
            "jobs.session-cleanup.enabeld: unknown key `enabeld`",
        ),
        ("cron_overrides", "{\"server\":{\"host\":\"0.0.0.0\"}}", "server"),
        ("cron_overrides", "[1]", "it is not a JSON object; ignored"),
        // What shows elsewhere is told of the row.
        (
            "cron_overrides",
            "{\"defaults\":{\"max_running\":0}}",
            "configurations.cron_overrides: defaults.max_running: 1 or more is expected",
        ),
        (
            "cron_overrides",
            "{\"defaults\":{\"retry\":{\"max_attempts\":0}}}",
            "configurations.cron_overrides: defaults.retry.max_attempts: 1 or more is expected",
        ),
        (
            "cron_overrides",
            "{\"defaults\":{\"database\":\"archive\"}}",
            "configurations.cron_overrides: defaults.database: it does not fit the declaration: ",
        ),
        ("cron_overrides", "{", "it is not JSON"),
        ("cron_overrides", "{\"jobs\":null}", "`jobs` is null; ignored"),
        ("cron_service", "{\"port\":0}", "`port` must not be 0; ignored"),
        (
            "cron_service",
            "{\"port\":\"x\"}",
            "configurations.cron_service: port: a whole number from 0 to 65535 is expected",
        ),
        (
            "cron_service",
            "{\"tasks\":{\"session-cleanup\":{\"cronExpression\":\"61 * * * *\"}}}",
            "tasks.session-cleanup.cronExpression: `61 * * * *` is not a cron expression",
        ),
        (
            "cron_service",
            "{\"tasks\":{\"session-cleanup\":{\"cronExpression\":\"0 0 31 2 *\"}}}",
            "never occurs",
        ),
    ] {
        let place = Workplace::new();
        let archive = "[databases.duplistatus]\npath = \"data/backups.db\"\n[databases.archive]\npath = \"data/backups.db\"\nread_only = true\n\
                       [defaults]\ndatabase = \"duplistatus\"\n[jobs.session-cleanup]\nschedule = \"@daily\"\n\
                       cleanup = { delete_from = \"sessions\", where = \"expires_at < datetime('now')\" }\n";
        place.write("jobs.toml", archive);
        place.set(key, value);
        let (code, text) = printed(&place.run(&["validate"]));
        assert!(code == 0 && text.contains(expected), "{value}\n{text}");
        let (code, _) = printed(&place.run(&["validate", "--deny-warnings"]));
        assert_eq!(code, 2, "{value}");
    }
}

#[test]
fn a_file_that_is_no_toml_at_all_is_told_in_a_hundred_places() {
    let place = Workplace::new();
    let (code, text) = place.validate(&format!("x = [{}]\n", "1 1, ".repeat(20_000)));
    assert_eq!(code, 2);
    assert!(text.ends_with("jobs.toml: 19900 further syntax errors\njobs.toml: 101 errors, 0 warnings\n"));
    assert!(text.lines().all(|line| line.len() < 300), "{text}");
}

#[test]
fn a_broken_file_hides_no_problem_of_a_variable() {
    let place = Workplace::with_jobs("[server\n");
    let mut command = place.command();
    command
        .arg("validate")
        .env("CRON_PORT", "high")
        .env("CRON_JOBS__TIDY__ENABLED", "true");
    let (code, text) = printed(&command.output().unwrap());
    assert_eq!(code, 2);
    assert!(
        text.contains("jobs.toml:1:") && text.contains("CRON_PORT: `high` is not a port"),
        "{text}"
    );
    assert!(!text.contains("TIDY"), "which jobs there are cannot be told: {text}");
}

#[test]
fn problems_of_variables_name_the_variable() {
    for (name, value, expected) in [
        (
            "CRON_PORT",
            "high",
            "error: environment: CRON_PORT: `high` is not a port",
        ),
        ("CRON_PORT", "65536", "CRON_PORT: `65536` is not a port"),
        ("PORT", "65535", "PORT: `65535` is not a port with one after it"),
        (
            "CRON_SERVER__PORT",
            "x",
            "environment: CRON_SERVER__PORT: a whole number from 0 to 65535 is expected, not the string \"x\"",
        ),
        ("CRON_SERVER__HOTS", "x", "CRON_SERVER__HOTS: unknown key `hots`"),
        (
            "CRON_JOBS__NONE__ENABLED",
            "true",
            "CRON_JOBS__NONE__ENABLED: no id in [jobs] matches `NONE`",
        ),
        (
            "CRON_JOBS__SESSION_CLEANUP__SCHEDULE",
            "61 * * * *",
            "CRON_JOBS__SESSION_CLEANUP__SCHEDULE: `61 * * * *` is not a cron expression",
        ),
        (
            "CRON_JOBS__SESSION_CLEANUP",
            "x",
            "CRON_JOBS__SESSION_CLEANUP: the key is missing after the id",
        ),
        (
            "CRON_DEFAULTS__TIMEOUT",
            "10",
            "CRON_DEFAULTS__TIMEOUT: `10` is not a duration",
        ),
        ("CRON_FOO__BAR", "x", "environment: CRON_FOO__BAR: unknown key `foo`"),
        (
            "CRON_DEFAULTS__RETRY",
            "{ max_attempts = 2 }",
            "CRON_DEFAULTS__RETRY: this key is missing",
        ),
        ("CRON_TOKEN", "", "CRON_TOKEN: it is not a token"),
        (
            "TZ",
            "Europe/Berln",
            "TZ: `Europe/Berln` is not a time zone: an IANA name is expected, such as \"Europe/Berlin\" or \"UTC\"; did you mean `Europe/Berlin`?",
        ),
    ] {
        let place = Workplace::new();
        let (code, text) = printed(&place.command().arg("validate").env(name, value).output().unwrap());
        assert!(code == 2 && text.contains(expected), "{name}={value}\n{text}");
    }
}
