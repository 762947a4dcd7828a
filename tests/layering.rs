//! Which source wins: built-in < jobs.toml < database rows < environment < command line; and what is said of a
//! source that is invalid.

use serde_json::Value;

use crate::support::workplace::{ONE_JOB, printed};
use crate::support::{Service, Workplace};

fn schedule_of(service: &Service, job: &str) -> String {
    let jobs = service.get("/api/schedules").1["jobs"].clone();
    let job = jobs
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["id"] == job)
        .unwrap();
    job["schedule"].as_str().unwrap().to_owned()
}

#[test]
fn later_sources_win_value_by_value() {
    let place = Workplace::with_jobs(ONE_JOB);
    assert_eq!(schedule_of(&place.start(), "tidy"), "0 0 1 1 *");
    place.set("cron_service", r#"{"tasks":{"tidy":{"cronExpression":"1   1 1 1 *"}}}"#);
    assert_eq!(schedule_of(&place.start(), "tidy"), "1 1 1 1 *");
    place.set(
        "cron_overrides",
        r#"{"jobs":{"tidy":{"schedule":["2 2 1 1 *","3 3 1 1 *"]}}}"#,
    );
    assert_eq!(schedule_of(&place.start(), "tidy"), "2 2 1 1 * | 3 3 1 1 *");
    let service = place.service().env("CRON_JOBS__TIDY__SCHEDULE", "4 4 1 1 *").start();
    assert_eq!(schedule_of(&service, "tidy"), "4 4 1 1 *");
}

#[test]
fn the_port_comes_from_the_right_place() {
    let place = Workplace::new();
    let port = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.command();
        // A client looks for the service where the service would be.
        let output = command
            .args(arguments)
            .arg("health")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let (code, text) = printed(&output);
        assert_eq!(code, 3, "nothing answers there: {text}");
        text.split("127.0.0.1:")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse::<u16>()
            .unwrap()
    };
    assert_eq!(port(&[], &[]), 9667);
    assert_eq!(port(&["--dev"], &[]), 8667);
    assert_eq!(port(&["--local"], &[]), 8667);
    place.write("jobs.toml", "[server]\nport = 4001\n");
    assert_eq!(port(&[], &[]), 4001);
    place.set("cron_service", r#"{"port":4002}"#);
    assert_eq!(port(&[], &[]), 4002);
    assert_eq!(port(&["--dev"], &[]), 8667);
    assert_eq!(port(&["--dev"], &[("PORT", "4002")]), 4003);
    assert_eq!(port(&["--dev"], &[("PORT", "4002"), ("CRON_PORT", "4004")]), 4004);
    assert_eq!(port(&[], &[("CRON_SERVER__PORT", "4005")]), 4005);
    assert_eq!(port(&[], &[("CRON_SERVER__PORT", "4005"), ("PORT", "4002")]), 4005);
    assert_eq!(port(&[], &[("CRON_SERVER__PORT", "4005"), ("CRON_PORT", "4004")]), 4004);
    assert_eq!(port(&["--port", "4006"], &[("CRON_PORT", "4004")]), 4006);
    assert_eq!(
        port(&[], &[("CRON_PORT", "tcp://10.0.0.1:8667"), ("PORT", "4006")]),
        4007
    );
}

#[test]
fn variables_are_read_as_what_their_keys_want() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place
        .service()
        .env("CRON_JOBS__TIDY__ENABLED", "false")
        .env("CRON_JOBS__TIDY__DESCRIPTION", "12345678")
        .env("CRON_SERVER__ALLOWED_HOSTS", "[\"cron\"]")
        .env("CRON_DEFAULTS__TIME_ZONE", "Asia/Tokyo")
        .start();
    let job = service.get("/api/schedules").1["jobs"][0].clone();
    assert_eq!(
        (&job["enabled"], &job["description"]),
        (&Value::from(false), &Value::from("12345678"))
    );
    assert_eq!(job["time_zone"], "Asia/Tokyo");
    assert_eq!(service.call("GET", "/health", &[("Host", "cron")]).0, 200);
}

#[test]
fn a_variable_that_does_not_parse_is_named() {
    let place = Workplace::new();
    for (name, value, why) in [
        ("CRON_PORT", "high", "environment: CRON_PORT: `high` is not a port"),
        ("CRON_PORT", "", "environment: CRON_PORT: `` is not a port"),
        (
            "PORT",
            "65535",
            "environment: PORT: `65535` is not a port with one after it",
        ),
        (
            "CRON_SERVER__PORT",
            "99999",
            "environment: CRON_SERVER__PORT: a whole number from 0 to 65535 is expected, not 99999",
        ),
        (
            "CRON_SERVER__ALLOW_ANONYMOUS",
            "yes",
            "environment: CRON_SERVER__ALLOW_ANONYMOUS: true or false is expected, not the string \"yes\"",
        ),
        (
            "CRON_SERVER__COLOR",
            "red",
            "environment: CRON_SERVER__COLOR: unknown key `color`",
        ),
        (
            "CRON_JOBS__NOPE__ENABLED",
            "true",
            "environment: CRON_JOBS__NOPE__ENABLED: no id in [jobs] matches `NOPE`; declared ids: audit-log-cleanup",
        ),
        (
            "CRON_JOBS__SESSION_CLEANUP",
            "true",
            "environment: CRON_JOBS__SESSION_CLEANUP: the key is missing after the id",
        ),
        (
            "CRON_JOBS__SESSION_CLEANUP__SCHEDULE",
            "never",
            "environment: CRON_JOBS__SESSION_CLEANUP__SCHEDULE: `never` is not a cron expression",
        ),
    ] {
        let output = place.command().arg("validate").env(name, value).output().unwrap();
        let (code, text) = printed(&output);
        assert_eq!(code, 2, "{name}={value}\n{text}");
        assert!(text.contains(why), "{name}={value}\n{text}");
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    let place = Workplace::new();
    let output = place
        .command()
        .arg("validate")
        .envs([
            ("CRON_SERVICE_URL", "http://localhost:9667"),
            ("CRON_SERVICE_HOST", "10.0.0.1"),
            ("CRON_PORT", "tcp://10.0.0.1:8667"),
        ])
        .output()
        .unwrap();
    let (code, text) = printed(&output);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("warning: environment: CRON_PORT: `tcp://10.0.0.1:8667` is the address of a Kubernetes service"),
        "{text}"
    );
    assert!(!text.contains("CRON_SERVICE"), "{text}");
}

#[test]
fn broken_values_of_a_row_are_ignored_one_by_one() {
    let place = Workplace::new();
    place.set(
        "cron_service",
        r#"{"port":"high","tasks":{
            "audit-log-cleanup":{"cronExpression":"not at all","enabled":false},
            "session-cleanup":{"cronExpression":"5 5 * * *","enabled":"maybe"},
            "overdue-backup-check":7,
            "of-another-version":{"cronExpression":"* * * * *"}}}"#,
    );
    place.set("cron_overrides", r#"{"jobs":{"session-cleanup":{"color":"red","timeout":"1m","sql":{"statement":"DELETE FROM users","tables":["users"]}},"nope":{}},"server":{"host":"0.0.0.0"}}"#);
    let (code, text) = printed(&place.run(&["validate"]));
    assert!(
        code == 0 && text.contains("configurations.cron_service: port: a whole number"),
        "{text}"
    );
    let service = place.start();
    let (status, health) = service.get("/health");
    assert_eq!(status, 200);
    let reasons = health["reasons"].to_string();
    for expected in [
        "configurations.cron_service: tasks.audit-log-cleanup.cronExpression: `not at all` is not a cron expression",
        "configurations.cron_service: tasks.session-cleanup.enabled: true or false is expected",
        "configurations.cron_service: `tasks.overdue-backup-check` is not a table",
        "configurations.cron_overrides: jobs.session-cleanup.color: unknown key `color`",
        "configurations.cron_overrides: jobs.session-cleanup.sql: the job has more than one kind",
        "configurations.cron_overrides: `server` cannot be overridden from the database",
    ] {
        assert!(reasons.contains(expected), "{expected}\n{reasons}");
    }
    assert!(
        health["config"]["problems"]
            .to_string()
            .contains("no job `of-another-version` is declared")
    );
    let active = health["activeTasks"].as_array().unwrap();
    assert_eq!(
        active,
        &["overdue-backup-check", "session-cleanup"],
        "what is good in a row applies"
    );
    assert_eq!(schedule_of(&service, "session-cleanup"), "5 5 * * *");
    assert_eq!(schedule_of(&service, "audit-log-cleanup"), "0 2 * * *");
}

#[test]
fn a_row_that_is_no_json_is_told_and_left_as_it_is() {
    for (text, why) in [
        ("{broken", "it is not JSON"),
        ("[1]", "it is not a JSON object"),
        ("\"text\"", "it is not a JSON object"),
    ] {
        let place = Workplace::new();
        place.set("cron_service", text);
        let service = place.start();
        let reasons = service.health()["reasons"].to_string();
        assert!(
            reasons.contains(&format!("configurations.cron_service: {why}")),
            "{reasons}"
        );
        assert_eq!(place.setting("cron_service").as_deref(), Some(text));
    }
}

#[test]
fn a_row_that_spoils_a_job_is_ignored_for_that_job() {
    for (row, value, of_row) in [
        (
            "cron_overrides",
            r#"{"jobs":{"audit-log-cleanup":{"cleanup":{"retention":null}}}}"#,
            "`jobs.audit-log-cleanup.cleanup.retention` is null",
        ),
        (
            "cron_overrides",
            r#"{"jobs":{"audit-log-cleanup":{"cleanup":{"retention_range":["100d","365d"]}}}}"#,
            "jobs.audit-log-cleanup: it does not fit the declaration",
        ),
        (
            "cron_overrides",
            r#"{"jobs":{"audit-log-cleanup":{"cleanup":{"where":"no_such < :cutoff"}}}}"#,
            "jobs.audit-log-cleanup.cleanup.where: the SQL does not compile",
        ),
        (
            "cron_service",
            r#"{"tasks":{"host-metrics-cleanup":{"enabled":true}}}"#,
            "it does not fit the declaration: jobs.host-metrics-cleanup.sql.statement",
        ),
        (
            "cron_service",
            r#"{"tasks":{"host-metrics-cleanup":{"enabled":null}}}"#,
            "`tasks.host-metrics-cleanup.enabled` is null",
        ),
        ("cron_service", r#"{"port":0}"#, "`port` must not be 0"),
    ] {
        let place = Workplace::new();
        place.set(row, value);
        let (code, text) = printed(&place.run(&["validate"]));
        assert_eq!(code, 0, "{value}\n{text}");
        assert!(
            text.contains(&format!("warning: database row configurations.{row}")) && text.contains(of_row),
            "{value}\n{text}"
        );
        let service = place.start();
        assert_eq!(service.post("/reload-config").0, 200, "{value}");
        let active = service.health()["activeTasks"].clone();
        assert_eq!(
            active,
            serde_json::json!(["overdue-backup-check", "audit-log-cleanup", "session-cleanup"]),
            "{value}"
        );
    }
}
