//! What `validate` and a start say of declarations that are no good: every problem at once, each with its place.

use serde_json::Value;

use crate::support::{Workplace, workplace::ONE_JOB};

/// Text that `validate` must print for a declaration, in this order.
fn refused(declaration: &str, expected: &[&str]) {
    let place = Workplace::new();
    let (code, text) = place.validate(declaration);
    assert_eq!(code, 2, "{declaration}\n{text}");
    let mut rest = text.as_str();
    for line in expected {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("`{line}` is missing after what came before, in:\n{text}"));
        rest = &rest[at + line.len()..];
    }
    assert_eq!(
        text.matches("error: ").count(),
        expected.len(),
        "nothing else is an error:\n{text}"
    );
}

#[test]
fn every_problem_is_told_at_once() {
    refused(
        r#"
[server]
prot = 9667
port = "high"
[defaults]
time_zone = "Mars/Olympus"
timeout = "10"
[jobs.one]
schedule = "61 * * * *"
[jobs.one.cleanup]
delete_from = "sessions"
where = "expires_at < datetime('now')"
keep = 3
[jobs.two]
schedule = "0 0 31 2 *"
enabled = "yes"
[jobs.Three]
schedule = "@daily"
sql = { statement = "DELETE FROM sessions", tables = ["sessions"] }
[color]
x = 1
"#,
        &[
            "jobs.toml:3:1: server.prot: unknown key `prot`; did you mean `port`?",
            "jobs.toml:4:8: server.port: a whole number from 0 to 65535 is expected, not the string \"high\"",
            "jobs.toml:6:13: defaults.time_zone: `Mars/Olympus` is not a time zone",
            "jobs.toml:7:11: defaults.timeout: `10` is not a duration",
            "jobs.toml:9:12: jobs.one.schedule: `61 * * * *` is not a cron expression",
            "jobs.toml:13:1: jobs.one.cleanup.keep: unknown key `keep`",
            "jobs.toml:14:7: jobs.two: the job has no kind",
            "jobs.toml:15:12: jobs.two.schedule: `0 0 31 2 *` never occurs",
            "jobs.toml:16:11: jobs.two.enabled: true or false is expected, not the string \"yes\"",
            "jobs.toml:17:7: jobs.Three: `Three` is not an id",
            "jobs.toml:20:2: color: unknown key `color`; known keys: server, log, state,",
        ],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn problems_between_keys_and_sections_are_found() {
    for (declaration, expected) in [
        (
            "[jobs.a]\nschedule = \"@daily\"\nsql = { statement = \"DELETE FROM sessions\", tables = [] }\n",
            "jobs.a.sql.tables: the list is empty",
        ),
        (
            "[jobs.a]\nschedule = \"@daily\"\noverdue_backups = {}\nsql = { statement = \"DELETE FROM sessions\", tables = [\"sessions\"] }\n",
            "jobs.a.sql: the job has more than one kind: sql, overdue_backups",
        ),
        (
            "[jobs.a]\noverdue_backups = {}\n",
            "jobs.a.schedule: this key is missing",
        ),
        (
            &format!("{ONE_JOB}[jobs.b]\nschedule = []\noverdue_backups = {{}}\n"),
            "jobs.b.schedule: the list of cron expressions is empty",
        ),
        (
            "[defaults]\ndatabase = \"x\"\n",
            "defaults.database: no database `x` is declared; declared databases: duplistatus",
        ),
        (
            &format!("[databases.a]\npath = \"a\"\n[databases.b]\npath = \"b\"\n{ONE_JOB}"),
            "jobs.tidy: it names no database, and there are several: a, b; `database` here or `defaults.database`",
        ),
        (
            &ONE_JOB.replace("[jobs.tidy]", "[jobs.tidy]\ndatabase = \"y\""),
            "jobs.tidy.database: no database `y` is declared",
        ),
        (
            &ONE_JOB.replace("datetime('now')", ":cutof"),
            "jobs.tidy.cleanup.where: `cutof` is not a parameter; the parameters are now, scheduled_at, job",
        ),
        (
            &ONE_JOB.replace("datetime('now')", ":cutoff"),
            "jobs.tidy.cleanup.where: `cutoff` has no value: `retention` is missing",
        ),
        (
            &ONE_JOB.replace("expires_at <", "expires_at << <"),
            "jobs.tidy.cleanup.where: the SQL does not compile: near",
        ),
        (
            &ONE_JOB.replace("expires_at", "expired_at"),
            "jobs.tidy.cleanup.where: the SQL does not compile: no such column: expired_at",
        ),
        (
            &ONE_JOB.replace("\"sessions\"", "\"session\""),
            "jobs.tidy.cleanup.delete_from: the database has no table `session`; did you mean `sessions`?",
        ),
        (
            &ONE_JOB.replace("\"sessions\"", "\"a; drop\""),
            "jobs.tidy.cleanup.delete_from: `a; drop` is not a name of a table",
        ),
        (
            &ONE_JOB.replace("'now')\"", "'now'); DROP TABLE users\""),
            "jobs.tidy.cleanup.where: `;` ends a statement; a condition alone is expected here",
        ),
        (
            &format!("{ONE_JOB}message = \"{{row}} gone\"\n"),
            "jobs.tidy.cleanup.message: `row` is not a parameter",
        ),
        (
            &format!("{ONE_JOB}retention = \"7d\"\nretention_range = [\"30d\", \"90d\"]\n"),
            "jobs.tidy.cleanup.retention: 7d is outside",
        ),
        (
            &format!("{ONE_JOB}retention_range = [\"9d\", \"3d\"]\n"),
            "jobs.tidy.cleanup.retention_range: the range ends before it begins",
        ),
        (
            &format!("{ONE_JOB}retention_range = [\"9d\"]\n"),
            "jobs.tidy.cleanup.retention_range: a list of two is expected",
        ),
        (
            &format!("{ONE_JOB}retention_setting = \"days\"\n"),
            "jobs.tidy.cleanup.retention_setting: `retention` is missing",
        ),
        (
            &format!("{ONE_JOB}record = {{ insert_into = \"audit_log\", values = {{ nothing = 1 }} }}\n"),
            "jobs.tidy.cleanup.record: the SQL does not compile: table audit_log has no column named nothing",
        ),
        (
            &ONE_JOB.replace("expires_at < datetime('now')", " "),
            "jobs.tidy.cleanup.where: it is empty",
        ),
        (
            &format!("{}retention = \"9\"\n", ONE_JOB.replace("datetime('now')", ":cutoff")),
            "jobs.tidy.cleanup.retention: `9` is not a duration",
        ),
        (
            &ONE_JOB.replace("datetime('now')", "@cutoff"),
            "jobs.tidy.cleanup.where: `@cutoff` is not a parameter",
        ),
        (
            &ONE_JOB.replace("datetime('now')", "?"),
            "jobs.tidy.cleanup.where: `?` is not a parameter",
        ),
        (
            "[jobs.a]\nschedule = \"@daily\"\nsql = { statement = \"SELECT 1\", tables = [\"sessions\"] }\n",
            "jobs.a.sql.statement: the SQL begins with `SELECT`; one of DELETE, UPDATE",
        ),
        (
            "[jobs.a]\nschedule = \"@daily\"\nsql = { statement = \" -- nothing\", tables = [\"sessions\"] }\n",
            "jobs.a.sql.statement: the SQL is empty; one of DELETE, UPDATE",
        ),
        (
            "[server]\ntoken_file = \"nothing\"\n",
            "server.token_file: nothing cannot be read",
        ),
    ] {
        refused(declaration, &[expected]);
    }
}

#[test]
fn every_syntax_error_is_told_with_its_place() {
    refused(
        "[server]\nport = = 1\n[state\npath = \"x\n",
        &["jobs.toml:2:8: ", "jobs.toml:2:10: ", "jobs.toml:3:7: "],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Workplace::new();
    for (name, why) in [
        ("none.toml", "none.toml: cannot be read: No such file"),
        ("data", "data: cannot be read: it is a folder, not a file"),
    ] {
        let (code, text) = crate::support::workplace::printed(&place.run(&["validate", name]));
        assert_eq!(code, 2);
        assert!(text.contains(why), "{text}");
    }
    std::fs::write(place.file("latin.toml"), b"# \xe4\n").unwrap();
    let (code, text) = crate::support::workplace::printed(&place.run(&["validate", "latin.toml"]));
    assert_eq!(
        (code, text.contains("latin.toml: cannot be read: it is not UTF-8 text")),
        (2, true),
        "{text}"
    );
}

#[test]
fn a_broken_declaration_stops_a_start_with_every_problem() {
    let place = Workplace::with_jobs("[jobs.a]\n[jobs.b]\nschedule = \"x\"\n");
    let (code, text) = crate::support::workplace::printed(&place.run(&["--port", "0"]));
    assert_eq!(code, 2);
    assert!(
        text.contains("jobs.a: the job has no kind") && text.contains("jobs.b.schedule") && text.contains("4 errors"),
        "{text}"
    );
}

#[test]
fn a_start_goes_on_without_a_table_that_validate_and_reload_ask_for() {
    let place = Workplace::with_jobs(&ONE_JOB.replace("\"sessions\"", "\"not_yet\""));
    assert_eq!(place.run(&["validate"]).status.code(), Some(2));
    let service = place.start();
    let health = service.health();
    assert_eq!(health["status"], "degraded");
    assert!(
        health["reasons"][0]
            .as_str()
            .unwrap()
            .contains("the database has no table `not_yet`"),
        "{health}"
    );
    assert_eq!(service.post("/reload-config").0, 422);
    place
        .database()
        .execute_batch("CREATE TABLE not_yet (expires_at TEXT)")
        .unwrap();
    assert_eq!(service.post("/trigger/tidy").1["success"], true);
    assert_eq!(service.post("/reload-config").0, 200);
}

#[test]
fn problems_can_be_had_by_programs() {
    let place = Workplace::with_jobs("[server]\nprot = 1\n");
    let output = place.run(&["validate", "--format", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let body: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = &body["problems"][0];
    assert_eq!(body["valid"], false);
    assert_eq!(
        (&problem["path"], &problem["severity"]),
        (&Value::from("server.prot"), &Value::from("error"))
    );
    assert_eq!(
        (&problem["place"]["line"], &problem["place"]["column"]),
        (&Value::from(2), &Value::from(1))
    );
}
