//! `simulate`, `next` and `why`: what the service would do, and what it did.

use serde_json::Value;

use crate::support::Workplace;
use crate::support::workplace::printed;

fn simulate(place: &Workplace, arguments: &[&str]) -> Value {
    let output = place.run(&[&["simulate", "--format", "json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The events of a simulation as "job what time".
fn events(answer: &Value) -> Vec<String> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let line = |event: &Value| {
        format!(
            "{} {} {}",
            text(event, "job"),
            text(event, "what"),
            text(event, "at")[5..16].replace('T', " ")
        )
    };
    answer["events"].as_array().unwrap().iter().map(line).collect()
}

fn place(jobs: &str) -> Workplace {
    let place = Workplace::empty();
    place.write("jobs.toml", jobs);
    place
}

fn job(id: &str, schedule: &str, keys: &str) -> String {
    format!("[jobs.{id}]\nschedule = \"{schedule}\"\n{keys}\ncleanup = {{ delete_from = \"t\", where = \"true\" }}\n")
}

#[test]
fn a_year_of_the_shipped_jobs_is_counted() {
    let place = Workplace::empty();
    let (code, text) = printed(&place.run(&["simulate", "--from", "2026-01-01T00:00:00Z", "--for", "365d"]));
    assert_eq!(code, 0, "{text}");
    for line in [
        "overdue-backup-check: 105120 runs on time",
        "audit-log-cleanup: 365 runs",
        "session-cleanup: 8760 runs",
        "host-metrics-cleanup: never",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_night_of_daylight_saving_is_simulated_as_it_will_be() {
    let place = place(
        &(job("gap", "30 2 * * *", "time_zone = \"Europe/Berlin\"")
            + &job("hours", "0 * * * *", "time_zone = \"Europe/Berlin\"")),
    );
    let spring = simulate(&place, &["--from", "2026-03-29T00:30:00Z", "--for", "2h"]);
    assert_eq!(
        events(&spring),
        ["gap run 03-29 01:00", "hours run 03-29 01:00", "hours run 03-29 02:00"]
    );
    assert_eq!(
        spring["clock_changes"][0],
        "2026-03-29T01:00:00.000Z: the clock in Europe/Berlin goes from 02:00:00 to 03:00:00"
    );
    let autumn = simulate(&place, &["--from", "2026-10-24T23:30:00Z", "--for", "3h"]);
    assert_eq!(
        events(&autumn),
        [
            "hours run 10-25 00:00",
            "gap run 10-25 00:30",
            "hours run 10-25 01:00",
            "hours run 10-25 02:00"
        ]
    );
}

#[test]
fn time_down_overlaps_and_limits_show() {
    let place = place(
        &(job("a", "*/10 * * * *", "")
            + &job("b", "*/10 * * * *", "group = \"g\"\nconcurrency_policy = \"queue\"")
            + &job("c", "*/10 * * * *", "group = \"g\"")),
    );
    let quiet = simulate(
        &place,
        &["--from", "2026-11-20T12:01:00Z", "--for", "15m", "--run-time", "1m"],
    );
    assert_eq!(
        events(&quiet),
        ["a run 11-20 12:10", "b run 11-20 12:10", "c run 11-20 12:11"]
    );
    let down = simulate(
        &place,
        &[
            "--from",
            "2026-11-20T12:01:00Z",
            "--for",
            "45m",
            "--down",
            "2026-11-20T12:10:30Z..2026-11-20T12:35:00Z",
            "--run-time",
            "1m",
        ],
    );
    let of_a: Vec<String> = events(&down)
        .into_iter()
        .filter(|event| event.starts_with("a "))
        .collect();
    assert_eq!(
        of_a,
        [
            "a run 11-20 12:10",
            "a cut_off 11-20 12:10",
            "a skip 11-20 12:35",
            "a run 11-20 12:35",
            "a run 11-20 12:40"
        ]
    );
    let slow = simulate(
        &place,
        &["--from", "2026-11-20T12:01:00Z", "--for", "25m", "--run-time", "15m"],
    );
    let skipped: Vec<String> = events(&slow)
        .into_iter()
        .filter(|event| event.contains("skip"))
        .collect();
    assert_eq!(skipped, ["a skip 11-20 12:20", "c skip 11-20 12:20"]);
    let (code, text) = printed(&place.run(&["simulate", "--down", "yesterday"]));
    assert!(code == 2 && text.contains("two instants are expected"), "{text}");
}

#[test]
fn next_says_what_a_change_of_the_clock_does_to_a_time() {
    let place = place(
        &(job("gap", "30 2 * * *", "time_zone = \"Europe/Berlin\"")
            + &job("half", "*/30 2 * * *", "time_zone = \"Europe/Berlin\"")),
    );
    let (_, text) = printed(&place.run(&["next", "gap", "-n", "1", "--from", "2026-03-28T12:00:00Z"]));
    assert!(
        text.contains("2026-03-29T01:00:00Z  (the clock jumps forward to this time)"),
        "{text}"
    );
    let (_, text) = printed(&place.run(&["next", "half", "-n", "4", "--from", "2026-10-24T12:00:00Z"]));
    assert_eq!(text.matches("this time comes twice: the first").count(), 2, "{text}");
    assert_eq!(text.matches("this time comes twice: the second").count(), 2, "{text}");
}

#[test]
fn why_tells_what_was_decided_and_what_comes() {
    let place = Workplace::with_jobs(
        "[jobs.tidy]\nschedule = \"0 3 * * *\"\ncleanup = { delete_from = \"sessions\", where = \"true\" }\n",
    );
    let service = place.start();
    service.post("/trigger/tidy");
    let (code, text) = printed(&place.run(&["why", "tidy", "--port", &service.port.to_string()]));
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("fired: due ")
            && text.contains(", by manual: success after ")
            && text.contains("Deleted 0 rows from sessions"),
        "{text}"
    );
    assert!(text.contains("T03:00:00.000Z, by `0 3 * * *` in UTC"), "{text}");
    service.post("/stop/tidy");
    let (_, body) = service.get("/api/schedules/tidy/why");
    assert!(body["summary"].as_str().unwrap().contains("stopped until"), "{body}");
    assert_eq!(service.get("/api/schedules/none/why").0, 404);
}

#[test]
fn a_herd_of_jobs_in_one_minute_is_a_warning() {
    let herd: String = (0..12)
        .map(|number| job(&format!("j{number}"), "0 3 * * *", ""))
        .collect();
    let (code, text) = Workplace::empty().validate(&herd);
    assert!(
        code == 0 && text.contains("12 jobs begin in the same minute (j0, j1, j10, …); spread them with `jitter`"),
        "{text}"
    );
    let spread: String = (0..12)
        .map(|number| job(&format!("j{number}"), "0 3 * * *", "jitter = \"10m\""))
        .collect();
    let (_, text) = Workplace::empty().validate(&spread);
    assert!(!text.contains("same minute"), "{text}");
}

#[test]
fn a_night_of_daylight_saving_is_lived_through() {
    // 02:30 in Berlin does not come on 29 March 2026: the clock goes from 02:00 to 03:00 at 01:00 UTC.
    for (start, ran) in [
        ("2026-03-29 00:59:57", "2026-03-29T01:00:00.000Z"),
        ("2026-10-25 00:29:57", "2026-10-25T00:30:00.000Z"),
    ] {
        let place = Workplace::with_jobs(
            &job("nightly", "30 2 * * *", "time_zone = \"Europe/Berlin\"").replace("\"t\"", "\"sessions\""),
        );
        let service = place.service().at(start).start();
        let run = crate::support::eventually("the run", || {
            let (_, history) = service.get("/api/schedules/executions");
            history["executions"]
                .get(0)
                .filter(|run| run["status"] == "success")
                .cloned()
        });
        assert_eq!(
            (&run["scheduled_at"], &run["trigger"]),
            (&Value::from(ran), &Value::from("schedule"))
        );
    }
}
