//! Declared expectations of backups, and what `plan` says of each backup.

use serde_json::{Value, json};

use crate::support::receivers::Ntfy;
use crate::support::workplace::printed;
use crate::support::{Service, Workplace};

const CHECK: &str = "/trigger/overdue-backup-check";
/// A job that checks every day in UTC; what is expected follows.
const JOB: &str = "[jobs.overdue-backup-check]\nschedule = \"@daily\"\n[jobs.overdue-backup-check.overdue_backups]\n";

/// Backups of two servers, the newest of each a day old at noon of 20 November.
fn place(ntfy_port: u16) -> Workplace {
    let place = Workplace::new();
    let server = |id: &str, name: &str| json!({"id": id, "name": name, "alias": "", "note": "", "server_url": ""});
    let mut backups = Vec::new();
    for day in 10..20 {
        backups.push(json!(["a", "Files", format!("2026-11-{day}T05:30:00.000Z")]));
        backups.push(json!(["b", "Mail", format!("2026-11-{day}T11:00:00.000Z")]));
    }
    place.fill(&json!({
        "configurations": { "ntfy_config": {"url": format!("http://127.0.0.1:{ntfy_port}"), "topic": "own", "accessToken": ""} },
        "servers": [server("a", "office-1"), server("b", "home")], "backups": backups, "audit_log": [],
    }));
    // The application expects them at another time of day than they come.
    let entry = |time: &str| json!({"expectedInterval": "1D", "overdueBackupCheckEnabled": true, "time": time});
    let settings = json!({"a:Files": entry("2026-11-09T14:00:00.000Z"), "b:Mail": entry("2026-11-09T11:00:00.000Z")});
    place.set("backup_settings", &settings.to_string());
    place
}

fn declare(place: &Workplace, port: u16, rest: &str) {
    let target = format!("[notifications.phone]\nntfy = {{ url = \"http://127.0.0.1:{port}\", topic = \"phone\" }}\n");
    place.write("jobs.toml", &format!("{target}{JOB}{rest}"));
}

fn overdue(service: &Service) -> Value {
    let (status, body) = service.post(CHECK);
    assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    body["statistics"].clone()
}

#[test]
fn a_declared_schedule_wins_over_the_applications_settings() {
    let ntfy = Ntfy::start(200);
    for (expect, now, found, topic) in [
        // By the application's settings, Files is expected at 14:00 of the day before.
        ("", "12:30", 1, "own"),
        (
            "expect.office = { server = \"office-*\", schedule = \"0 5 * * *\", tolerance = \"1h\" }",
            "05:59",
            0,
            "",
        ),
        (
            "expect.office = { server = \"office-*\", schedule = \"0 5 * * *\", tolerance = \"1h\" }",
            "06:01",
            1,
            "own",
        ),
        (
            "expect.office = { server = \"a\", backup = \"F*\", interval = \"1d\", tolerance = \"10m\", notify = [\"phone\"] }",
            "05:41",
            1,
            "phone",
        ),
        (
            "expect.office = { server = \"office-*\", schedule = \"0 5 * * *\", tolerance = \"1h\", enabled = false }",
            "06:01",
            0,
            "",
        ),
        // 6:00 in Berlin is 5:00 in UTC; 6:00 in UTC would have been missed the day before.
        (
            "expect.office = { backup = \"Files\", schedule = \"0 6 * * *\", time_zone = \"Europe/Berlin\", tolerance = \"1h\" }",
            "05:59",
            0,
            "",
        ),
        (
            "channels = [\"phone\"]\nexpect.office = { backup = \"Files\", interval = \"1d\", tolerance = \"1h\" }",
            "06:31",
            1,
            "phone",
        ),
        (
            "channels = []\nexpect.office = { backup = \"Files\", interval = \"1d\", tolerance = \"1h\" }",
            "06:31",
            1,
            "",
        ),
    ] {
        let place = place(ntfy.port);
        declare(&place, ntfy.port, expect);
        let before = ntfy.received().len();
        let settings = place.setting("backup_settings");
        let service = place.service().at(&format!("2026-11-20 {now}:00")).start();
        let statistics = overdue(&service);
        assert_eq!(statistics["overdueBackupsFound"], found, "{expect} at {now}");
        let told = ntfy.in_order().split_off(before);
        assert_eq!(told.len(), usize::from(!topic.is_empty()), "{expect}: {told:?}");
        if let Some(message) = told.first() {
            assert!(
                message["path"].as_str().unwrap().starts_with(&format!("/{topic}?")),
                "{message}"
            );
        }
        let of_b = |text: Option<String>| -> Value {
            serde_json::from_str::<Value>(&text.unwrap()).unwrap()["b:Mail"]["expectedInterval"].clone()
        };
        assert_eq!(of_b(place.setting("backup_settings")), of_b(settings));
    }
}

#[test]
fn two_expectations_of_one_backup_and_one_of_none_are_warnings() {
    let place = place(1);
    declare(
        &place,
        1,
        "expect.first = { backup = \"Files\", interval = \"1d\" }\nexpect.second = { server = \"office-?\", interval = \"2d\" }\nexpect.none = { server = \"cellar\", interval = \"2d\" }\n",
    );
    let (code, text) = printed(&place.run(&["validate"]));
    assert_eq!(code, 0, "{text}");
    for warning in [
        "Files of office-1 is matched by the expectations first and second; first applies",
        "expectation `none` matches no known backup",
    ] {
        assert!(text.contains(warning), "{text}");
    }
    let service = place.start();
    overdue(&service);
    let reasons = service.health()["reasons"].to_string();
    assert!(reasons.contains("first and second"), "{reasons}");
}

#[test]
fn an_expectation_that_says_nothing_or_too_much_is_refused() {
    let place = Workplace::new();
    let (code, text) = place.validate(&format!(
        "{JOB}channels = [\"nobody\"]\nexpect.a = {{ server = \"x\" }}\nexpect.b = {{ schedule = \"@daily\", interval = \"1d\" }}\n\
         expect.c = {{ interval = \"1d\", time_zone = \"UTC\", notify = [\"nobody\"] }}\nexpect.d = {{ server = \"[\", interval = \"1d\" }}\n"
    ));
    assert_eq!(code, 2);
    // A value that is not a pattern is told first; the rules between keys follow once it is fixed.
    assert!(text.contains("expect.d.server: `[` is not a name pattern"), "{text}");
    let (_, text) = place.validate(&format!(
        "{JOB}channels = [\"nobody\"]\nexpect.a = {{ server = \"x\" }}\nexpect.b = {{ schedule = \"@daily\", interval = \"1d\" }}\n\
         expect.c = {{ interval = \"1d\", time_zone = \"UTC\", notify = [\"nobody\"] }}\n"
    ));
    for problem in [
        "overdue_backups.channels: no target `nobody` is declared",
        "expect.a: one of `schedule` and `interval` is expected",
        "expect.b.interval: there is a `schedule` already",
        "expect.c.time_zone: an `interval` has no zone",
        "expect.c.notify: no target `nobody` is declared",
    ] {
        assert!(text.contains(problem), "{problem}: {text}");
    }
}

#[test]
fn plan_tells_of_every_backup_where_it_stands_and_changes_nothing() {
    let place = place(1);
    declare(
        &place,
        1,
        "expect.home = { server = \"home\", interval = \"12h\", tolerance = \"1h\", notify = [\"phone\"] }\n",
    );
    let before = std::fs::read(place.file("data/backups.db")).unwrap();
    let mut command = place.service().at("2026-11-20 12:30:00").into_command();
    let (code, text) = printed(&command.args(["plan", "overdue-backup-check"]).output().unwrap());
    assert_eq!(code, 0, "{text}");
    for line in [
        "overdue   home / Mail: last 2026-11-19T11:00:00.000Z, expected 2026-11-19T23:00:00.000Z (expect.home), told at 2026-11-20T12:30:00",
        "overdue   office-1 / Files: last 2026-11-19T05:30:00.000Z, expected 2026-11-19T14:00:00.000Z (application settings), \
         told at 2026-11-20T12:30:00",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(
        text.contains("by NTFY; usually arrives 05:30, expected 14:00\n"),
        "{text}"
    );
    assert!(text.contains("by phone\n"), "twice a day has no usual time: {text}");
    assert_eq!(std::fs::read(place.file("data/backups.db")).unwrap(), before);
    let mut command = place.service().at("2026-11-20 12:30:00").into_command();
    let output = command
        .args(["plan", "overdue-backup-check", "--format", "json"])
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        json["overdue-backup-check"]["backups"][0]["verdict"], "overdue",
        "{json}"
    );
    assert_eq!(json["overdue-backup-check"]["backups"][0]["channels"], json!(["phone"]));
}
