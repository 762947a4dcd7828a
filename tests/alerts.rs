//! The kind `alert`: findings are told once, again after a while, and when they are gone.

use serde_json::json;

use crate::support::receivers::Ntfy;
use crate::support::{Workplace, eventually};

fn place(server: &Ntfy, more: &str) -> Workplace {
    Workplace::with_jobs(&format!(
        "[notifications.phone]\nntfy = {{ url = \"http://127.0.0.1:{}\", topic = \"t\" }}\n[jobs.logins]\nschedule = \"@yearly\"\n[jobs.logins.alert]\n\
             query = \"SELECT username, count(*) AS times FROM audit_log WHERE timestamp > :cutoff GROUP BY username HAVING times >= 2\"\n\
             tables = [\"audit_log\"]\nretention = \"3650d\"\nkey = \"username\"\ntitle = \"Logins\"\nmessage = \"{{username}} failed {{times}} times\"\nnotify = [\"phone\"]\n{more}\n",
        server.port
    ))
}

#[test]
fn a_finding_is_told_once_and_when_it_is_gone() {
    let server = Ntfy::start(200);
    let place = place(&server, "");
    let service = place.start();
    let run = || service.post("/trigger/logins").1["statistics"].clone();
    assert_eq!(run(), json!({ "findings": 0, "told": 0, "gone": 0 }));
    place.audit("2026-11-01 00:00:00", "login");
    place.audit("2026-11-01 00:00:01", "login");
    assert_eq!(run(), json!({ "findings": 1, "told": 1, "gone": 0 }));
    place.audit("2026-11-01 00:00:02", "login");
    assert_eq!(
        run(),
        json!({ "findings": 1, "told": 0, "gone": 0 }),
        "the same key, though the words differ"
    );
    place.database().execute("DELETE FROM audit_log", []).unwrap();
    assert_eq!(run(), json!({ "findings": 0, "told": 0, "gone": 1 }));
    let bodies: Vec<String> = server
        .in_order()
        .iter()
        .map(|message| message["body"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    assert_eq!(bodies[0], "admin failed 2 times");
    assert!(
        bodies[1].starts_with("admin failed 2 times\nResolved; it was first found at 20"),
        "{bodies:?}"
    );
}

#[test]
fn a_finding_that_stays_is_told_again_after_the_declared_time() {
    let server = Ntfy::start(200);
    let place = place(&server, "resend_after = \"1h\"");
    place.audit("2026-11-01 00:00:00", "login");
    place.audit("2026-11-01 00:00:01", "login");
    let service = place.start();
    service.post("/trigger/logins");
    service.post("/trigger/logins");
    assert_eq!(server.in_order().len(), 1);
    let service = place.with_state_changed(service, "UPDATE findings SET told_at = told_at - 3600000");
    service.post("/trigger/logins");
    assert_eq!(server.in_order().len(), 2);
}

#[test]
fn a_query_that_writes_or_names_no_such_column_is_refused() {
    let base = |query: &str, rest: &str| {
        format!(
            "[notifications.l]\nlog = {{}}\n[jobs.a]\nschedule = \"@daily\"\n[jobs.a.alert]\nquery = \"{query}\"\ntables = [\"audit_log\"]\nnotify = [\"l\"]\n{rest}\n"
        )
    };
    for (query, rest, why) in [
        (
            "DELETE FROM audit_log",
            "message = \"x\"",
            "the SQL begins with `DELETE`; one of SELECT, WITH, VALUES is expected",
        ),
        (
            "WITH x AS (SELECT 1) DELETE FROM audit_log",
            "message = \"x\"",
            "it changes something",
        ),
        (
            "SELECT key FROM configurations",
            "message = \"x\"",
            "it reads `configurations`",
        ),
        (
            "SELECT username FROM audit_log",
            "message = \"{user}\"",
            "the query has no column `user`; it has username",
        ),
        (
            "SELECT username FROM audit_log",
            "message = \"x\"\nkey = \"name\"",
            "the query has no column `name`",
        ),
    ] {
        let (code, text) = Workplace::new().validate(&base(query, rest));
        assert!(code == 2 && text.contains(why), "{query}\n{text}");
    }
}

#[test]
fn a_message_on_its_way_at_the_end_of_its_run_is_recorded_and_not_sent_again() {
    let server = Ntfy::start(200);
    let place = place(&server, "");
    let text = std::fs::read_to_string(place.file("jobs.toml")).unwrap();
    let text = text.replace("schedule = \"@yearly\"", "schedule = \"@yearly\"\ntimeout = \"1s\"");
    place.write("jobs.toml", &text);
    place.audit("2026-11-01 00:00:00", "login");
    place.audit("2026-11-01 00:00:01", "login");
    let service = place.start();
    let gate = server.gate.lock().unwrap();
    let (_, body) = service.post("/trigger/logins");
    let state = || {
        let query = "SELECT status, attempts FROM outbox";
        place.in_state(query, |row| Ok((row.get(0)?, row.get(1)?)))
    };
    assert_eq!(state(), Some(("pending".to_owned(), 1)), "{body}");
    drop(gate);
    eventually("the delivery in the outbox", || {
        (state() == Some(("delivered".to_owned(), 1))).then_some(())
    });
    assert_eq!(server.in_order().len(), 1);
}
