//! Runs that are cut off: by their timeout, by the end of the service, by a kill.

use serde_json::json;

use crate::support::{Service, Workplace, eventually};

/// A cleanup of many rows that takes a while for each.
const SLOW: &str = r#"
[server]
shutdown_grace = "300ms"
[jobs.slow]
schedule = "0 0 1 1 *"
timeout = "TIMEOUT"
[jobs.slow.cleanup]
delete_from = "audit_log"
where = "(SELECT count(*) FROM json_each('['||rtrim(replace(hex(zeroblob(700)),'0','1,'),',')||']') a, json_each('['||rtrim(replace(hex(zeroblob(700)),'0','1,'),',')||']') b WHERE a.value > -audit_log.id) > 0"
"#;

fn place(timeout: &str) -> Workplace {
    let place = Workplace::with_jobs(&SLOW.replace("TIMEOUT", timeout));
    for _ in 0..200 {
        place.audit("2020-01-01 00:00:00", "old");
    }
    place
}

fn last_run(service: &Service) -> serde_json::Value {
    service.get("/api/schedules/executions").1["executions"][0].clone()
}

fn is_whole(place: &Workplace) {
    let check: String = place
        .database()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        (check.as_str(), place.count("audit_log")),
        ("ok", 200),
        "nothing is half deleted"
    );
}

#[test]
fn a_timeout_really_ends_the_statement() {
    let place = place("300ms");
    let service = place.start();
    let (_, body) = service.post("/trigger/slow");
    assert_eq!(
        body["message"],
        "timed out after 300ms; uncommitted changes were rolled back"
    );
    assert_eq!(last_run(&service)["status"], "timed_out");
    is_whole(&place);
}

#[test]
fn the_end_of_the_service_interrupts_what_outlasts_its_grace() {
    let place = place("1h");
    let service = place.start();
    service.post("/trigger/slow?wait=false");
    assert_eq!(service.terminate().code(), Some(0));
    is_whole(&place);
    let last = last_run(&place.start());
    assert_eq!(
        (&last["status"], &last["error"]),
        (
            &json!("interrupted"),
            &json!("the service stopped during this run; uncommitted changes were rolled back")
        )
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    let place = place("1h");
    place.write("jobs.toml", &SLOW.replace("TIMEOUT", "1h").replace("300ms", "1h"));
    let mut service = place.start();
    service.post("/trigger/slow?wait=false");
    let began = std::time::Instant::now();
    service.signal("TERM");
    service.logged("shutting down");
    assert_eq!(service.post("/trigger/slow").0, 503, "no new work is taken");
    // Those of the first moment are the first one again: a terminal and a script tell it both.
    let status = eventually("the service to end", || {
        service.signal("TERM");
        service.try_wait()
    });
    assert_eq!(status.code(), Some(130));
    assert!(began.elapsed() >= std::time::Duration::from_millis(500));
    is_whole(&place);
}

#[test]
fn a_kill_during_a_cleanup_loses_nothing_and_is_told_at_the_next_start() {
    let place = place("1h");
    let service = place.start();
    service.post("/trigger/slow?wait=false");
    eventually("the run to be under way", || {
        (service.get("/api/schedules").1["jobs"][0]["running"] == true).then_some(())
    });
    service.kill();
    is_whole(&place);
    let service = place.start();
    // It is closed once the service has begun, which does not wait for that.
    let last = eventually("the run to be closed", || {
        Some(last_run(&service)).filter(|last| last["status"] != "running")
    });
    assert_eq!((&last["job"], &last["status"]), (&json!("slow"), &json!("interrupted")));
    assert_eq!(
        service.health()["errors"],
        json!({ "slow": "the service ended during this run" })
    );
    assert_eq!(service.get("/api/schedules").1["jobs"][0]["running"], false);
}

#[test]
fn a_run_that_is_cancelled_by_hand_ends_and_is_no_failure() {
    let place = place("1h");
    let text = SLOW
        .replace("TIMEOUT", "1h")
        .replace("[jobs.slow]", "[jobs.slow]\non_interrupt = \"rerun\"");
    place.write("jobs.toml", &text);
    let service = place.start();
    let (_, begun) = service.post("/trigger/slow?wait=false");
    let cancel = format!("/api/schedules/executions/{}/cancel", begun["runId"]);
    assert_eq!(service.post(&cancel).0, 200);
    let is_over = || Some(last_run(&service)).filter(|last| last["status"] != "running");
    let last = eventually("the run to end", is_over);
    assert_eq!(last["status"], "interrupted");
    assert!(
        last["error"].as_str().unwrap().starts_with("cancelled by hand"),
        "{last}"
    );
    is_whole(&place);
    assert_eq!(service.health()["errors"], json!({}));
    assert_eq!(service.post(&cancel).0, 409, "it is over");
    for unknown in ["99", "x"] {
        let path = format!("/api/schedules/executions/{unknown}/cancel");
        assert_eq!(service.post(&path).0, 404);
    }
    // A start neither repeats it nor takes it for a failure.
    service.terminate();
    let service = place.start();
    assert_eq!(service.health()["errors"], json!({}));
    assert_eq!(service.get("/api/schedules/executions").1["total"], 1);
}

#[test]
fn a_run_that_was_cancelled_stays_so_though_the_service_is_killed_before_it_ends() {
    let place = Workplace::with_jobs(
        "[jobs.stubborn]\nschedule = \"0 0 1 1 *\"\non_interrupt = \"rerun\"\ncommand = { shell = \"trap '' TERM; while :; do sleep 0.1; done\", kill_after = \"30s\" }\n",
    );
    let service = place.start();
    let (_, begun) = service.post("/trigger/stubborn?wait=false");
    let cancel = format!("/api/schedules/executions/{}/cancel", begun["runId"]);
    assert_eq!(service.post(&cancel).0, 200);
    service.kill();
    let service = place.start();
    let last = eventually("the run to be closed", || {
        Some(last_run(&service)).filter(|last| last["status"] != "running")
    });
    assert_eq!(
        (&last["status"], &last["error"]),
        (&json!("interrupted"), &json!("cancelled by hand"))
    );
    assert_eq!(
        service.get("/api/schedules/executions").1["total"],
        1,
        "it is not repeated"
    );
    assert_eq!(service.health()["errors"], json!({}));
}

#[test]
fn a_queued_run_is_withdrawn_also_while_the_service_ends() {
    let place = Workplace::with_jobs(
        "[server]\nshutdown_grace = \"20s\"\n[jobs.slow]\nschedule = \"0 0 1 1 *\"\nconcurrency_policy = \"queue\"\ncommand = { argv = [\"sleep\", \"5\"] }\n",
    );
    let mut service = place.start();
    let numbers = [1, 2].map(|_| service.post("/trigger/slow?wait=false").1["runId"].to_string());
    service.signal("TERM");
    service.logged("shutting down");
    let cancel = format!("/api/schedules/executions/{}/cancel", numbers[1]);
    assert_eq!(service.post(&cancel).0, 200);
    service.wait();
    let service = place.start();
    assert_eq!(service.newest("slow")["status"], "skipped");
    assert_eq!(service.get("/api/schedules").1["jobs"][0]["running"], false);
}
