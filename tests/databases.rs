//! The application's database missing, foreign, damaged or read-only: clear words, no crash, and all is well once
//! it is there.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use serde_json::json;

use crate::support::{Service, Workplace, eventually};

fn trigger(service: &Service) -> String {
    let (status, body) = service.post("/trigger/session-cleanup");
    assert_eq!((status, &body["success"]), (200, &json!(false)));
    body["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_missing_database_is_told_and_all_is_well_once_it_appears() {
    let place = Workplace::empty();
    let service = place.start();
    let health = service.health();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["reasons"], json!(["database data/backups.db does not exist"]));
    assert_eq!(trigger(&service), "database data/backups.db does not exist");
    assert!(!place.file("data/backups.db").exists(), "it is never created by us");

    place.create_database();
    place.set(
        "cron_service",
        r#"{"port":1,"tasks":{"session-cleanup":{"cronExpression":"7 7 * * *","enabled":true}}}"#,
    );
    assert_eq!(service.post("/trigger/session-cleanup").1["success"], true);
    // Its overrides are read by themselves, and the application is told the port.
    let schedule = || {
        service.get("/api/schedules").1["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .any(|job| job["schedule"] == "7 7 * * *")
    };
    eventually("the overrides to apply", || schedule().then_some(()));
    assert!(
        place
            .setting("cron_service")
            .unwrap()
            .contains(&format!("\"port\":{}", service.port))
    );
    eventually("health to be well", || {
        (service.health()["status"] == "ok").then_some(())
    });
}

#[test]
fn what_is_no_database_is_named() {
    for (make, why) in [
        (
            (|place: &Workplace| place.write("data/backups.db", &"no database at all ".repeat(100))) as fn(&Workplace),
            "is not a SQLite database",
        ),
        (
            |place| std::fs::create_dir(place.file("data/backups.db")).unwrap(),
            "is a folder, not a database",
        ),
        (
            |place| place.write("data/backups.db", ""),
            "the database has no table `sessions`",
        ),
        (
            |place| {
                place.create_database();
                place.audit("2020-01-01 00:00:00", "old");
                place.database().pragma_update(None, "journal_mode", "delete").unwrap();
                let mut bytes = std::fs::read(place.file("data/backups.db")).unwrap();
                let end = bytes.len();
                bytes[1024..end].fill(0x5a);
                std::fs::write(place.file("data/backups.db"), bytes).unwrap();
            },
            "is damaged",
        ),
    ] {
        let place = Workplace::empty();
        std::fs::create_dir(place.file("data")).unwrap();
        make(&place);
        let service = place.start();
        let message = trigger(&service);
        assert!(message.contains(why), "{why}: {message}");
        assert_eq!(service.health()["status"], "degraded", "{why}");
    }
}

#[test]
fn a_database_that_cannot_be_written_fails_the_run_in_words() {
    let place = Workplace::new();
    place.database().pragma_update(None, "journal_mode", "delete").unwrap();
    place
        .database()
        .execute("INSERT INTO sessions (id, expires_at) VALUES ('a', '2020-01-01')", [])
        .unwrap();
    let file = place.file("data/backups.db");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o444)).unwrap();
    // The superuser may write everything, and so becomes someone who may write all but this file.
    let mut service = place.service();
    if std::fs::OpenOptions::new().write(true).open(&file).is_ok() {
        const NOBODY: u32 = 65534;
        std::fs::copy(crate::support::workplace::BINARY, place.file("program")).unwrap();
        for folder in [place.path().to_owned(), place.file("data")] {
            std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        service = service.limited("exec setpriv --reuid=65534 --regid=65534 --clear-groups ./program \"$@\"");
    }
    assert!(trigger(&service.start()).contains("cannot be written"));
}

#[test]
fn a_database_locked_by_a_writer_is_waited_for_until_the_timeout() {
    let place =
        Workplace::with_jobs(&crate::support::workplace::ONE_JOB.replace("schedule", "timeout = \"600ms\"\nschedule"));
    let service = place.start();
    let writer = place.database();
    writer
        .execute("INSERT INTO sessions (id, expires_at) VALUES ('a', '2020-01-01')", [])
        .unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (_, body) = service.post("/trigger/tidy");
    assert_eq!(body["success"], false);
    assert!(
        body["message"].as_str().unwrap().contains("timed out after 600ms"),
        "{body}"
    );
    assert_eq!(
        service.get("/api/schedules/executions").1["executions"][0]["status"],
        "timed_out"
    );
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(service.post("/trigger/tidy").1["success"], true);
}

#[test]
fn a_state_that_cannot_be_written_fails_health_and_starts_nothing() {
    let place = Workplace::new();
    std::fs::create_dir(place.file("data/duplistatus-cron.db")).unwrap();
    let service = place.start();
    let (status, health) = service.get("/health");
    assert_eq!((status, &health["status"]), (503, &json!("failing")));
    let reason = "state database data/duplistatus-cron.db is a folder, not a database";
    assert_eq!(health["reasons"], json!([reason]));
    assert_eq!(service.post("/trigger/session-cleanup").0, 503);
    std::fs::remove_dir(place.file("data/duplistatus-cron.db")).unwrap();
    assert_eq!(
        service.post("/trigger/session-cleanup").1["success"],
        true,
        "all is well by itself"
    );
    assert_eq!(service.get("/health").0, 200);
}

#[test]
fn a_state_of_another_program_is_left_alone() {
    let place = Workplace::new();
    Connection::open(place.file("data/duplistatus-cron.db"))
        .unwrap()
        .execute_batch("CREATE TABLE theirs (id)")
        .unwrap();
    let (status, health) = place.start().get("/health");
    assert_eq!(status, 503);
    assert!(
        health["reasons"][0]
            .as_str()
            .unwrap()
            .contains("belongs to another program")
    );
}

#[test]
fn two_services_cannot_share_one_state() {
    let place = Workplace::new();
    let _first = place.start();
    let (code, text) = crate::support::workplace::printed(&place.run(&["--port", "0"]));
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("another duplistatus-cron is already running with data/duplistatus-cron.db"),
        "{text}"
    );
}

#[test]
fn a_database_put_in_the_place_of_another_is_the_one_the_next_run_works_on() {
    let place = Workplace::new();
    let service = place.start();
    let expire = |database: &Connection, id: &str| {
        let sql = "INSERT INTO sessions (id, expires_at) VALUES (?1, '2020-01-02')";
        database.execute(sql, [id]).unwrap();
    };
    let clean_up = || assert_eq!(service.post("/trigger/session-cleanup").1["success"], true);
    expire(&place.database(), "one");
    let copy = place.file("data/copy.db");
    place
        .database()
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    clean_up();
    assert_eq!(place.count("sessions"), 0);
    // Between runs nothing is held: no log is left, and another process may do what needs the file for itself.
    assert!(!place.file("data/backups.db-wal").exists());
    let mode = |mode: &str| place.database().pragma_update(None, "journal_mode", mode);
    mode("delete").and_then(|()| mode("wal")).unwrap();
    // The copy is brought back, as after a mishap.
    std::fs::rename(&copy, place.file("data/backups.db")).unwrap();
    assert_eq!(place.count("sessions"), 1);
    clean_up();
    assert_eq!(place.count("sessions"), 0);
}
