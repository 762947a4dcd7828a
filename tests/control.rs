//! The HTTP contract beyond the recordings: start and stop, triggers, schedules, executions, health.

use serde_json::{Value, json};

use crate::support::{Service, Workplace, eventually};

/// A statement that runs for as long as it is let: it counts to a number it never reaches.
const ENDLESS: &str = r#"
[jobs.endless]
schedule = "0 0 1 1 *"
timeout = "1h"
[jobs.endless.sql]
statement = "DELETE FROM sessions WHERE id IN (SELECT count(*) FROM json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') a, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') b, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') c)"
tables = ["sessions"]
"#;

fn active(service: &Service) -> Vec<String> {
    serde_json::from_value(service.health()["activeTasks"].clone()).unwrap()
}

#[test]
fn starting_twice_and_stopping_once_leaves_nothing_running() {
    let place = Workplace::with_jobs(
        "[jobs.often]\nschedule = \"* * * * * *\"\nenabled = false\n[jobs.often.cleanup]\ndelete_from = \"sessions\"\nwhere = \"false\"\n",
    );
    let service = place.start();
    assert_eq!(active(&service), Vec::<String>::new());
    assert_eq!(
        (service.post("/start/often").0, service.post("/start/often").0),
        (200, 200)
    );
    assert_eq!(active(&service), ["often"]);
    let total = || service.get("/api/schedules/executions").1["total"].as_i64().unwrap();
    eventually("a run by schedule", || (total() >= 2).then_some(()));
    let executions = service.get("/api/schedules/executions?trigger=schedule&limit=1000").1;
    let mut times: Vec<&str> = executions["executions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["scheduled_at"].as_str().unwrap())
        .collect();
    times.dedup();
    assert_eq!(
        times.len() as u64,
        executions["total"].as_u64().unwrap(),
        "one run for each second"
    );
    assert_eq!(service.post("/stop/often").0, 200);
    assert_eq!(
        service.post("/stop/often"),
        (404, json!({ "error": "Task often not found" }))
    );
    assert_eq!(active(&service), Vec::<String>::new());
    let before = total();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(total(), before, "nothing runs after the stop");
}

#[test]
fn a_stop_outlives_the_process_and_a_changed_file_until_a_reload_by_hand() {
    let place = Workplace::with_jobs(crate::support::workplace::ONE_JOB);
    let service = place.start();
    service.post("/stop/tidy");
    service.terminate();
    let service = place.start();
    assert_eq!(active(&service), Vec::<String>::new(), "still stopped after a restart");
    place.write(
        "jobs.toml",
        &crate::support::workplace::ONE_JOB.replace("0 0 1 1 *", "0 1 1 1 *"),
    );
    service.logged("configuration reloaded");
    assert_eq!(
        active(&service),
        Vec::<String>::new(),
        "still stopped after an automatic reload"
    );
    assert_eq!(service.post("/reload-config").0, 200);
    assert_eq!(active(&service), ["tidy"]);
    service.terminate();
    assert_eq!(active(&place.start()), ["tidy"]);
}

#[test]
fn a_job_that_runs_cannot_be_triggered_again() {
    let place = Workplace::with_jobs(ENDLESS);
    let service = place.start();
    let (status, body) = service.post("/trigger/endless?wait=false");
    assert_eq!((status, body["runId"].is_i64()), (202, true), "{body}");
    let (status, body) = service.post("/trigger/endless");
    assert_eq!((status, &body["success"]), (409, &json!(false)), "{body}");
    assert_eq!(service.post("/api/schedules/run/endless").0, 409);
    let schedules = service.get("/api/schedules").1;
    assert_eq!(schedules["jobs"][0]["running"], true);
    assert_eq!(service.get("/api/schedules/executions?status=running").1["total"], 1);
}

#[test]
fn a_disabled_job_can_be_triggered_and_a_stopped_one_too() {
    let place = Workplace::with_jobs(&format!(
        "{}\n",
        crate::support::workplace::ONE_JOB.replace("[jobs.tidy]", "[jobs.tidy]\nenabled = false")
    ));
    let service = place.start();
    assert_eq!(service.post("/trigger/tidy").1["success"], true);
    service.post("/start/tidy");
    service.post("/stop/tidy");
    assert_eq!(service.post("/trigger/tidy").1["success"], true);
    assert_eq!(service.post("/api/schedules/run/tidy").1["status"], "executed");
    assert_eq!(
        service.post("/api/schedules/run/nope"),
        (404, json!({ "detail": "Job not found" }))
    );
}

#[test]
fn schedules_tell_what_is_declared_and_what_is_next() {
    let place = Workplace::new();
    let service = place.service().at("2026-11-20 12:30:00").start();
    let jobs = service.get("/api/schedules").1["jobs"].clone();
    let audit = jobs
        .as_array()
        .unwrap()
        .iter()
        .find(|job| job["id"] == "audit-log-cleanup")
        .unwrap();
    let expected = json!({
        "id": "audit-log-cleanup", "next_run": "2026-11-21T02:00:00.000Z",
        "description": "Deletes audit log entries past their retention",
        "schedule": "0 2 * * *", "time_zone": "UTC", "enabled": true, "active": true, "running": false, "last_run": null,
    });
    assert_eq!(*audit, expected);
    let metrics = jobs
        .as_array()
        .unwrap()
        .iter()
        .find(|job| job["id"] == "host-metrics-cleanup")
        .unwrap();
    assert_eq!(
        (&metrics["enabled"], &metrics["active"], &metrics["next_run"]),
        (&json!(false), &json!(false), &Value::Null)
    );
}

#[test]
fn executions_are_filtered_and_paged_newest_first() {
    let place = Workplace::new();
    // Whatever the time is, none of them runs by itself.
    let tasks: serde_json::Map<_, _> = ["overdue-backup-check", "session-cleanup", "audit-log-cleanup"]
        .into_iter()
        .map(|job| (job.to_owned(), json!({ "enabled": false })))
        .collect();
    place.set("cron_service", &json!({ "tasks": tasks }).to_string());
    let service = place.start();
    for job in ["session-cleanup", "audit-log-cleanup", "session-cleanup"] {
        service.post(&format!("/trigger/{job}"));
    }
    let ask = |query: &str| service.get(&format!("/api/schedules/executions{query}"));
    let (_, all) = ask("");
    assert_eq!(all["total"], 3);
    assert_eq!(all["executions"][0]["id"], 3);
    let keys: Vec<&String> = all["executions"][0].as_object().unwrap().keys().collect();
    let expected = [
        "id",
        "job",
        "trigger",
        "status",
        "scheduled_at",
        "started_at",
        "finished_at",
        "duration_ms",
        "message",
        "error",
        "attempts",
        "statistics",
    ];
    assert_eq!(keys, expected);
    for (query, total, shown) in [
        ("?job=session-cleanup", 2, 2),
        ("?limit=1&offset=1", 3, 1),
        ("?status=success&trigger=manual", 3, 3),
        ("?status=failed", 0, 0),
        ("?trigger=schedule", 0, 0),
        ("?from=2020-01-01T00%3A00%3A00Z&to=2099-01-01T00:00:00Z", 3, 3),
        ("?to=2020-01-01T00:00:00Z", 0, 0),
        ("?limit=0", 3, 0),
        ("?before=3", 2, 2),
    ] {
        let (status, body) = ask(query);
        assert_eq!((status, &body["total"]), (200, &json!(total)), "{query}");
        assert_eq!(body["executions"].as_array().unwrap().len(), shown, "{query}");
    }
    for bad in [
        "?status=done",
        "?trigger=cron",
        "?from=yesterday",
        "?limit=1001",
        "?limit=-1",
        "?offset=x",
        "?before=new",
        "?color=red",
    ] {
        let (status, body) = ask(bad);
        assert_eq!(status, 400, "{bad}");
        let name = &bad[1..bad.find('=').unwrap()];
        assert!(body["error"].as_str().unwrap().contains(name), "{bad}: {body}");
    }
}

#[test]
fn wrong_paths_and_methods_are_told_apart() {
    let place = Workplace::new();
    let service = place.start();
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/trigger/session-cleanup", 405),
        ("POST", "/health", 405),
        ("DELETE", "/api/schedules", 405),
        ("POST", "/trigger/", 404),
        ("POST", "/trigger/a/b", 404),
        ("POST", "/trigger/..%2f", 404),
        ("POST", "/start/UPPER", 404),
    ] {
        assert_eq!(service.call(method, path, &[]).0, status, "{method} {path}");
    }
}

#[test]
fn health_names_what_failed_until_it_succeeds() {
    let place = Workplace::new();
    let service = place.start();
    assert_eq!(service.health()["status"], "ok");
    place.set("audit_retention_days", "7");
    let (status, body) = service.post("/trigger/audit-log-cleanup");
    assert_eq!((status, &body["success"]), (200, &json!(false)));
    let why = "the application's setting audit_retention_days is 7 days, outside 30 to 365 days; nothing was deleted";
    assert_eq!(body["message"], why);
    let health = service.health();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["errors"], json!({ "audit-log-cleanup": why }));
    assert_eq!(health["reasons"], json!([format!("job audit-log-cleanup: {why}")]));
    assert_eq!(health["lastRunTimes"], json!({}), "only a success counts as a run");
    let recorded: (String, String) = place
        .database()
        .query_row(
            "SELECT status, error_message FROM audit_log WHERE action = 'audit_cleanup'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(recorded, ("error".to_owned(), why.to_owned()));
    place.set("audit_retention_days", "30");
    assert_eq!(service.post("/trigger/audit-log-cleanup").1["success"], true);
    let health = service.health();
    assert_eq!((&health["errors"], &health["status"]), (&json!({}), &json!("ok")));
    let last = health["lastRunTimes"]["audit-log-cleanup"].as_str().unwrap();
    assert!(last.len() == 24 && last.ends_with('Z'), "ISO with milliseconds: {last}");
}

#[test]
fn a_retention_that_is_no_number_deletes_nothing() {
    let place = Workplace::new();
    place.audit("2020-01-01 00:00:00", "old");
    place.set("audit_retention_days", "ninety");
    let service = place.start();
    let (_, body) = service.post("/trigger/audit-log-cleanup");
    assert_eq!(
        body["message"],
        "the application's setting audit_retention_days is `ninety`, not a number of days; nothing was deleted"
    );
    let rows = |action: &str| -> i64 {
        let sql = "SELECT count(*) FROM audit_log WHERE action = ?1";
        place.database().query_row(sql, [action], |row| row.get(0)).unwrap()
    };
    assert_eq!((rows("old"), rows("audit_cleanup")), (1, 1), "the failure is recorded");
}

#[test]
fn stops_are_kept_though_the_state_is_locked_at_the_start() {
    let place = Workplace::with_jobs(crate::support::workplace::ONE_JOB);
    let service = place.start();
    service.post("/stop/tidy");
    service.terminate();
    let other = place.state();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let service = place.start();
    assert_eq!(service.get("/health").0, 503);
    drop(other);
    eventually("the state to be opened", || {
        (service.get("/health").0 == 200).then_some(())
    });
    eventually("the stop to be known", || active(&service).is_empty().then_some(()));
}

#[test]
fn head_is_answered_as_get_is() {
    let place = Workplace::new();
    let service = place.start();
    eventually("the service to be well", || {
        (service.get("/health").0 == 200).then_some(())
    });
    assert_eq!(service.call("HEAD", "/health", &[]), (200, Value::Null));
}

#[test]
fn the_page_and_the_metrics_are_served() {
    let place = Workplace::new();
    let service = place.service().env("CRON_TOKEN", "t0ken").start();
    let text = |path: &str, header: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
        service.raw(request.as_bytes())
    };
    let page = text("/", "");
    assert!(
        page.starts_with("HTTP/1.1 200")
            && page.contains("Content-Type: text/html")
            && page.contains("<h1>duplistatus-cron</h1>"),
        "{page}"
    );
    assert!(!page.contains("session-cleanup"), "the page itself holds no data");
    assert!(text("/metrics", "").starts_with("HTTP/1.1 401"));
    let metrics = text("/metrics", "Authorization: Bearer t0ken\r\n");
    for line in [
        "duplistatus_cron_job_active{job=\"session-cleanup\"} 1",
        "duplistatus_cron_state_ok 1",
        "# TYPE duplistatus_cron_outbox_pending gauge",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}
