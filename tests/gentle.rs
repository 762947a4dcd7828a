//! Cleanups in batches: the same rows go as by one plain DELETE, whatever the table; what was cut off is gone on with;
//! far too many rows are refused.

use std::time::Duration;

use proptest::test_runner::{Config, TestRunner};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{Workplace, eventually};

fn declare(place: &Workplace, keys: &str) {
    place.write(
        "jobs.toml",
        &format!("[jobs.tidy]\nschedule = \"@yearly\"\n[jobs.tidy.cleanup]\n{keys}\n"),
    );
}

const TABLES: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT); CREATE INDEX t_at ON t (at)",
    "CREATE TABLE t (id TEXT, at INTEGER, name TEXT)",
    "CREATE TABLE t (id TEXT PRIMARY KEY, at INTEGER, name TEXT) WITHOUT ROWID",
    "CREATE TABLE t (id INTEGER, at INTEGER, name TEXT, PRIMARY KEY (name, id)) WITHOUT ROWID",
    "CREATE TABLE t (rowid TEXT, id INTEGER, at INTEGER, name TEXT)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT); CREATE TABLE log (id);
     CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO log VALUES (old.id); END",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT); CREATE TABLE log (id INTEGER PRIMARY KEY, t REFERENCES t (id) ON DELETE CASCADE)",
];
const CONDITIONS: &[&str] = &[
    "at < 500",
    "at % 3 = 0 OR name IS NULL",
    "name < 'n5' AND at > 100",
    "true",
    "at < (SELECT avg(at) FROM t)",
    "id NOT IN (SELECT id FROM t ORDER BY at DESC, id LIMIT 20)",
    "at IS NULL",
];

fn fill(database: &Connection, rows: &[(Option<i64>, Option<u8>)]) {
    for (number, (at, name)) in rows.iter().enumerate() {
        let name = name.map_or_else(
            || {
                if number % 2 == 0 {
                    "n".to_owned()
                } else {
                    format!("x{number}")
                }
            },
            |name| format!("n{name}"),
        );
        database
            .execute(
                "INSERT INTO t (id, at, name) VALUES (?1, ?2, ?3)",
                (i64::try_from(number).unwrap(), at, name),
            )
            .unwrap();
    }
    if database.prepare("SELECT t FROM log").is_ok() {
        database
            .execute_batch("INSERT INTO log (t) SELECT id FROM t WHERE id % 4 = 0")
            .unwrap();
    }
}

fn content(database: &Connection) -> Vec<String> {
    let rows = |table: &str| -> Vec<String> {
        let Ok(mut statement) = database.prepare(&format!("SELECT * FROM {table}")) else {
            return Vec::new();
        };
        let columns = statement.column_count();
        let mut rows: Vec<String> = statement
            .query_map([], |row| {
                Ok((0..columns).fold(String::new(), |line, index| {
                    format!("{line}{:?} ", row.get_ref(index).unwrap())
                }))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        rows.sort();
        rows
    };
    [rows("t"), rows("log")].concat()
}

#[test]
fn the_same_rows_go_as_by_one_plain_statement() {
    use proptest::collection::vec;
    use proptest::option::of;
    let mut runner = TestRunner::new(Config {
        cases: 3,
        ..Config::default()
    });
    for (index, table) in TABLES.iter().enumerate() {
        for condition in CONDITIONS {
            let rows = vec((of(0_i64..1000), of(0_u8..10)), 0..900);
            let place = Workplace::new();
            let other = Workplace::new();
            declare(
                &place,
                &format!("delete_from = \"t\"\nwhere = \"{condition}\"\ntables = [\"log\"]\nlock_budget = \"1ms\""),
            );
            let schema = table;
            place.database().execute_batch(schema).unwrap();
            let service = place.start();
            runner
                .run(&rows, |rows| {
                    let (ours, plain) = (place.database(), other.database());
                    ours.execute_batch("DROP TABLE t; DROP TABLE IF EXISTS log").unwrap();
                    plain
                        .execute_batch("DROP TABLE IF EXISTS log; DROP TABLE IF EXISTS t")
                        .unwrap();
                    for database in [&ours, &plain] {
                        database.execute_batch(schema).unwrap();
                        fill(database, &rows);
                    }
                    plain.execute(&format!("DELETE FROM t WHERE {condition}"), []).unwrap();
                    let (_, body) = service.post("/trigger/tidy");
                    proptest::prop_assert_eq!(&body["success"], &json!(true), "{}: {}", index, body);
                    proptest::prop_assert_eq!(content(&ours), content(&plain), "{} WHERE {}", schema, condition);
                    Ok(())
                })
                .unwrap();
        }
    }
}

#[test]
fn far_too_many_rows_are_refused_before_the_first_goes() {
    let place = Workplace::new();
    place
        .database()
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER)")
        .unwrap();
    let fill = |count: i64| {
        place
            .database()
            .execute(
                "INSERT INTO t (at) SELECT a.value * 100 + b.value FROM json_each(?1) a, json_each(?1) b LIMIT ?2",
                (json!((0..100).collect::<Vec<i64>>()).to_string(), count),
            )
            .unwrap();
    };
    fill(999);
    for (keys, message) in [
        ("where = \"true\"", "Deleted 999 rows from t"),
        (
            "where = \"at < 1900\"",
            "1900 of 2000 rows of t would go, 95.0 %, more than max_share (0.9); nothing was deleted",
        ),
        (
            "where = \"at < 1900\"\nmax_share = 1.0\nmax_rows = 1000",
            "1900 rows of t would go, more than max_rows (1000); nothing was deleted",
        ),
        ("where = \"at < 1700\"", "Deleted 1700 rows from t"),
    ] {
        declare(&place, &format!("delete_from = \"t\"\n{keys}"));
        let service = place.start();
        let (_, body) = service.post("/trigger/tidy");
        assert_eq!(body["message"], message, "{keys}");
        if place.count("t") == 0 {
            fill(2000);
        }
    }
}

/// A table of many rows that each take a while to go, and are all to go but a few.
fn slow_table(place: &Workplace) {
    place
        .database()
        .execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, old INTEGER); CREATE INDEX t_old ON t (old);
             CREATE TABLE gone (id INTEGER PRIMARY KEY, times INTEGER NOT NULL DEFAULT 1);
             CREATE TRIGGER counts AFTER DELETE ON t BEGIN
                 INSERT INTO gone (id) VALUES (old.id) ON CONFLICT (id) DO UPDATE SET times = times + 1; END;",
        )
        .unwrap();
    let numbers = json!((0..100).collect::<Vec<i64>>()).to_string();
    place
        .database()
        .execute("INSERT INTO t (old) SELECT a.value % 10 > 0 FROM json_each(?1) a, json_each(?1) b, (SELECT value FROM json_each(?1) LIMIT 3)", [numbers])
        .unwrap();
    declare(
        place,
        "delete_from = \"t\"\nwhere = \"old = 1\"\ntables = [\"gone\"]\nlock_budget = \"1ms\"\nmax_share = 1.0",
    );
}

#[test]
fn a_hundred_kills_in_the_middle_lose_and_repeat_no_row() {
    let place = Workplace::new();
    slow_table(&place);
    let mut number = 7_u64;
    for _ in 0..100 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let service = place.start();
        service.post("/trigger/tidy?wait=false");
        std::thread::sleep(Duration::from_micros((number >> 33) % 9000));
        service.kill();
    }
    let service = place.start();
    let (_, body) = service.post("/trigger/tidy");
    assert_eq!(body["success"], true, "{body}");
    let database = place.database();
    let line = |sql: &str| -> String { database.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(line("PRAGMA integrity_check"), "ok");
    assert_eq!(
        line("SELECT count(*) || ' ' || sum(times) FROM gone"),
        "27000 27000",
        "each row went once"
    );
    assert_eq!(line("SELECT count(*) || ' ' || sum(old) FROM t"), "3000 0");
}

#[test]
fn what_was_done_before_the_end_is_told_and_shown_while_it_goes_on() {
    let place = Workplace::new();
    slow_table(&place);
    let declaration = std::fs::read_to_string(place.file("jobs.toml")).unwrap();
    place.write(
        "jobs.toml",
        &declaration.replace("schedule", "timeout = \"250ms\"\nschedule"),
    );
    let service = place.start();
    service.post("/trigger/tidy?wait=false");
    let shown = eventually("the progress or the end", || {
        let health = service.health();
        let progress = health["progress"]["tidy"].as_str().map(str::to_owned);
        progress
            .or_else(|| health["errors"]["tidy"].as_str().map(str::to_owned))
            .or_else(|| health["lastRunTimes"]["tidy"].as_str().map(str::to_owned))
    });
    assert!(
        shown.contains("rows so far") || shown.contains("rows were deleted before") || shown.contains('T'),
        "{shown}"
    );
}

#[test]
fn a_writer_that_holds_the_lock_for_ever_is_a_clear_failure_after_the_declared_wait() {
    let place = Workplace::with_jobs(
        "[databases.duplistatus]\npath = \"data/backups.db\"\nbusy_timeout = \"300ms\"\n[jobs.tidy]\nschedule = \"* * * * * *\"\nretry = { max_attempts = 2, backoff = \"200ms\" }\n\
         [jobs.tidy.cleanup]\ndelete_from = \"sessions\"\nwhere = \"true\"\n",
    );
    let writer = place.database();
    writer
        .execute("INSERT INTO sessions (id, expires_at) VALUES ('a', '2020-01-01')", [])
        .unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let service = place.start();
    let run = eventually("a run that was tried twice", || {
        let (_, history) = service.get("/api/schedules/executions?trigger=schedule&status=failed");
        history["executions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|run| run["attempts"] == 2)
            .cloned()
    });
    assert_eq!(run["error"], "the database is locked by another writer");
    writer.execute_batch("ROLLBACK").unwrap();
    eventually("the row to go", || (place.count("sessions") == 0).then_some(()));
}

#[test]
fn plan_tells_what_would_go_and_by_which_way() {
    let place = Workplace::new();
    slow_table(&place);
    let service = place.start();
    let (status, plan) = service.get("/api/schedules/tidy/plan");
    assert_eq!(status, 200, "{plan}");
    assert_eq!(
        (&plan["rows"], &plan["total"], &plan["uses_index"]),
        (&json!(27000), &json!(30000), &json!(true)),
        "{plan}"
    );
    assert_eq!(place.count("t"), 30000);
    declare(
        &place,
        "delete_from = \"t\"\nwhere = \"id % 2 = 0\"\ntables = [\"gone\"]",
    );
    let (_, text) = crate::support::workplace::printed(&place.run(&["plan", "tidy"]));
    assert!(
        text.contains("15000 of 30000 rows of t would go (50.0 %)") && text.contains("full scan: SCAN t"),
        "{text}"
    );
    let (code, text) = place.validate(&std::fs::read_to_string(place.file("jobs.toml")).unwrap());
    assert!(
        code == 0 && text.contains("no index supports the condition: every run reads all of `t`"),
        "{text}"
    );
}
