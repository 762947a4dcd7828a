//! What someone meets in the first hours: other applications' databases, overrides, ports, hosts, signals, words.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::workplace::{ONE_JOB, printed};
use crate::support::{Workplace, eventually};

#[test]
fn a_database_without_the_table_of_settings_is_well_and_is_not_read_again_and_again() {
    let place = Workplace::new();
    place.database().execute_batch("DROP TABLE configurations").unwrap();
    place.write("jobs.toml", ONE_JOB);
    let service = place.start();
    let health = service.health();
    assert_eq!(
        (&health["status"], &health["reasons"]),
        (&json!("ok"), &json!([])),
        "{health}"
    );
    // Two looks at an unchanged database later, nothing was loaded.
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(service.health()["config"]["lastReload"], json!(null));
    assert!(
        !service.log().iter().any(|line| line.contains("WARN")),
        "{:?}",
        service.log()
    );
}

#[test]
fn an_edited_row_applies_by_itself_and_a_broken_one_is_told() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.start();
    place.set("cron_overrides", r#"{"jobs":{"tidy":{"schedule":"5 4 * * *"}}}"#);
    let minute = |what: &str, look: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !look() {
            assert!(began.elapsed() < Duration::from_mins(1), "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    minute("the edit", &|| {
        service.get("/api/schedules").1["jobs"][0]["schedule"] == "5 4 * * *"
    });
    place.set("cron_overrides", "broken");
    minute("the broken row", &|| service.health()["status"] == "degraded");
    let health = service.health();
    assert!(
        health["reasons"].to_string().contains("configurations.cron_overrides"),
        "{health}"
    );
    place.set("cron_overrides", "{}");
    minute("the mended row", &|| service.health()["status"] == "ok");
    // Without a token, the rows are asked for by nobody: the service has looked itself.
    assert_eq!(service.health()["config"]["lastReload"]["cause"], "database");
}

#[test]
fn what_is_in_force_can_be_asked_and_overrides_and_stops_stand_in_the_log() {
    let place = Workplace::with_jobs(&format!(
        "{ONE_JOB}[notifications.phone]\nntfy = {{ topic = \"t\", token = \"s3cret-token\" }}\n"
    ));
    place.set("cron_overrides", r#"{"jobs":{"tidy":{"enabled":false}}}"#);
    let service = place.start();
    service.logged("jobs.tidy.enabled = false (database row configurations.cron_overrides)");
    assert_eq!(service.post("/start/tidy").0, 200);
    assert_eq!(service.post("/stop/tidy").0, 200);
    // Another declaration in the folder is not what is in force.
    place.write("jobs.toml", "[jobs.broken]\n");
    let (status, config) = service.get("/api/config");
    assert_eq!(status, 200, "{config}");
    let settings = config["settings"].as_array().unwrap();
    let of = |path: &[&str]| {
        settings
            .iter()
            .find(|setting| setting["path"] == json!(path))
            .cloned()
            .unwrap()
    };
    let enabled = of(&["jobs", "tidy", "enabled"]);
    assert_eq!(
        (
            &enabled["value"],
            enabled["origin"].as_str().unwrap().contains("cron_overrides")
        ),
        (&json!(false), true)
    );
    assert!(!config.to_string().contains("s3cret-token"));
    let port = service.port.to_string();
    let (code, text) = printed(&place.run(&["config", "--running", "--origins", "--port", &port]));
    assert!(
        code == 0 && text.contains("[jobs.tidy]") && text.contains("cron_overrides"),
        "{text}"
    );
    assert!(!text.contains("broken"), "{text}");
    service.terminate();
    place.write("jobs.toml", ONE_JOB);
    place
        .start()
        .logged("stopped by an operator, until started or reloaded: tidy");
}

#[test]
fn a_port_that_has_no_effect_is_told() {
    let place = Workplace::with_jobs(&format!("[server]\nport = 9700\n{ONE_JOB}"));
    place.set("cron_service", r#"{"port":9667}"#);
    let (code, text) = printed(&place.run(&["validate"]));
    assert!(
        code == 0 && text.contains("jobs.toml:2:8: server.port: it has no effect") && text.contains("says 9667"),
        "{text}"
    );
    let output = place
        .command()
        .env("CRON_PORT", "9800")
        .arg("validate")
        .output()
        .unwrap();
    assert!(printed(&output).1.contains("0 warnings"));
}

#[test]
fn a_service_that_is_open_by_will_answers_the_names_of_its_own_network() {
    let place = Workplace::with_jobs(&format!(
        "[server]\nhost = \"0.0.0.0\"\nallow_anonymous = true\n{ONE_JOB}"
    ));
    let service = place.start();
    for (host, status) in [("cron:9667", 200), ("192.0.2.7:9667", 200), ("evil.example", 403)] {
        assert_eq!(service.call("GET", "/health", &[("Host", host)]).0, status, "{host}");
    }
}

#[test]
fn an_orderly_end_says_nothing_more_and_leaves_nothing_behind_nor_does_a_kill() {
    let place = Workplace::new();
    let before = |place: &Workplace| -> Vec<_> {
        let entries = std::fs::read_dir(place.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let names = before(&place);
    for _ in 0..10 {
        let mut service = place.start();
        service.health();
        service.signal("TERM");
        service.wait();
        let log = eventually("the last line", || {
            let log = service.log();
            log.iter().any(|line| line.contains("ended")).then_some(log)
        });
        assert!(!log.iter().any(|line| line.contains("WARN")), "{log:?}");
    }
    place.start().kill();
    assert_eq!(before(&place), names);
}

#[test]
fn it_starts_where_no_temporary_file_can_be_made() {
    let place = Workplace::new();
    let service = place.service().env("TMPDIR", "/nowhere/at/all").start();
    assert_eq!(service.health()["status"], "ok");
}

#[test]
fn each_key_of_retry_is_inherited_by_itself() {
    let place = Workplace::new();
    let (code, text) = place.validate(&ONE_JOB.replace("schedule", "retry = { max_attempts = 5 }\nschedule"));
    assert_eq!(code, 0, "{text}");
}

#[test]
fn several_databases_need_no_default_where_every_job_names_its_own() {
    let place = Workplace::new();
    let declaration = format!(
        "[databases.a]\npath = \"data/backups.db\"\n[databases.b]\npath = \"data/backups.db\"\n{}",
        ONE_JOB.replace("schedule", "database = \"b\"\nschedule")
    );
    let (code, text) = place.validate(&declaration);
    assert_eq!(code, 0, "{text}");
    let service = place.start();
    assert_eq!(service.post("/trigger/tidy").1["success"], true);
    assert_eq!(service.health()["status"], "ok");
    let target = format!("{declaration}[notifications.app]\nduplistatus = {{}}\n");
    let (code, text) = place.validate(&target);
    assert!(
        code == 2 && text.contains("`defaults.database` must name the application's"),
        "{text}"
    );
}

#[test]
fn the_clients_say_what_would_help() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.service().env("CRON_TOKEN", "s3cret-token").start();
    let port = service.port.to_string();
    let (code, text) = printed(&place.run(&["trigger", "tidy", "--port", &port]));
    assert!(code == 1 && text.contains("requires a token; set CRON_TOKEN"), "{text}");
    let (code, text) = printed(&place.run(&["--config", "typo.toml", "health"]));
    assert!(code == 2 && text.contains("typo.toml cannot be read"), "{text}");
    let (_, text) = printed(&place.run(&["overrides", "list"]));
    assert_eq!(text, "nothing is overridden\n");
    let (code, text) = printed(&place.run(&["next", "tidy", "--from", "2026-03-28", "-n", "1"]));
    assert!(code == 0 && text.contains("2027-01-01"), "{text}");
    for command in ["schema", "init"] {
        let (_, text) = printed(&place.run(&[command, "--help"]));
        assert!(
            !text.contains("--port") && !text.contains("--dev") && !text.contains("--local"),
            "{text}"
        );
    }
}

#[test]
fn a_refused_reload_says_which_problems() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.start();
    place.write("jobs.toml", &ONE_JOB.replace("\"sessions\"", "\"session\""));
    assert_eq!(service.post("/reload-config").0, 422);
    let health = service.health();
    let reason = health["reasons"].to_string();
    assert!(reason.contains("did you mean `sessions`?"), "{reason}");
}

#[test]
fn a_lock_cannot_be_deleted_and_a_foreign_database_stays_as_it_is() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.start();
    // Whatever lies beside the state may go.
    let _ = std::fs::remove_file(place.file("data/duplistatus-cron.db.lock"));
    let (code, text) = printed(&place.run(&["run", "--port", "0"]));
    assert!(
        code == 1 && text.contains("another duplistatus-cron is already running"),
        "{text}"
    );
    service.terminate();
    let foreign = rusqlite::Connection::open(place.file("data/other.db")).unwrap();
    foreign.execute_batch("CREATE TABLE things (id)").unwrap();
    place.write("jobs.toml", &format!("[state]\npath = \"data/other.db\"\n{ONE_JOB}"));
    let service = place.start();
    assert!(
        service.health()["reasons"]
            .to_string()
            .contains("belongs to another program")
    );
    let mode: String = foreign
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete");
}

#[test]
fn the_last_year_there_is_ends_nothing() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.service().at("9999-12-30 23:00:00").start();
    assert_eq!(service.health()["isRunning"], true);
    service.post("/trigger/tidy");
    assert!(
        !service.log().iter().any(|line| line.contains("panic")),
        "{:?}",
        service.log()
    );
    assert_eq!(service.terminate().code(), Some(0));
}

#[test]
fn what_rows_hold_cannot_steer_a_terminal() {
    let place = Workplace::new();
    place
        .database()
        .execute(
            "INSERT INTO sessions (id, expires_at) VALUES ('\u{1b}[31mred', '2020\u{1b}[2J')",
            [],
        )
        .unwrap();
    place.write(
        "jobs.toml",
        "[notifications.l]\nlog = {}\n[jobs.a]\nschedule = \"@daily\"\nalert = { query = \"SELECT id FROM sessions\", tables = [\"sessions\"], message = \"{id}\", notify = [\"l\"] }\n\
         [jobs.b]\nschedule = \"@daily\"\ncleanup = { delete_from = \"sessions\", where = \"expires_at < datetime('now')\" }\n",
    );
    for command in ["plan", "validate"] {
        let (_, text) = printed(&place.run(&[command]));
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn a_zone_of_a_hundred_thousand_characters_is_refused_in_few_words() {
    let place = Workplace::new();
    let (code, text) = place.validate(&ONE_JOB.replace(
        "schedule",
        &format!("time_zone = \"{}\"\nschedule", "x".repeat(100_000)),
    ));
    assert!(
        code == 2 && text.contains("is not a time zone") && text.len() < 2000,
        "{} characters",
        text.len()
    );
}

#[test]
fn a_declaration_that_is_gone_for_a_moment_does_not_give_way_to_the_one_built_in() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.start();
    std::fs::rename(place.file("jobs.toml"), place.file("elsewhere.toml")).unwrap();
    let (status, body) = service.post("/reload-config");
    assert!(
        status == 422 && body["problems"].to_string().contains("cannot be read"),
        "{body}"
    );
    let jobs = service.get("/api/schedules").1;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "{jobs}");
    std::fs::rename(place.file("elsewhere.toml"), place.file("jobs.toml")).unwrap();
    assert_eq!(service.post("/reload-config").0, 200);
    assert_eq!(service.health()["status"], "ok");
}
