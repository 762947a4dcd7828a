//! The commands that call a running service, `next`, and the demonstration.

use serde_json::{Value, json};

use crate::support::workplace::{ONE_JOB, printed};
use crate::support::{Service, Workplace};

fn client(place: &Workplace, service: &Service, arguments: &[&str]) -> (i32, String) {
    printed(
        &place
            .command()
            .args(["--port", &service.port.to_string()])
            .args(arguments)
            .output()
            .unwrap(),
    )
}

#[test]
fn the_clients_say_what_came_of_their_calls() {
    let place = Workplace::new();
    let service = place.start();
    for (arguments, code, text) in [
        (&["trigger", "session-cleanup"][..], 0, "Deleted 0 rows from sessions"),
        (
            &["trigger", "session-cleanup", "--no-wait"],
            0,
            "Task session-cleanup started",
        ),
        (&["trigger", "nope"], 1, "Unknown task: nope"),
        (&["stop", "session-cleanup"], 0, "Task session-cleanup stopped"),
        (&["stop", "session-cleanup"], 1, "Task session-cleanup not found"),
        (&["start", "session-cleanup"], 0, "Task session-cleanup started"),
        (&["start", "nope"], 1, "Task nope not found in configuration"),
        (&["reload"], 0, "Configuration reloaded successfully"),
        (&["health"], 0, "\"isRunning\": true"),
    ] {
        let (found, printed) = client(&place, &service, arguments);
        assert_eq!(found, code, "{arguments:?}: {printed}");
        assert!(printed.contains(text), "{arguments:?}: {printed}");
    }
    place.set("audit_retention_days", "5");
    assert_eq!(
        client(&place, &service, &["trigger", "audit-log-cleanup"]).0,
        1,
        "a failed run is a failure"
    );
}

#[test]
fn the_clients_find_the_service_by_the_row_it_wrote_and_send_the_token() {
    let place = Workplace::new();
    let service = place.service().env("CRON_TOKEN", "t").start();
    service.logged("wrote the port");
    let ask = |token: &str| {
        printed(
            &place
                .command()
                .args(["stop", "session-cleanup"])
                .env("CRON_TOKEN", token)
                .output()
                .unwrap(),
        )
    };
    let (code, text) = ask("wrong");
    assert!(code == 1 && text.contains("rejected the token"), "{code} {text}");
    assert_eq!(ask("t").0, 0);
    drop(service);
    // Its own port may be another's by now; at this one nobody listens.
    place.set("cron_service", r#"{"port":1}"#);
    let (code, text) = ask("t");
    assert!(code == 3 && text.contains("cannot be reached"), "{code} {text}");
}

#[test]
fn a_broken_declaration_does_not_keep_the_clients_from_their_service() {
    let place = Workplace::new();
    let service = place.start();
    service.logged("wrote the port");
    place.write("jobs.toml", "[broken");
    assert_eq!(client(&place, &service, &["health"]).0, 0);
    let found_by_row = printed(&place.run(&["health"]));
    assert_eq!(found_by_row.0, 0, "{}", found_by_row.1);
}

#[test]
fn next_shows_the_coming_times_in_zone_and_utc() {
    let place = Workplace::with_jobs(&ONE_JOB.replace(
        "schedule = \"0 0 1 1 *\"",
        "schedule = \"30 2 * * *\"\ntime_zone = \"Europe/Berlin\"",
    ));
    let (code, text) = printed(&place.run(&["next", "tidy", "-n", "2", "--from", "2026-11-20T00:00:00Z"]));
    assert_eq!(code, 0);
    let expected = "tidy: 30 2 * * * (Europe/Berlin)\n  Fri 2026-11-20 02:30:00 +01:00  2026-11-20T01:30:00Z\n  Sat 2026-11-21 02:30:00 +01:00  2026-11-21T01:30:00Z\n";
    assert_eq!(text, expected);
    let json: Value = serde_json::from_slice(
        &place
            .run(&["next", "-n", "1", "--from", "2026-11-20T00:00:00Z", "--format", "json"])
            .stdout,
    )
    .unwrap();
    assert_eq!(json, json!({ "tidy": ["2026-11-20T01:30:00Z"] }));
    let (code, text) = printed(&place.run(&["next", "nope"]));
    assert_eq!(
        (code, text.as_str()),
        (2, "no job `nope` is declared; declared jobs: tidy\n")
    );
}

#[test]
fn wrong_arguments_are_refused_with_exit_code_2() {
    let place = Workplace::new();
    for arguments in [
        &["--port", "99999"][..],
        &["--nope"],
        &["jump"],
        &["next", "--from", "yesterday"],
    ] {
        assert_eq!(printed(&place.run(arguments)).0, 2, "{arguments:?}");
    }
    let (code, text) = printed(&place.run(&["--help"]));
    assert!(code == 0 && text.contains("Exit codes: 0 done"), "{text}");
}

#[test]
fn the_demonstration_cleans_up_and_leaves_nothing_behind() {
    let place = Workplace::empty();
    let mut child = place
        .command()
        .args(["run", "--demo", "--port", "0"])
        .env("TMPDIR", place.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut expect = |text: &str| {
        assert!(
            lines.by_ref().map_while(Result::ok).any(|line| line.contains(text)),
            "{text}"
        );
    };
    expect("backup is overdue");
    expect("Overdue: Daily Files on Production database (db-01)");
    expect("Task executed successfully");
    expect("audit log entries older than 90 days");
    expect("rows from sessions");
    let ended = std::process::Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(ended.success() && child.wait().unwrap().success());
    assert_eq!(
        std::fs::read_dir(place.path()).unwrap().count(),
        0,
        "the temporary folder is gone"
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Workplace::new();
    let other = Workplace::new();
    let service = other.start();
    let (code, text) = printed(&place.run(&["--port", &service.port.to_string()]));
    assert_eq!(code, 1);
    assert!(
        text.contains(&format!("cannot listen on localhost:{}", service.port)),
        "{text}"
    );
}

#[test]
fn a_broken_port_in_the_row_does_not_keep_the_clients_from_their_service() {
    let place = Workplace::new();
    place.set("cron_service", r#"{"port":"abc"}"#);
    let (code, text) = printed(&place.run(&["health"]));
    assert_eq!(code, 3);
    assert!(
        text.contains("the service at 127.0.0.1:9667 cannot be reached"),
        "{text}"
    );
    assert_eq!(printed(&place.run(&["trigger", "a b"])).0, 2, "that is no id");
}

#[test]
fn a_service_that_cannot_serve_says_so_and_ends() {
    let place = Workplace::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, text) = printed(&place.run(&["--port", &port]));
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("cannot listen on") && !text.contains("listening on"),
        "{text}"
    );
}
