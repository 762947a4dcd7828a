//! A cleanup deletes exactly what one plain DELETE would: generated tables, indexes, views, triggers and foreign keys,
//! against generated conditions, row for row. The declaration decides nothing: what SQLite reports does.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rusqlite::Connection;
use serde_json::json;

use crate::support::Workplace;

/// A table `t`, its companions, and whether a condition can name `rowid`.
const TABLES: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, boss INTEGER)",
    "CREATE TABLE t (id INTEGER, at INTEGER, name TEXT COLLATE NOCASE, boss INTEGER)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, boss INTEGER) WITHOUT ROWID",
    "CREATE TABLE t (id INTEGER, at INTEGER, name TEXT, boss INTEGER, PRIMARY KEY (name, id)) WITHOUT ROWID",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, boss INTEGER REFERENCES t (id) ON DELETE CASCADE)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, boss INTEGER REFERENCES t (id) ON DELETE SET NULL)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, boss INTEGER REFERENCES t (id) ON DELETE SET DEFAULT DEFERRABLE)",
    "CREATE TABLE t (rowid TEXT, id INTEGER, at INTEGER, name TEXT, boss INTEGER)",
    "CREATE TABLE t (rowid TEXT, _rowid_ TEXT, oid TEXT, id INTEGER, at INTEGER, name TEXT, boss INTEGER)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, boss INTEGER, age AS (1000 - at))",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, boss INTEGER REFERENCES t (id) ON DELETE SET NULL, age AS (boss IS NULL))",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, name TEXT, boss INTEGER REFERENCES t (id))",
    "CREATE TABLE t (id INTEGER, at INTEGER, name TEXT COLLATE NOCASE, boss INTEGER, PRIMARY KEY (name COLLATE BINARY, id)) WITHOUT ROWID",
];
/// What may stand beside it; `u`, `log` and the views are always there.
const EXTRAS: &[&str] = &[
    "",
    "CREATE INDEX t_at ON t (at)",
    "CREATE INDEX t_part ON t (name, at) WHERE at > 200",
    "CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO log VALUES (old.id); END",
    "CREATE TRIGGER g AFTER DELETE ON t BEGIN UPDATE t SET at = at + 300 WHERE id = old.id + 1; END",
    "CREATE TRIGGER g AFTER DELETE ON t BEGIN UPDATE t SET at = NULL WHERE boss = old.id; END",
    "CREATE TRIGGER g BEFORE DELETE ON t BEGIN DELETE FROM t WHERE boss = old.id; END",
    "CREATE TRIGGER g BEFORE DELETE ON t WHEN old.id % 7 = 0 BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER g AFTER DELETE ON t BEGIN DELETE FROM u WHERE n = old.id; END",
    "CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO log SELECT count(*) FROM t; END",
    "CREATE TRIGGER g BEFORE DELETE ON t WHEN (SELECT count(*) FROM t) < 30 BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER g AFTER DELETE ON t BEGIN UPDATE log SET id = old.id; END",
    "CREATE TABLE c (t INTEGER REFERENCES t (id) ON DELETE CASCADE, n INTEGER)",
    "CREATE TABLE c (t INTEGER REFERENCES t (id) ON DELETE CASCADE, n INTEGER);
     CREATE TRIGGER g AFTER DELETE ON c BEGIN UPDATE t SET at = at + 500 WHERE id = old.n; END",
    "CREATE TABLE c (t INTEGER REFERENCES t (id) ON DELETE SET NULL, n INTEGER)",
    "CREATE TABLE c (t INTEGER REFERENCES t (id), n INTEGER)",
    "CREATE TRIGGER g BEFORE DELETE ON t BEGIN INSERT INTO log VALUES (CASE WHEN old.id = 77 THEN RAISE(IGNORE) END); END",
];
const ALWAYS: &str = "CREATE TABLE u (n INTEGER, name TEXT);
     CREATE TABLE log (id);
     CREATE VIEW stats AS SELECT avg(x.at) AS mean, count(*) AS n FROM t AS x;
     CREATE VIEW over_stats AS SELECT mean AS m FROM stats;
     CREATE VIEW t1 AS SELECT id FROM t;
     CREATE VIEW young AS SELECT y.id AS id FROM t AS y WHERE y.at > 600;
     INSERT INTO log VALUES (0)";
/// Parts of conditions; `{}` is a number.
const PARTS: &[&str] = &[
    "at < {}",
    "at % 3 = 0",
    "name < 'n5'",
    "name IS NULL",
    "at IS NULL",
    "boss IS NOT NULL",
    "length(name) + at > {}",
    "at BETWEEN 100 AND {}",
    "at < (SELECT mean FROM stats)",
    "at > (SELECT m FROM over_stats)",
    "(SELECT n FROM stats) > {}",
    "id NOT IN (SELECT id FROM young)",
    "id NOT IN (SELECT id FROM t ORDER BY at DESC, id LIMIT 20)",
    "EXISTS (SELECT 1 FROM t AS other WHERE other.at > t.at AND other.name IS t.name)",
    "id IN (SELECT n FROM u)",
    "NOT EXISTS (SELECT 1 FROM u WHERE u.n = t.id)",
    "(WITH w AS (SELECT max(at) AS top FROM t) SELECT top FROM w) - at > {}",
    "id IN (WITH young AS (SELECT n AS id FROM u) SELECT id FROM young)",
    "id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY name ORDER BY at DESC, id) AS place FROM t) WHERE place > 3)",
    "at < (SELECT avg(at) FROM t)",
    "boss IN (SELECT id FROM t WHERE at < {})",
    "id IN u1",
    "boss NOT IN (SELECT id FROM t)",
    "boss IN (SELECT id FROM t)",
    "boss IN t1",
    "age > {}",
    "age",
];

#[derive(Clone, Debug)]
struct Case {
    table: usize,
    extras: [usize; 2],
    parts: Vec<(usize, bool, u16)>,
    rows: Vec<(Option<u16>, Option<u8>, Option<u8>)>,
}

fn cases() -> impl Strategy<Value = Case> {
    use proptest::collection::vec;
    use proptest::option::weighted;
    let rows = vec(
        (
            weighted(0.9, 0_u16..1000),
            weighted(0.9, 0_u8..10),
            weighted(0.4, any::<u8>()),
        ),
        0..450,
    );
    let parts = vec((0..PARTS.len(), any::<bool>(), 0_u16..1000), 1..4);
    (0..TABLES.len(), [0..EXTRAS.len(), 0..3_usize], parts, rows).prop_map(|(table, extras, parts, rows)| Case {
        table,
        extras,
        parts,
        rows,
    })
}

impl Case {
    fn condition(&self) -> String {
        let mut condition = String::new();
        for (index, (part, and, number)) in self.parts.iter().enumerate() {
            let part = PARTS[*part].replace("{}", &number.to_string());
            condition = match (index, and) {
                (0, _) => part,
                (_, true) => format!("({condition}) AND {part}"),
                (_, false) => format!("({condition}) OR {part}"),
            };
        }
        condition
    }

    /// Fills an empty database; false where SQLite does not take the schema.
    fn fill(&self, database: &Connection) -> bool {
        let schema = [
            TABLES[self.table],
            EXTRAS[self.extras[0]],
            EXTRAS[self.extras[1]],
            ALWAYS,
        ]
        .join(";\n");
        database.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        if database.execute_batch(&schema).is_err() {
            return false;
        }
        database
            .execute_batch("CREATE TABLE u1 (n INTEGER); INSERT INTO u1 VALUES (3), (5), (8), (200)")
            .unwrap();
        database.execute_batch("BEGIN").unwrap();
        let count = self.rows.len().max(1);
        for (number, (at, name, boss)) in self.rows.iter().enumerate() {
            let name = name.map_or_else(|| format!("x{number}"), |name| format!("n{name}"));
            let boss = boss.map(|boss| i64::try_from(usize::from(boss) % count).unwrap());
            let number = i64::try_from(number).unwrap();
            let insert = "INSERT INTO t (id, at, name, boss) VALUES (?1, ?2, ?3, ?4)";
            database.execute(insert, (number, at, name, boss)).unwrap();
        }
        database
            .execute_batch("INSERT INTO u SELECT id, name FROM t WHERE id % 5 = 0")
            .unwrap();
        // Children of half of the rows, some of whom point at another row.
        let _ = database.execute_batch("INSERT INTO c SELECT id, (id * 7) % 100 FROM t WHERE id % 2 = 0");
        database.execute_batch("COMMIT; PRAGMA foreign_keys = ON").unwrap();
        true
    }
}

fn content(database: &Connection) -> Vec<String> {
    let mut all = Vec::new();
    for table in ["t", "u", "log", "c"] {
        let Ok(mut statement) = database.prepare(&format!("SELECT * FROM {table}")) else {
            continue;
        };
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let line = (0..columns).fold(table.to_owned(), |line, index| {
                format!("{line} {:?}", row.get_ref(index).unwrap())
            });
            all.push(line);
        }
    }
    all.sort();
    all
}

/// Empties the database without replacing its file, which the service may have open.
fn empty(database: &Connection) {
    database.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    database.execute_batch("PRAGMA synchronous = OFF; BEGIN").unwrap();
    let mut named = database
        .prepare("SELECT type, name FROM sqlite_schema WHERE type IN ('view', 'table') AND name NOT LIKE 'sqlite%'")
        .unwrap();
    let named: Vec<(String, String)> = named
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (kind, name) in named {
        database
            .execute_batch(&format!("DROP {kind} IF EXISTS {name}"))
            .unwrap();
    }
    database.execute_batch("COMMIT").unwrap();
}

const DECLARATION: &str = r#"
[jobs.tidy]
schedule = "@yearly"
[jobs.tidy.cleanup]
delete_from = "t"
tables = ["u", "u1", "log", "c", "stats", "over_stats", "young", "t1"]
lock_budget = "1ms"
max_share = 1.0
"#;

/// How many cases are tried; `CASES=100000 cargo test exactness` tries as many as one likes.
#[expect(
    clippy::disallowed_methods,
    reason = "it is a variable of this test, not of the program"
)]
fn tries() -> u32 {
    std::env::var("CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(2000)
}

#[test]
fn the_same_rows_go_as_by_one_plain_statement_whatever_the_schema() {
    let (place, other) = (Workplace::new(), Workplace::new());
    let [ours, plain] = [&place, &other].map(Workplace::database);
    empty(&ours);
    empty(&plain);
    place.write("jobs.toml", &format!("{DECLARATION}where = \"false\"\n"));
    let service = place.start();
    let mut runner = TestRunner::new(Config {
        cases: tries(),
        max_shrink_iters: 200,
        ..Config::default()
    });
    let compared = std::cell::Cell::new(0);
    let outcome = runner.run(&cases(), |case| {
        empty(&ours);
        empty(&plain);
        prop_assume!(case.fill(&ours) && case.fill(&plain));
        let condition = case.condition();
        place.write("jobs.toml", &format!("{DECLARATION}where = {}\n", json!(condition)));
        let (status, reloaded) = service.post("/reload-config");
        // A foreign key that fits nothing is refused by SQLite itself.
        let compiles = plain.prepare(&format!("DELETE FROM t WHERE {condition}")).is_ok();
        prop_assert_eq!(status == 200, compiles, "{}: {}", &condition, reloaded);
        if !compiles {
            return Ok(());
        }
        let expected = plain.execute(&format!("DELETE FROM t WHERE {condition}"), []);
        let (_, body) = service.post("/trigger/tidy");
        prop_assert_eq!(
            body["success"] == true,
            expected.is_ok(),
            "{}: {} {:?}",
            &condition,
            body,
            expected
        );
        prop_assert_eq!(
            content(&ours),
            content(&plain),
            "{} {:?} WHERE {}",
            TABLES[case.table],
            case.extras.map(|extra| EXTRAS[extra]),
            &condition
        );
        compared.set(compared.get() + 1);
        Ok(())
    });
    outcome.unwrap();
    assert!(compared.get() >= tries() / 2, "{} cases", compared.get());
}
