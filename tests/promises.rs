//! "Good" and "would" are promises: what `validate` and `plan` say is what a run does; what they could not check, they
//! say.

use std::time::{Duration, Instant};

use crate::support::Workplace;
use crate::support::workplace::{ONE_JOB, printed};

fn cleanup(condition: &str) -> String {
    format!(
        "[jobs.tidy]\nschedule = \"@yearly\"\n[jobs.tidy.cleanup]\ndelete_from = \"t\"\nwhere = {condition:?}\nretention = \"30d\"\ncutoff_format = \"unix\"\n"
    )
}

fn sql(statement: &str) -> String {
    format!(
        "[jobs.tidy]\nschedule = \"@yearly\"\n[jobs.tidy.sql]\ntables = [\"t\", \"words\"]\nstatement = {statement:?}\nretention = \"30d\"\ncutoff_format = \"unix\"\n"
    )
}

fn place() -> Workplace {
    let place = Workplace::new();
    place
        .database()
        .execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT);
             CREATE VIRTUAL TABLE words USING fts5 (body);
             INSERT INTO words VALUES ('old'), ('new');
             INSERT INTO t (at, name) SELECT unixepoch('now') - 86400 * value, 'n' FROM json_each('[0,1,2,100,200]')",
        )
        .unwrap();
    place
}

/// What is good, runs; what cannot run, is told. Each declaration with whether it is good.
#[test]
fn what_validate_calls_good_runs_and_what_cannot_run_is_told_with_its_place() {
    for (declaration, good) in [
        (cleanup("at < :cutoff"), true),
        (cleanup("at < :cutoff -- older"), true),
        (cleanup("at < :cutoff /* older */"), true),
        (cleanup("at < :cutoff /* open"), false),
        (cleanup("at < :cutoff;"), false),
        (cleanup("at < :cutoff) OR (true"), false),
        (cleanup("at < :cutoff RETURNING id"), false),
        (cleanup("at < :cutoff ORDER BY id LIMIT 1"), false),
        (cleanup("\"nmae\" = 'n'"), false),
        (cleanup("\"name\" = 'n' AND at < :cutoff"), true),
        (cleanup("name = \"n\""), false),
        (cleanup("at < :cutoff\u{e9}"), false),
        (cleanup("at < ':cutoff'"), false),
        (cleanup("at < $cutoff"), false),
        (cleanup("at < @cutoff"), false),
        (cleanup("at < ?"), false),
        (cleanup("at < ?1"), false),
        (cleanup("at < :CUTOFF"), false),
        (sql("DELETE FROM t WHERE at < :cutoff RETURNING id, name"), true),
        (sql("-- old ones\nDELETE FROM t WHERE at < :cutoff"), true),
        (sql("DELETE FROM t WHERE at < :cutoff;"), true),
        (sql("DELETE FROM t WHERE at < :cutoff; -- done"), true),
        (sql("DELETE FROM words WHERE words MATCH 'old'"), true),
        (sql("DELETE FROM words WHERE body = \"old\""), false),
        (sql("INSERT INTO words (words) VALUES ('optimize')"), true),
        (sql("DELETE FROM words_data"), false),
        (sql("UPDATE t SET name = json_patch(name, name)"), false),
    ] {
        let place = place();
        let (code, text) = place.validate(&declaration);
        assert_eq!(code, if good { 0 } else { 2 }, "{declaration}\n{text}");
        if good {
            let (_, body) = place.start().post("/trigger/tidy");
            assert_eq!(body["success"], true, "{declaration}\n{body}");
        } else {
            assert!(text.contains("jobs.toml:") && text.contains('^'), "{text}");
        }
    }
}

#[test]
fn a_full_text_table_is_cleaned_up() {
    let place = place();
    place.write("jobs.toml", &cleanup("body = 'old'").replace("\"t\"", "\"words\""));
    let (code, text) = printed(&place.run(&["validate"]));
    assert_eq!(code, 0, "{text}");
    let (_, body) = place.start().post("/trigger/tidy");
    assert_eq!(body["message"], "Deleted 1 row from words");
    assert_eq!(place.count("words"), 1);
}

#[test]
fn what_could_not_be_checked_is_a_warning() {
    let place = Workplace::empty();
    place.write("jobs.toml", ONE_JOB);
    let (code, text) = printed(&place.run(&["validate"]));
    assert!(
        code == 0 && text.contains("databases.duplistatus.path: database data/backups.db does not exist"),
        "{text}"
    );
    assert!(
        text.contains("the SQL and the settings of 1 job could not be checked") && text.contains("1 warning"),
        "{text}"
    );
    assert_eq!(place.run(&["validate", "--deny-warnings"]).status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&place.run(&["validate", "--format", "json"]).stdout).unwrap();
    assert_eq!(json["problems"][0]["severity"], "warning", "{json}");
    place.write(
        "jobs.toml",
        &format!("[databases.app]\npath = \"dta/backups.db\"\n{ONE_JOB}"),
    );
    let (_, text) = printed(&place.run(&["validate"]));
    assert!(
        text.contains("jobs.toml:2:8: databases.app.path: database dta/backups.db does not exist"),
        "{text}"
    );
}

#[test]
fn plan_applies_the_guards_of_the_run() {
    let place = place();
    place.database().execute_batch("DELETE FROM t; INSERT INTO t (at) SELECT a.value FROM json_each('[1,2,3,4,5,6,7,8,9,0]') a, json_each('[1,2,3,4,5,6,7,8,9,0]') b, json_each('[1,2,3,4,5,6,7,8,9,0]') c, json_each('[1,2,3,4]') d").unwrap();
    for (keys, why) in [
        ("", "more than max_share (0.9)"),
        ("max_rows = 10", "more than max_rows (10)"),
    ] {
        place.write("jobs.toml", &format!("{}{keys}\n", cleanup("at >= 0")));
        let (code, text) = printed(&place.run(&["plan", "tidy"]));
        assert!(
            code == 1 && text.contains("4000 of 4000 rows of t are selected (100.0 %), but none would go"),
            "{text}"
        );
        assert!(text.contains(why), "{text}");
        let service = place.start();
        let (status, plan) = service.get("/api/schedules/tidy/plan");
        let refusal = plan["refusal"].as_str().unwrap().to_owned();
        assert!(status == 200 && refusal.contains(why), "{plan}");
        assert_eq!(service.post("/trigger/tidy").1["message"], refusal);
    }
    assert_eq!(place.count("t"), 4000);
}

/// Three tables of 2,000 rows crossed take hours.
const ENDLESS: &str = "(SELECT count(*) FROM t a, t b, t c WHERE a.name || b.name || c.name = 'x') > 0";

fn many(place: &Workplace) {
    place
        .database()
        .execute_batch("INSERT INTO t (at, name) SELECT 0, 'n' FROM json_each('[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0]') a, json_each('[1,2,3,4,5,6,7,8,9,0]') b, json_each('[1,2,3,4,5,6,7,8,9,0]') c")
        .unwrap();
}

#[test]
fn a_plan_that_takes_for_ever_ends_within_the_fence_and_so_does_the_service() {
    let place = place();
    many(&place);
    place.write("jobs.toml", &cleanup(ENDLESS));
    let service = place.start();
    let (status, plan) = service.get("/api/schedules/tidy/plan");
    assert!(
        status == 503
            && plan["error"]
                .as_str()
                .unwrap()
                .contains("the dry run did not finish within"),
        "{plan}"
    );
    let (code, text) = printed(&place.run(&["validate"]));
    assert!(
        code == 0 && text.contains("could not be checked: the dry run did not finish within"),
        "{text}"
    );
    assert_eq!(service.terminate().code(), Some(0));
}

/// One call of a function on more than it is given takes hours, or all memory.
#[test]
fn a_call_that_cannot_be_interrupted_is_bounded() {
    let place = place();
    for call in [
        "zeroblob(1000000000)",
        "randomblob(1000000000)",
        "instr(replace(hex(zeroblob(400000)), '0', 'a'), replace(hex(zeroblob(200000)), '0', 'a') || 'b')",
        "replace(replace(hex(zeroblob(400000)), '0', 'a'), replace(hex(zeroblob(200000)), '0', 'a') || 'b', 'c')",
        "replace(hex(zeroblob(400000)), '0', hex(zeroblob(400000)))",
        "trim(replace(hex(zeroblob(400000)), '0', 'a'), replace(hex(zeroblob(400000)), '0', 'b') || 'a')",
        "printf('%1000000000d', 1)",
        "replace(hex(zeroblob(400000)), '0', 'a') LIKE replace(hex(zeroblob(60)), '0', '%a')",
        "replace(hex(zeroblob(400000)), '0', 'a') GLOB replace(hex(zeroblob(60)), '0', '*a')",
    ] {
        // Once for each row, until the timeout ends the run, if the call itself does not.
        place.write(
            "jobs.toml",
            &cleanup(&format!("{call} IS at")).replace("schedule", "timeout = \"1s\"\nschedule"),
        );
        let service = place.start();
        let began = Instant::now();
        let (_, body) = service.post("/trigger/tidy");
        // Without a bound each of them takes minutes at the least; a machine may be slow.
        assert!(began.elapsed() < Duration::from_mins(1), "{call}: {body}");
        let peak = service.memory_kb("VmHWM");
        assert!(peak < 200_000, "{call}: {peak} kB");
        assert_eq!(service.terminate().code(), Some(0), "{call}");
    }
}

#[test]
fn rows_that_a_trigger_puts_back_are_not_deleted_again() {
    let place = place();
    place
        .database()
        .execute_batch("CREATE TRIGGER back AFTER DELETE ON t BEGIN INSERT INTO t (at) VALUES (old.at), (old.at); END")
        .unwrap();
    many(&place);
    place.write(
        "jobs.toml",
        &format!("{}max_rows = 2100\nmax_share = 1.0\n", cleanup("at < :cutoff")),
    );
    let service = place.start();
    let before = place.count("t");
    let (_, body) = service.post("/trigger/tidy");
    assert_eq!(body["message"], "Deleted 2002 rows from t");
    assert_eq!(place.count("t"), before + 2002);
}

#[test]
fn a_cascade_goes_in_small_batches_from_the_first_on() {
    let place = Workplace::new();
    place
        .database()
        .execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, old INTEGER);
             CREATE TABLE child (t INTEGER REFERENCES t (id) ON DELETE CASCADE);
             CREATE INDEX child_t ON child (t);
             CREATE TABLE digits (n); INSERT INTO digits SELECT value FROM json_each('[0,1,2,3,4,5,6,7,8,9]');
             INSERT INTO t SELECT a.n * 10 + b.n, 1 FROM digits a, digits b;
             INSERT INTO child SELECT t.id FROM t, digits a, digits b, digits c, digits d;
             CREATE TABLE steps (n)",
        )
        .unwrap();
    place.write(
        "jobs.toml",
        "[jobs.tidy]\nschedule = \"@yearly\"\ncleanup = { delete_from = \"t\", where = \"old = 1\", tables = [\"child\"], max_share = 1.0 }\n",
    );
    let service = place.start();
    service.post("/trigger/tidy?wait=false");
    // Someone else gets to write while a million rows go with a hundred.
    let writer = place.database();
    writer.busy_timeout(Duration::from_secs(30)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while place.count("t") > 0 {
        writer.execute("INSERT INTO steps VALUES (1)", []).unwrap();
        seen.insert(place.count("t"));
    }
    assert!(seen.len() > 4, "the parents went in steps: {seen:?}");
    assert_eq!(place.count("child"), 0);
}
