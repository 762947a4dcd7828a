//! A cutoff in another format than the column's selects every row or none: `validate` and `plan` tell it, with the
//! format that would fit, and the run refuses and deletes nothing.

use crate::support::Workplace;
use crate::support::workplace::printed;

fn declare(place: &Workplace, condition: &str, keys: &str) {
    place.write(
        "jobs.toml",
        &format!(
            "[jobs.tidy]\nschedule = \"@yearly\"\n[jobs.tidy.cleanup]\ndelete_from = \"t\"\nwhere = \"{condition}\"\nretention = \"30d\"\n{keys}\n"
        ),
    );
}

/// Fills `t`, whose column `at` has the type `kind`, with 90 rows of the last hours, written by `format`, then `more`.
fn fill(place: &Workplace, kind: &str, format: &str, more: &str) {
    place
        .database()
        .execute_batch(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (id INTEGER PRIMARY KEY, at {kind}, until {kind});
             WITH n (i) AS (SELECT value FROM json_each('[0,1,2,3,4,5,6,7,8]')), m (i) AS (SELECT a.i * 10 + b.i FROM n AS a, n AS b)
             INSERT INTO t (at) SELECT {format} FROM m, (SELECT 'now' AS now);
             {more}"
        ))
        .unwrap();
}

const SECONDS: &str = "unixepoch('now') - i * 60";
const MILLISECONDS: &str = "(unixepoch('now') - i * 60) * 1000";
const BLANK: &str = "datetime('now', '-' || i || ' minutes')";
const T: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || i || ' minutes')";
const OLD: &str = "INSERT INTO t (at) VALUES (strftime('%s', 'now') - 86400 * 90)";

#[test]
fn a_format_that_does_not_fit_is_told_and_nothing_goes() {
    let place = Workplace::new();
    let unix = "`cutoff_format = \"unix\"` would fit";
    for (kind, format, condition, keys, hint) in [
        ("INTEGER", SECONDS, "at < :cutoff", "", unix),
        ("", SECONDS, "at < :cutoff", "cutoff_format = \"unix_ms\"", unix),
        ("REAL", SECONDS, ":cutoff > t.at", "cutoff_format = \"rfc3339\"", unix),
        (
            "INTEGER",
            MILLISECONDS,
            "at < :cutoff",
            "",
            "`cutoff_format = \"unix_ms\"` would fit",
        ),
        (
            "INTEGER",
            MILLISECONDS,
            "at < :cutoff",
            "cutoff_format = \"unix\"",
            "`cutoff_format = \"unix_ms\"` would fit",
        ),
        ("TEXT", T, "at < :cutoff", "", "`cutoff_format = \"rfc3339\"` would fit"),
        (
            "TEXT",
            BLANK,
            "at < :cutoff",
            "cutoff_format = \"rfc3339\"",
            "`cutoff_format = \"sqlite\"` would fit",
        ),
        (
            "TEXT",
            BLANK,
            "at < :cutoff",
            "cutoff_format = \"unix\"",
            "`cutoff_format = \"sqlite\"` would fit",
        ),
        ("INTEGER", SECONDS, "coalesce(until, at) < :cutoff", "", unix),
        (
            "INTEGER",
            SECONDS,
            "id > 0 AND (at BETWEEN 0 AND :cutoff OR id < 0)",
            "",
            unix,
        ),
        (
            "INTEGER",
            SECONDS,
            "at < datetime('now', '-30 days')",
            "",
            "write both in one format",
        ),
        (
            "INTEGER",
            SECONDS,
            "datetime(at, 'unixepoch') < :cutoff",
            "cutoff_format = \"unix\"",
            "`cutoff_format = \"sqlite\"` would fit",
        ),
        (
            "INTEGER",
            "julianday('now')",
            "at < :cutoff",
            "cutoff_format = \"unix\"",
            "write both in one format",
        ),
        ("BLOB", "randomblob(8)", "at < :cutoff", "", "write both in one format"),
    ] {
        fill(&place, kind, format, "");
        let before = place.count("t");
        declare(&place, condition, keys);
        let what = format!("{format} with {condition} {keys}");
        let (code, text) = printed(&place.run(&["validate"]));
        assert!(
            code == 0 && text.contains("warning: ") && text.contains(hint),
            "{what}\n{text}"
        );
        assert_eq!(
            place.run(&["validate", "--deny-warnings"]).status.code(),
            Some(2),
            "{what}"
        );
        let (code, text) = printed(&place.run(&["plan", "tidy"]));
        assert!(
            code == 1 && text.contains("the run would fail") && text.contains(hint),
            "{what}\n{text}"
        );
        let service = place.start();
        let (_, body) = service.post("/trigger/tidy");
        let message = body["message"].as_str().unwrap();
        assert!(body["success"] == false && message.contains(hint), "{what}\n{message}");
        assert_eq!(place.count("t"), before, "{what}");
    }
}

#[test]
fn a_format_that_fits_deletes_what_is_old() {
    let place = Workplace::new();
    let old = |value: &str| format!("INSERT INTO t (at) VALUES ({value})");
    for (kind, format, condition, keys, more) in [
        (
            "INTEGER",
            SECONDS,
            "at < :cutoff",
            "cutoff_format = \"unix\"",
            OLD.to_owned(),
        ),
        (
            "TEXT",
            SECONDS,
            "at < :cutoff",
            "cutoff_format = \"unix\"",
            OLD.to_owned(),
        ),
        (
            "INTEGER",
            MILLISECONDS,
            "at < :cutoff",
            "cutoff_format = \"unix_ms\"",
            old("(unixepoch('now') - 86400 * 90) * 1000"),
        ),
        (
            "DATETIME",
            BLANK,
            "at < :cutoff",
            "",
            old("datetime('now', '-90 days')"),
        ),
        (
            "TEXT",
            T,
            "at < :cutoff",
            "cutoff_format = \"rfc3339\"",
            old("strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-90 days')"),
        ),
        (
            "TEXT",
            "date('now', '-' || i || ' minutes')",
            "at < :cutoff",
            "",
            old("date('now', '-90 days')"),
        ),
        // Zero stands for never, NULL for not yet, and a few rows were written by another version.
        (
            "INTEGER",
            SECONDS,
            "at < :cutoff",
            "cutoff_format = \"unix\"",
            old("0)") + ", (NULL",
        ),
        (
            "TEXT",
            BLANK,
            "at < :cutoff",
            "",
            old("datetime('now', '-90 days')") + "; INSERT INTO t (at) VALUES ('2090-01-01T00:00:00Z')",
        ),
        // Both sides are of one format, whatever the column is.
        (
            "INTEGER",
            SECONDS,
            "datetime(at, 'unixepoch') < :cutoff",
            "",
            OLD.to_owned(),
        ),
        (
            "INTEGER",
            MILLISECONDS,
            "at / 1000 < :cutoff",
            "cutoff_format = \"unix\"",
            old("(unixepoch('now') - 86400 * 90) * 1000"),
        ),
        ("INTEGER", SECONDS, "at < unixepoch(:cutoff)", "", OLD.to_owned()),
        (
            "TEXT",
            T,
            "at < datetime('now', '-30 days')",
            "",
            old("'2020-01-01T00:00:00Z'"),
        ),
    ] {
        let more = more.replace("0))", "0)");
        let more = if more.ends_with("NULL") { more + ")" } else { more };
        fill(&place, kind, format, &more);
        declare(&place, condition, keys);
        let what = format!("{format} with {condition} {keys}");
        let (code, text) = printed(&place.run(&["validate", "--deny-warnings"]));
        assert!(code == 0 || text.contains("no index supports"), "{what}\n{text}");
        assert!(!text.contains("compared"), "{what}\n{text}");
        let before = place.count("t");
        let service = place.start();
        let (_, body) = service.post("/trigger/tidy");
        assert_eq!(body["message"], "Deleted 1 row from t", "{what}");
        assert_eq!(place.count("t"), before - 1, "{what}");
    }
}

#[test]
fn an_empty_table_has_nothing_against_any_format_and_odd_rows_are_never_among_what_goes() {
    let place = Workplace::new();
    fill(&place, "INTEGER", SECONDS, "DELETE FROM t");
    declare(&place, "at < :cutoff", "");
    let service = place.start();
    assert_eq!(service.post("/trigger/tidy").1["message"], "Deleted 0 rows from t");
    // Texts among numbers: the texts fit, the numbers would all go.
    fill(
        &place,
        "BLOB",
        BLANK,
        "INSERT INTO t (at) VALUES (unixepoch('now')), (unixepoch('now') - 5)",
    );
    let before = place.count("t");
    let (_, body) = service.post("/trigger/tidy");
    assert!(
        body["success"] == false && body["message"].as_str().unwrap().contains("cannot be compared"),
        "{body}"
    );
    assert_eq!(place.count("t"), before);
}

#[test]
fn a_statement_of_any_kind_is_held_against_its_tables() {
    let place = Workplace::new();
    fill(&place, "INTEGER", SECONDS, "");
    place.write(
        "jobs.toml",
        "[notifications.log]\nlog = {}\n[jobs.tidy]\nschedule = \"@yearly\"\n[jobs.tidy.sql]\ntables = [\"t\"]\nretention = \"30d\"\n\
         statement = \"DELETE FROM t WHERE rowid IN (SELECT rowid FROM t AS old WHERE old.at < :cutoff LIMIT :batch)\"\n\
         [jobs.watch]\nschedule = \"@yearly\"\n[jobs.watch.alert]\ntables = [\"t\"]\nretention = \"30d\"\nquery = \"SELECT id FROM t WHERE at > :cutoff\"\nmessage = \"{id}\"\nnotify = [\"log\"]\n",
    );
    let before = place.count("t");
    let (_, text) = printed(&place.run(&["validate"]));
    assert_eq!(
        text.matches("`cutoff_format = \"unix\"` would fit").count(),
        2,
        "{text}"
    );
    let service = place.start();
    let (_, body) = service.post("/trigger/tidy");
    assert!(
        body["success"] == false && body["message"].as_str().unwrap().contains("nothing was changed"),
        "{body}"
    );
    assert_eq!(place.count("t"), before);
}

#[test]
fn a_clock_far_ahead_empties_no_small_table() {
    let place = Workplace::new();
    let rows = (0..500)
        .map(|i| format!("(datetime('2026-11-20', '-{i} hours'))"))
        .collect::<Vec<_>>()
        .join(", ");
    fill(
        &place,
        "TEXT",
        BLANK,
        &format!("DELETE FROM t; INSERT INTO t (at) VALUES {rows}"),
    );
    for keys in ["", "max_rows = 100000"] {
        declare(&place, "at < :cutoff", keys);
        let service = place.service().at("2031-06-01 12:00:00").start();
        let (_, body) = service.post("/trigger/tidy");
        assert!(
            body["success"] == false && body["message"].as_str().unwrap().contains("is the clock right?"),
            "{body}"
        );
        assert_eq!(place.count("t"), 500);
    }
    declare(&place, "at < :cutoff", "max_share = 1.0");
    let service = place.service().at("2031-06-01 12:00:00").start();
    assert_eq!(service.post("/trigger/tidy").1["message"], "Deleted 500 rows from t");
}
