//! Declared SQL that reaches beyond what it names is refused when it is loaded, and would have done harm without that.

use crate::support::Workplace;

/// A `sql` job on the table `sessions`.
fn declare(statement: &str) -> String {
    format!(
        "[jobs.tidy]\nschedule = \"@daily\"\n[jobs.tidy.sql]\ntables = [\"sessions\"]\nstatement = '''{statement}'''\n"
    )
}

#[test]
fn what_reaches_beyond_the_named_tables_is_refused() {
    for (statement, why) in [
        ("ATTACH 'other.db' AS other", "the SQL begins with `ATTACH`"),
        ("PRAGMA journal_mode = DELETE", "the SQL begins with `PRAGMA`"),
        ("VACUUM", "the SQL begins with `VACUUM`"),
        ("VACUUM INTO 'copy.db'", "the SQL begins with `VACUUM`"),
        ("DROP TABLE sessions", "the SQL begins with `DROP`"),
        ("CREATE TABLE x (y)", "the SQL begins with `CREATE`"),
        ("ALTER TABLE sessions ADD COLUMN x", "the SQL begins with `ALTER`"),
        ("BEGIN", "the SQL begins with `BEGIN`"),
        ("SELECT load_extension('x')", "the SQL begins with `SELECT`"),
        (
            "DELETE FROM audit_log",
            "it deletes from `audit_log`, which is not named in `tables`",
        ),
        ("UPDATE configurations SET value = ''", "it updates `configurations`"),
        (
            "INSERT INTO configurations VALUES ('a', 'b')",
            "it inserts into `configurations`",
        ),
        ("DELETE FROM sqlite_master", "sqlite_master"),
        (
            "DELETE FROM sessions WHERE id IN (SELECT value FROM configurations)",
            "it reads `configurations`",
        ),
        ("DELETE FROM sessions; DELETE FROM sessions", "more than one statement"),
        (
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) DELETE FROM sessions WHERE id IN (SELECT i FROM n)",
            "it is recursive",
        ),
        (
            "DELETE FROM sessions WHERE load_extension('x')",
            "it loads an extension",
        ),
        (
            "DELETE FROM sessions WHERE id IN (SELECT name FROM pragma_table_info('users'))",
            "pragma_table_info",
        ),
    ] {
        let (code, text) = Workplace::new().validate(&declare(statement));
        assert!(code == 2 && text.contains(why), "{statement}\n{text}");
    }
}

#[test]
fn each_of_them_would_have_done_harm() {
    for (statement, harm) in [
        ("DELETE FROM audit_log", "SELECT count(*) = 0 FROM audit_log"),
        (
            "UPDATE configurations SET value = ''",
            "SELECT count(*) = 1 FROM configurations WHERE value = ''",
        ),
        (
            "DROP TABLE sessions",
            "SELECT count(*) = 0 FROM sqlite_schema WHERE name = 'sessions'",
        ),
        (
            "CREATE TABLE x (y)",
            "SELECT count(*) = 1 FROM sqlite_schema WHERE name = 'x'",
        ),
    ] {
        let place = Workplace::new();
        place.audit("2026-01-01 00:00:00", "login");
        place.set("secret", "value");
        let database = place.database();
        database.execute_batch(statement).unwrap();
        let done: bool = database.query_row(harm, [], |row| row.get(0)).unwrap();
        assert!(done, "{statement}");
    }
}

#[test]
fn cascades_and_triggers_must_be_named() {
    let place = Workplace::new();
    place
        .database()
        .execute_batch(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY, old INTEGER);
             CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent ON DELETE CASCADE);
             CREATE TABLE trail (id INTEGER PRIMARY KEY, parent INTEGER);
             CREATE TRIGGER leaves AFTER DELETE ON parent BEGIN INSERT INTO trail (parent) VALUES (old.id); END;
             INSERT INTO parent VALUES (1, 1), (2, 0), (3, 1);
             INSERT INTO child VALUES (10, 1), (20, 2);",
        )
        .unwrap();
    let declare = |tables: &str| {
        format!(
            "[jobs.tidy]\nschedule = \"@daily\"\ncleanup = {{ delete_from = \"parent\", where = \"old = 1\", tables = [{tables}] }}\n"
        )
    };
    let (code, text) = place.validate(&declare(""));
    assert_eq!(code, 2);
    assert!(text.contains("which is not named in `tables`"), "{text}");
    let (_, text) = place.validate(&declare("\"child\""));
    assert!(
        text.contains("it inserts into `trail`, by the trigger `leaves`"),
        "{text}"
    );
    let (code, text) = place.validate(&declare("\"child\", \"trail\""));
    assert_eq!(code, 0, "{text}");
    let service = place.start();
    assert_eq!(service.post("/trigger/tidy").1["statistics"]["rows"], 2);
    assert_eq!(
        (place.count("parent"), place.count("child"), place.count("trail")),
        (1, 1, 2)
    );
}
