//! Declared SQL that reaches beyond what it names is refused when it is loaded, and would have done harm without that.

use std::fmt::Write;

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
    assert!(text.contains("it inserts into `trail` (through `leaves`)"), "{text}");
    let (code, text) = place.validate(&declare("\"child\", \"trail\""));
    assert_eq!(code, 0, "{text}");
    let service = place.start();
    assert_eq!(service.post("/trigger/tidy").1["statistics"]["rows"], 2);
    assert_eq!(
        (place.count("parent"), place.count("child"), place.count("trail")),
        (1, 1, 2)
    );
}

/// Names of tables that are not named in `tables`; each as a source of rows, with a column.
const FORBIDDEN: &[(&str, &str)] = &[
    ("users", "password_hash"),
    ("USERS", "password_hash"),
    ("\"users\"", "\"password_hash\""),
    ("[users]", "[password_hash]"),
    ("main.users", "password_hash"),
    ("users AS sessions", "password_hash"),
    ("users AS json_each", "password_hash"),
    ("named", "p"),
    ("named_twice", "p"),
    ("sqlite_schema", "sql"),
    ("sqlite_master", "sql"),
    ("main.sqlite_schema", "sql"),
    ("sqlite_sequence", "seq"),
    ("pragma_table_info('users')", "name"),
    ("pragma_table_list", "name"),
    ("dbstat", "name"),
    ("secrets_text", "body"),
    ("secrets_text_content", "c0"),
];
/// Queries that give one value of a forbidden source; `{t}` is it, `{c}` its column.
const QUERIES: &[&str] = &[
    "SELECT {c} FROM {t}",
    "SELECT max({c}) FROM {t}",
    "SELECT count(*) FROM {t}",
    "SELECT 1 FROM {t} LIMIT 1",
    "SELECT * FROM (SELECT {c} FROM {t})",
    "SELECT x.p FROM (SELECT {c} AS p FROM {t}) AS x",
    "WITH c AS (SELECT {c} AS p FROM {t}) SELECT p FROM c",
    "WITH sessions AS (SELECT {c} AS p FROM {t}) SELECT p FROM sessions",
    "WITH c AS MATERIALIZED (SELECT {c} AS p FROM {t}) SELECT p FROM c",
    "WITH c AS NOT MATERIALIZED (SELECT {c} AS p FROM {t}) SELECT p FROM c",
    "WITH c AS (WITH d AS (SELECT {c} AS p FROM {t}) SELECT p FROM d) SELECT p FROM c",
    "WITH c AS (SELECT {c} AS p FROM {t}), d AS (SELECT p FROM c) SELECT p FROM d",
    "WITH named AS (SELECT {c} AS p FROM {t}) SELECT p FROM named",
    "WITH RECURSIVE c (p) AS (SELECT {c} FROM {t} UNION SELECT p FROM c) SELECT p FROM c",
    "SELECT id FROM sessions UNION SELECT {c} FROM {t}",
    "SELECT id FROM sessions EXCEPT SELECT {c} FROM {t}",
    "SELECT s.id FROM sessions AS s JOIN {t} ON true",
    "SELECT s.id FROM sessions AS s LEFT JOIN (SELECT {c} AS p FROM {t}) AS u ON u.p = s.id",
    "SELECT s.id FROM sessions AS s WHERE EXISTS (SELECT 1 FROM {t} WHERE {c} > s.id)",
    "SELECT CASE WHEN (SELECT count({c}) FROM {t}) THEN 1 END",
    "SELECT group_concat({c}) OVER () FROM {t}",
    "SELECT value FROM json_each((SELECT json_group_array({c}) FROM {t}))",
    "SELECT (SELECT (SELECT {c} FROM {t} LIMIT 1))",
    "VALUES ((SELECT {c} FROM {t} LIMIT 1))",
];
/// Where SQL may stand; `{q}` is a query.
const PLACES: &[&str] = &[
    "sql = { tables = [\"sessions\"], statement = \"DELETE FROM sessions WHERE id IN ({q})\" }",
    "sql = { tables = [\"sessions\"], statement = \"UPDATE sessions SET user_id = ({q})\" }",
    "sql = { tables = [\"sessions\"], statement = \"UPDATE sessions SET user_id = x.p FROM (SELECT ({q}) AS p) AS x\" }",
    "sql = { tables = [\"sessions\"], statement = \"WITH q AS ({q}) UPDATE sessions SET user_id = (SELECT * FROM q)\" }",
    "sql = { tables = [\"sessions\"], statement = \"INSERT INTO sessions (id, expires_at) SELECT 1, ({q})\" }",
    "sql = { tables = [\"sessions\"], statement = \"DELETE FROM sessions RETURNING ({q})\" }",
    "sql = { tables = [\"sessions\"], statement = \"INSERT INTO sessions (id) VALUES (1) ON CONFLICT DO UPDATE SET user_id = ({q})\" }",
    "cleanup = { delete_from = \"sessions\", where = \"id IN ({q})\" }",
    "cleanup = { delete_from = \"sessions\", where = \"EXISTS ({q})\" }",
    "cleanup = { delete_from = \"sessions\", where = \"id = ({q})\" }",
    "alert = { tables = [\"sessions\"], message = \"x\", notify = [\"log\"], query = \"SELECT ({q}) AS x\" }",
    "alert = { tables = [\"sessions\"], message = \"x\", notify = [\"log\"], query = \"SELECT id FROM sessions WHERE id IN ({q})\" }",
    "alert = { tables = [\"sessions\"], message = \"x\", notify = [\"log\"], query = \"{q}\" }",
];

/// Every way of naming a forbidden table inside every place where SQL may stand: thousands, and none compiles.
#[test]
fn no_statement_reads_past_the_fence() {
    let place = Workplace::new();
    place
        .database()
        .execute_batch(
            "CREATE VIEW named AS SELECT password_hash AS p FROM users;
             CREATE VIEW named_twice AS SELECT p FROM named;
             CREATE VIRTUAL TABLE secrets_text USING fts5 (body)",
        )
        .unwrap();
    let mut leaks: Vec<(String, String)> = Vec::new();
    for (table, column) in FORBIDDEN {
        for query in QUERIES {
            for place in PLACES {
                let query = query.replace("{t}", table).replace("{c}", column).replace('"', "\\\"");
                leaks.push((place.replace("{q}", &query), query));
            }
        }
    }
    assert!(leaks.len() > 5000, "{} leaks", leaks.len());
    let mut declaration = "[notifications.log]\nlog = {}\n".to_owned();
    for (number, (kind, _)) in leaks.iter().enumerate() {
        let _ = writeln!(declaration, "[jobs.leak-{number}-x]\nschedule = \"@daily\"\n{kind}");
    }
    place.write("jobs.toml", &declaration);
    let output = place.run(&["validate", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: std::collections::BTreeSet<String> = found["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|problem| problem["severity"] == "error" || problem["severity"] == "mismatch")
        .filter_map(|problem| problem["path"].as_str()?.split('.').nth(1).map(str::to_owned))
        .collect();
    let good: Vec<&String> = (0..leaks.len())
        .filter(|number| !found.contains(&format!("leak-{number}-x")))
        .map(|number| &leaks[number].0)
        .collect();
    assert!(good.is_empty(), "{} of {} are good: {good:#?}", good.len(), leaks.len());
}

#[test]
fn what_is_named_may_be_read_whatever_stands_between() {
    let place = Workplace::new();
    place
        .database()
        .execute_batch(
            "CREATE VIEW named AS SELECT password_hash AS p FROM users; CREATE VIEW named_twice AS SELECT p FROM named",
        )
        .unwrap();
    let mut declaration = "[notifications.log]\nlog = {}\n".to_owned();
    let mut number = 0;
    for (table, column) in FORBIDDEN.iter().take(9) {
        for query in QUERIES.iter().filter(|query| !query.contains("RECURSIVE")) {
            // A CTE that hides the view it reads is circular.
            if query.contains("WITH named AS") && table.starts_with("named") {
                continue;
            }
            let query = query.replace("{t}", table).replace("{c}", column).replace('"', "\\\"");
            number += 1;
            let _ = writeln!(
                declaration,
                "[jobs.read-{number}]\nschedule = \"@daily\"\nsql = {{ tables = [\"sessions\", \"users\", \"named\", \"named_twice\"], statement = \"DELETE FROM sessions WHERE id IN ({query})\" }}"
            );
        }
    }
    let (code, text) = place.validate(&declaration);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_trigger_made_after_the_check_is_inside_the_fence_and_so_is_the_record() {
    let place = Workplace::new();
    let database = place.database();
    database
        .execute_batch("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        .unwrap();
    database
        .execute(
            "INSERT INTO sessions (id, expires_at) VALUES ('a', '2020-01-01'), ('b', '2020-01-01')",
            [],
        )
        .unwrap();
    place.write(
        "jobs.toml",
        "[jobs.tidy]\nschedule = \"@yearly\"\n[jobs.tidy.cleanup]\ndelete_from = \"sessions\"\nwhere = \"id = 'a'\"\n\
         record = { insert_into = \"notes\", values = { text = \"done\" } }\n\
         [jobs.other]\nschedule = \"@yearly\"\n[jobs.other.sql]\nstatement = \"DELETE FROM sessions WHERE id = 'b'\"\ntables = [\"sessions\"]\n",
    );
    let service = place.start();
    place.set("secret", "value");
    for (trigger, job, why) in [
        (
            "late AFTER INSERT ON notes BEGIN UPDATE configurations SET value = ''",
            "tidy",
            "it updates `configurations`",
        ),
        (
            "later AFTER DELETE ON sessions BEGIN DELETE FROM configurations",
            "other",
            "it deletes from `configurations`",
        ),
    ] {
        database
            .execute_batch(&format!("CREATE TRIGGER {trigger}; END"))
            .unwrap();
        let (_, body) = service.post(&format!("/trigger/{job}"));
        let message = body["message"].as_str().unwrap();
        assert!(body["success"] == false && message.contains(why), "{body}");
    }
    assert_eq!(place.setting("secret").as_deref(), Some("value"));
}
