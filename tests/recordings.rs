//! Recorded runs of the service the application came with, replayed: same status, same fields, same values.

use rusqlite::types::ValueRef;
use serde_json::{Map, Value, json};

use crate::support::receivers::{Ntfy, Smtp};
use crate::support::{Service, Workplace};

struct Recording {
    scenario: Value,
    expected: Value,
}

fn recording(name: &str) -> Recording {
    let read = |file: &str| {
        let path = format!("{}/tests/recordings/{name}/{file}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    Recording {
        scenario: read("scenario.json"),
        expected: read("expected.json"),
    }
}

/// The jobs the recorded service had; ours beside them are not its business.
const THEIRS: [&str; 2] = ["overdue-backup-check", "audit-log-cleanup"];

/// Leaves in `answer` what the recorded one has, and nothing of jobs the recorded service did not have.
fn as_recorded(answer: &Value, recorded: &Value) -> Value {
    let mut kept = Map::new();
    for key in recorded.as_object().unwrap().keys() {
        let mut value = answer[key].clone();
        if let Value::Array(tasks) = &mut value {
            tasks.retain(|task| THEIRS.contains(&task.as_str().unwrap()));
        }
        kept.insert(key.clone(), value);
    }
    kept.into()
}

/// Instants are compared to the minute.
fn to_the_minute(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() == 24 && text.ends_with('Z') => json!(text[..16]),
        Value::Object(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), to_the_minute(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn replay(recording: &Recording, service: &Service) {
    for answer in recording.expected["answers"].as_array().unwrap() {
        let call = |index: usize| answer["call"][index].as_str().unwrap();
        let (status, body) = service.call(call(0), call(1), &[]);
        assert_eq!(answer["status"], json!(status), "{} {}: {body}", call(0), call(1));
        let recorded = answer["body"].clone();
        assert_eq!(
            to_the_minute(&as_recorded(&body, &recorded)),
            to_the_minute(&recorded),
            "{} {}",
            call(0),
            call(1)
        );
    }
}

/// The application's settings of its backups, and when they were checked, are left as recorded.
fn settings_are_as_recorded(place: &Workplace, expected: &Value) {
    let stored = |key: &str| -> Value { serde_json::from_str(&place.setting(key).unwrap()).unwrap() };
    assert_eq!(stored("backup_settings"), expected["configurations"]["backup_settings"]);
    let stamps = to_the_minute(&stored("overdue_notifications"));
    assert_eq!(
        stamps,
        to_the_minute(&expected["configurations"]["overdue_notifications"])
    );
    let recorded = to_the_minute(&expected["configurations"]["last_overdue_check"]);
    assert_eq!(json!(place.setting("last_overdue_check").unwrap()[..16]), recorded);
}

/// The audit log as a recording writes it, without the entries of the overdue check.
fn audit_log(place: &Workplace) -> Vec<Value> {
    let database = place.database();
    let mut rows = database
        .prepare("SELECT username, action, category, details, status, error_message FROM audit_log ORDER BY id")
        .unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let text = |column: &str| match row.get_ref(column).unwrap() {
            ValueRef::Null => Value::Null,
            value => json!(value.as_str().unwrap()),
        };
        let details = text("details")
            .as_str()
            .map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        Ok(json!({
            "username": text("username"), "action": text("action"), "category": text("category"),
            "details": details, "status": text("status"), "error_message": text("error_message"),
        }))
    };
    let rows = rows.query_map([], read).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Replays a recording with servers of its own for its messages; everything is left as recorded.
fn replay_whole(name: &str) -> (Workplace, Service) {
    let Recording { mut scenario, expected } = recording(name);
    let status = u16::try_from(scenario["ntfy_status"].as_u64().unwrap()).unwrap();
    let (ntfy, smtp) = (Ntfy::start(status), Smtp::start());
    let here = |text: String| {
        let ntfy = text.replace("127.0.0.1:8391", &format!("127.0.0.1:{}", ntfy.port));
        ntfy.replace("\"port\":8392", &format!("\"port\":{}", smtp.port))
    };
    scenario = serde_json::from_str(&here(scenario.to_string())).unwrap();
    let expected: Value = serde_json::from_str(&here(expected.to_string())).unwrap();
    let place = Workplace::of_recording(&scenario);
    let service = place
        .service()
        .at(scenario["now_local"].as_str().unwrap())
        .env("CRON_PORT", "0")
        .env("TZ", scenario["tz"].as_str().unwrap())
        .port_as_declared()
        .start();
    replay(
        &Recording {
            scenario,
            expected: expected.clone(),
        },
        &service,
    );
    for (what, received) in [("ntfy", ntfy.received()), ("mails", smtp.received())] {
        let mut recorded = expected[what].as_array().unwrap().clone();
        recorded.sort_by_key(ToString::to_string);
        assert_eq!(received.len(), recorded.len(), "{what} of {name}: {received:?}");
        for (received, recorded) in received.iter().zip(&recorded) {
            assert_eq!(received, recorded, "{what} of {name}");
        }
    }
    let log = audit_log(&place);
    let recorded = expected["audit_log"].as_array().unwrap();
    assert_eq!(log.len(), recorded.len(), "the audit log after {name}: {log:?}");
    for (found, recorded) in log.iter().zip(recorded) {
        assert_eq!(found, recorded, "the audit log after {name}");
    }
    settings_are_as_recorded(&place, &expected);
    (place, service)
}

#[test]
fn the_first_check_is_answered_as_recorded() {
    let (place, service) = replay_whole("01-first-check");
    let row: Value = serde_json::from_str(&place.setting("cron_service").unwrap()).unwrap();
    assert_eq!(
        row["port"],
        json!(service.port),
        "the application finds the service by this row"
    );
    assert_eq!(
        row["tasks"],
        recording("01-first-check").expected["configurations"]["cron_service"]["tasks"]
    );
}

#[test]
fn a_changed_retention_and_a_disabled_check_are_answered_as_recorded() {
    let (place, service) = replay_whole("10-cleanup-setting");
    let row: Value = serde_json::from_str(&place.setting("cron_service").unwrap()).unwrap();
    let before = &recording("10-cleanup-setting").scenario["configurations"]["cron_service"];
    assert_eq!(row["port"], json!(service.port));
    assert_eq!(row["tasks"], before["tasks"], "nothing but the port changes in the row");
}

#[test]
fn checks_with_other_settings_are_answered_as_recorded() {
    for name in ["03-mail-and-extras", "06-ntfy-refuses", "20-random-small"] {
        replay_whole(name);
    }
}

#[test]
fn a_task_that_nobody_declared_is_told_so_in_the_words_of_the_recorded_service() {
    let place = Workplace::new();
    let (status, body) = place.start().post("/trigger/nope");
    assert_eq!(
        (status, &body["taskName"], &body["success"]),
        (404, &json!("nope"), &json!(false))
    );
    assert_eq!(body["error"], "Error: Unknown task: nope");
}
