//! Jobs on a database of a PostgreSQL server: what is checked and refused, that the same rows go as by one plain DELETE,
//! and that nobody has to wait for that.

use serde_json::Value;

use crate::support::postgres::Server;
use crate::support::workplace::printed;
use crate::support::{Service, Workplace, eventually};

/// A workplace with the database `app`, in which `jobs` are declared.
fn workplace(server: &Server, database: &str, jobs: &str) -> Workplace {
    let place = Workplace::empty();
    place.write("jobs.toml", &declared(&server.url("postgres", database), jobs));
    place
}

fn declared(url: &str, jobs: &str) -> String {
    format!("[databases.app]\nurl = \"{url}\"\n{jobs}")
}

fn cleanup(job: &str, keys: &str) -> String {
    format!("[jobs.{job}]\nschedule = \"@yearly\"\n[jobs.{job}.cleanup]\n{keys}\n")
}

fn trigger(service: &Service, job: &str) -> Value {
    service.post(&format!("/trigger/{job}"));
    let run = service.newest(job);
    assert!(run["finished_at"].is_string(), "{run}");
    run
}

const TABLES: &[&str] = &[
    "CREATE TABLE {t} (id int, at timestamptz, name text)",
    "CREATE TABLE {t} (id int PRIMARY KEY, at timestamptz, name text); CREATE INDEX ON {t} (at)",
    "CREATE TABLE {t} (id int, at timestamptz, name text) PARTITION BY RANGE (at);
     CREATE TABLE {t}_a PARTITION OF {t} FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
     CREATE TABLE {t}_b PARTITION OF {t} FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
     CREATE TABLE {t}_c PARTITION OF {t} DEFAULT; CREATE INDEX ON {t} (at)",
    "CREATE TABLE {t} (id int, at timestamptz, name text); CREATE TABLE {t}_heir () INHERITS ({t})",
    "CREATE TABLE {t} (id int PRIMARY KEY, at timestamptz, name text);
     CREATE TABLE {t}_child (id int REFERENCES {t} ON DELETE CASCADE); CREATE INDEX ON {t}_child (id)",
    "CREATE TABLE {t} (id int PRIMARY KEY, at timestamptz, name text);
     CREATE FUNCTION {t}_keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF old.id % 7 = 0 THEN RETURN NULL; END IF; RETURN old; END';
     CREATE TRIGGER keep BEFORE DELETE ON {t} FOR EACH ROW EXECUTE FUNCTION {t}_keep()",
    "CREATE TABLE {t} (id int PRIMARY KEY, at timestamptz, name text, up int REFERENCES {t} ON DELETE SET NULL)",
];

const CONDITIONS: &[&str] = &[
    "id > 1480 AND at < :cutoff",
    "id < 300",
    "at < :cutoff",
    "at < :cutoff AND name <> 'n3'",
    "name IS NULL OR id % 3 = 0",
    "true",
    "at < (SELECT avg(extract(epoch from at)) * interval '1 second' + 'epoch'::timestamptz FROM {t})",
    "id NOT IN (SELECT id FROM {t} ORDER BY at DESC, id LIMIT 20)",
    "at IS NULL -- the rest is new",
];

/// In the order of the pages: old and new, named and not, in every partition.
const ROWS: &str = "INSERT INTO {t} (id, at, name) SELECT n, CASE WHEN n % 11 > 0 THEN '2026-01-01Z'::timestamptz + n * 37 % 90 * interval '1 day' END,
    CASE WHEN n % 5 > 0 THEN 'n' || n % 7 END FROM generate_series(1, 1500) n;";

#[test]
fn the_same_rows_go_as_by_one_plain_delete() {
    let server = Server::shared();
    let database = server.database();
    let mut jobs = String::new();
    let mut names = Vec::new();
    for (table, make) in TABLES.iter().enumerate() {
        for (number, condition) in CONDITIONS.iter().enumerate() {
            let name = format!("t{table}_{number}");
            let rest = if make.contains("_heir") {
                "INSERT INTO {t}_heir SELECT id + 5000, at, name FROM {t};"
            } else {
                ""
            };
            let rest = match make {
                _ if make.contains("_child") => "INSERT INTO {t}_child SELECT id FROM {t};",
                _ if make.contains(" up ") => "UPDATE {t} SET up = id - 1 WHERE id % 2 = 0;",
                _ => rest,
            };
            // Whatever happens to one of them happens to its twin.
            for own in [name.clone(), format!("{name}x")] {
                let statements = format!("{make}; {ROWS} {rest} ANALYZE {{t}};").replace("{t}", &own);
                server.sql(&database, &statements);
            }
            let keys = format!(
                "delete_from = \"{name}\"\nwhere = \"{}\"\nretention = \"30d\"\nmax_share = 1\nlock_budget = \"1ms\"{}",
                condition.replace("{t}", &name),
                if make.contains("_child") {
                    format!("\ntables = [\"{name}_child\"]")
                } else {
                    String::new()
                }
            );
            jobs += &cleanup(&name.replace('_', "-"), &keys);
            names.push((name, *condition));
        }
    }
    let place = workplace(&server, &database, &jobs);
    let service = place.service().at("2026-03-15 00:00:00").start();
    for (name, condition) in names {
        let run = trigger(&service, &name.replace('_', "-"));
        assert_eq!(run["status"], "success", "{name} {condition}: {run}");
        let twin = format!("{name}x");
        let plain = condition
            .replace("{t}", &twin)
            .replace(":cutoff", "'2026-02-13 00:05Z'");
        server.sql(&database, &format!("DELETE FROM {twin} WHERE ({plain}\n)"));
        let rows = |table: &str| server.sql(&database, &format!("SELECT t::text FROM {table} t ORDER BY 1"));
        assert_eq!(rows(&name), rows(&twin), "{name} {condition}");
    }
}

#[test]
fn what_cannot_work_is_told_with_its_place() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        &format!(
            "CREATE TABLE metrics (id bigint PRIMARY KEY, at timestamptz, value float8); CREATE TABLE audit (id int, what text);
             CREATE VIEW seen AS SELECT * FROM metrics; CREATE ROLE {database}_poor LOGIN; GRANT SELECT ON audit TO {database}_poor"
        ),
    );
    let validate = |url: &str, jobs: &str| {
        let place = Workplace::empty();
        place.write("jobs.toml", &declared(url, jobs));
        printed(&place.run(&["validate"]))
    };
    let url = server.url("postgres", &database);
    let with = |table: &str, condition: &str| {
        cleanup(
            "tidy",
            &format!("delete_from = \"{table}\"\nwhere = \"{condition}\"\nretention = \"30d\""),
        )
    };
    let sql = |statement: &str, tables: &str| {
        format!(
            "[jobs.tidy]\nschedule = \"@yearly\"\n[jobs.tidy.sql]\nstatement = \"{statement}\"\ntables = [{tables}]\n"
        )
    };
    for (jobs, wanted) in [
        (
            with("metric", "at < :cutoff"),
            "cleanup.delete_from: the database has no table `metric`",
        ),
        (with("metric", "at < :cutoff"), "did you mean `metrics`?"),
        (
            with("metrics", "value > 1 AND\\n  att < :cutoff"),
            "column \"att\" does not exist",
        ),
        (
            with("metrics", "value > 1 AND\\n  att < :cutoff"),
            "(line 2, column 3, at `att`)",
        ),
        (with("metrics", "at < :cutoff AND"), "syntax error"),
        (with("metrics", "at < :cutoff) OR (true"), "does not compile"),
        (with("metrics", "true; DROP TABLE metrics"), "`;` ends a statement"),
        (with("metrics", "at < :cut"), "`cut` is not a parameter"),
        (with("metrics", "at < $1"), "`$1` is not a parameter"),
        (
            with("metrics", "at < :cutoff AND id IN (SELECT id FROM audit)"),
            "it touches the table `audit`, which `tables` does not name",
        ),
        (
            with("seen", "at < :cutoff"),
            "`seen` is a view; name the table behind it",
        ),
        (sql("DROP TABLE metrics", "\"metrics\""), "the SQL begins with `DROP`"),
        (
            sql("WITH x AS (SELECT 1) SELECT * FROM x", "\"metrics\""),
            "it changes nothing",
        ),
        (
            sql("UPDATE metrics SET value = 0; SELECT 1", "\"metrics\""),
            "`;` ends a statement",
        ),
        (
            sql("DELETE FROM metrics WHERE at < 5", "\"metrics\""),
            "operator does not exist",
        ),
    ] {
        let (_, said) = validate(&url, &jobs);
        assert!(said.contains(wanted), "{jobs}\n{said}");
    }
    server.sql(&database, "CREATE TABLE plain (at timestamp)");
    let (_, said) = validate(&url, &with("plain", "at < :cutoff"));
    assert!(
        said.contains("`at` has no time zone, and its values are read as UTC"),
        "{said}"
    );
    let (code, said) = validate(&url, &with("metrics", "at < :cutoff"));
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("no time zone"), "{said}");
    assert!(said.contains("its role `postgres` is a superuser"), "{said}");
    assert!(
        said.contains("GRANT SELECT, DELETE ON \"metrics\" TO duplistatus_cron"),
        "{said}"
    );
    let (_, said) = validate(
        &server.url(&format!("{database}_poor"), &database),
        &with("metrics", "at < :cutoff"),
    );
    assert!(
        said.contains("lacks a right: permission denied for table metrics; the owner of the table gives it with: GRANT SELECT, DELETE ON \"metrics\" TO"),
        "{said}"
    );
    let audit = cleanup("tidy", "delete_from = \"audit\"\nwhere = \"id < 5\"");
    server.sql(&database, &format!("GRANT DELETE ON audit TO {database}_poor"));
    let (code, said) = validate(&server.url(&format!("{database}_poor"), &database), &audit);
    assert!(code == 0 && !said.contains("its role"), "{said}");
}

#[test]
fn a_statement_keeps_to_the_tables_that_are_named_whatever_its_parameters_are() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE metrics (id int); CREATE TABLE audit (id int); CREATE TABLE \"METRICS\" (id int);
         CREATE SCHEMA far; CREATE TABLE far.metrics (id int); CREATE VIEW seen AS SELECT * FROM audit",
    );
    for (statement, tables, refused) in [
        ("DELETE FROM metrics", "\"metrics\"", None),
        ("DELETE FROM far.metrics", "\"metrics\"", Some("far.metrics")),
        ("DELETE FROM \\\"METRICS\\\"", "\"metrics\"", Some("\"METRICS\"")),
        (
            "DELETE FROM metrics WHERE :job <> '' AND id IN (SELECT id FROM audit)",
            "\"metrics\"",
            Some("audit"),
        ),
        (
            "DELETE FROM metrics WHERE id IN (SELECT id FROM seen)",
            "\"metrics\"",
            Some("audit"),
        ),
        (
            "DELETE FROM metrics WHERE id IN (SELECT id FROM seen)",
            "\"metrics\", \"seen\"",
            None,
        ),
    ] {
        let job = format!(
            "[jobs.tidy]\nschedule = \"@yearly\"\n[jobs.tidy.sql]\nstatement = \"{statement}\"\ntables = [{tables}]\n"
        );
        let place = workplace(&server, &database, &job);
        let (code, said) = printed(&place.run(&["validate"]));
        match refused {
            None => assert_eq!(code, 0, "{statement}: {said}"),
            Some(table) => {
                let wanted = format!("it touches the table `{table}`, which `tables` does not name");
                assert!(code != 0 && said.contains(&wanted), "{statement}: {said}");
            }
        }
    }
}

#[test]
fn an_address_that_does_not_do_is_told_without_its_password() {
    let server = Server::shared();
    let job = cleanup("tidy", "delete_from = \"metrics\"\nwhere = \"true\"");
    for (url, wanted) in [
        (
            "postgresql://app:s3cret@127.0.0.1:1/app".to_owned(),
            "database postgresql://127.0.0.1:1/app cannot be reached",
        ),
        (
            format!("postgresql://app:s3cret@127.0.0.1:{}/app", server.port),
            "refuses the login",
        ),
        (
            format!("postgresql://postgres:s3cret@127.0.0.1:{}/none", server.port),
            "does not exist",
        ),
        (
            format!(
                "postgresql://postgres:s3cret@127.0.0.1:{}/postgres?sslmode=verify-full",
                server.port
            ),
            "offers no TLS, which its address asks for; sslmode=disable does without",
        ),
        (
            "postgresql://app:s3@cret@localhost/app".to_owned(),
            "must be written as %40",
        ),
        (
            "mysql://app:s3cret@localhost/app".to_owned(),
            "an address such as postgresql://",
        ),
    ] {
        let place = Workplace::empty();
        place.write("jobs.toml", &declared(&url, &job));
        let (_, said) = printed(&place.run(&["validate"]));
        assert!(
            said.contains(wanted) && !said.contains("cret@") && !said.contains("s3cret"),
            "{url}: {said}"
        );
        let (_, shown) = printed(&place.run(&["config"]));
        assert!(!shown.contains("s3cret") && !shown.contains("cret@"), "{shown}");
    }
    let place = Workplace::empty();
    for (keys, wanted) in [
        ("", "`path`, a SQLite file, or `url`, a PostgreSQL database, is missing"),
        (
            "path = \"a.db\"\nurl = \"postgresql://a@localhost/a\"",
            "has a `path` or a `url`, not both",
        ),
        (
            "path = \"a.db\"\ntime_zone = \"UTC\"",
            "only a database with a `url` has one",
        ),
    ] {
        let (code, said) = place.validate(&format!("[databases.app]\n{keys}\n{job}"));
        assert!(code != 0 && said.contains(wanted), "{said}");
    }
}

#[test]
fn a_plan_tells_what_would_go_and_guards_hold() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE metrics (id int, at timestamptz); CREATE INDEX ON metrics (at);
         INSERT INTO metrics SELECT n, '2026-01-01Z'::timestamptz + n * interval '1 minute' FROM generate_series(0, 49999) n; ANALYZE metrics",
    );
    let keys = "delete_from = \"metrics\"\nwhere = \"at < :cutoff\"\nretention = \"30d\"";
    let jobs = cleanup("tidy", keys)
        + &cleanup("few", &format!("{keys}\nmax_rows = 100"))
        + &cleanup("all", "delete_from = \"metrics\"\nwhere = \"true\"");
    let place = workplace(&server, &database, &jobs);
    let service = place.service().at("2026-02-10 00:00:00").start();
    let (_, plan) = service.get("/api/schedules/tidy/plan");
    assert_eq!(
        (&plan["rows"], &plan["total"]),
        (&14_401.into(), &50_000.into()),
        "{plan}"
    );
    assert_eq!(
        (&plan["column"], &plan["oldest"]),
        (&"at".into(), &"2026-01-01T00:00:00.000Z".into()),
        "{plan}"
    );
    assert!(
        plan["cutoff"].as_str().unwrap().starts_with("2026-01-11T00:00:"),
        "{plan}"
    );
    assert_eq!(plan["uses_index"], true, "{plan}");
    for (job, why) in [
        ("few", "more than 100 rows of metrics would go"),
        ("all", "more than max_share (0.9)"),
    ] {
        let run = trigger(&service, job);
        assert_eq!(run["status"], "failed", "{run}");
        assert!(run["error"].as_str().unwrap().contains(why), "{run}");
    }
    assert_eq!(server.sql(&database, "SELECT count(*) FROM metrics"), "50000");
    let run = trigger(&service, "tidy");
    assert_eq!(run["message"], "Deleted 14401 rows from metrics", "{run}");
}

#[test]
fn rows_that_others_have_locked_are_left_and_told_and_nobody_waits() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE metrics (id int, at timestamptz); CREATE INDEX ON metrics (at);
         INSERT INTO metrics SELECT n, '2026-01-01Z'::timestamptz + n * interval '1 second' FROM generate_series(1, 30000) n; ANALYZE metrics",
    );
    let keys = "delete_from = \"metrics\"\nwhere = \"at < :cutoff AND id <= 2000\"\nretention = \"1d\"\nmax_share = 1";
    let place = workplace(&server, &database, &cleanup("tidy", keys));
    let service = place.service().at("2026-02-10 00:00:00").start();
    let held = server.hold(&database, "BEGIN; UPDATE metrics SET id = id WHERE id IN (3, 1700);");
    let run = trigger(&service, "tidy");
    assert_eq!(run["status"], "success", "{run}");
    assert!(
        run["message"].as_str().unwrap().contains("2 rows locked by others"),
        "{run}"
    );
    assert_eq!(
        server.sql(&database, "SELECT count(*) FROM metrics WHERE id <= 2000"),
        "2"
    );
    drop(held);
    trigger(&service, "tidy");
    assert_eq!(
        server.sql(&database, "SELECT count(*) FROM metrics WHERE id <= 2000"),
        "0"
    );
}

#[test]
fn statements_run_in_rounds_write_their_record_and_alerts_tell_rows() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE sessions (id int, ends timestamp, open bool DEFAULT true);
         CREATE TABLE audit (at timestamptz, job text, rows bigint, details jsonb);
         INSERT INTO sessions SELECT n, '2026-02-09 20:00'::timestamp + n * interval '1 minute' FROM generate_series(1, 1000) n",
    );
    let jobs = r#"
        [databases.app]
        url = "URL"
        time_zone = "Asia/Tokyo"
        [jobs.close]
        schedule = "@yearly"
        [jobs.close.sql]
        statement = "UPDATE sessions SET open = false WHERE ctid = ANY (ARRAY(SELECT ctid FROM sessions WHERE open AND ends < :cutoff::timestamp LIMIT :batch))"
        tables = ["sessions"]
        retention = "1h"
        cutoff_format = "timestamp"
        message = "closed {rows}"
        record = { insert_into = "audit", values = { at = ":now", job = ":job", rows = ":rows", details = { of = ":job" } } }
        [jobs.tell]
        schedule = "@yearly"
        [jobs.tell.alert]
        query = "SELECT job, rows, details FROM audit"
        tables = ["audit"]
        key = "job"
        message = "{job} changed {rows} {details}"
        notify = ["log"]
        [notifications.log.log]
    "#;
    let place = Workplace::empty();
    place.write("jobs.toml", &jobs.replace("URL", &server.url("postgres", &database)));
    // 12:30 in UTC is 21:30 in Tokyo, so that an hour ago it was 20:30 there.
    let service = place.service().at("2026-02-09 12:30:00").start();
    let run = trigger(&service, "close");
    assert_eq!(run["message"], "closed 30", "{run}");
    let recorded = server.sql(
        &database,
        "SELECT job, rows, details, at < '2026-02-09 12:31Z' FROM audit",
    );
    assert_eq!(recorded, "close|30|{\"of\": \"close\"}|t");
    place.write(
        "jobs.toml",
        &jobs
            .replace("URL", &server.url("postgres", &database))
            .replace("at = \":now\"", "at = \"soon\""),
    );
    let (code, said) = printed(&place.run(&["validate"]));
    assert!(
        code != 0 && said.contains("invalid input syntax for type timestamp"),
        "{said}"
    );
    let run = trigger(&service, "tell");
    assert_eq!(run["message"], "1 finding, 1 reported, 0 resolved", "{run}");
    service.logged("close changed 30 {\\\"of\\\":\\\"close\\\"}");
}

#[test]
fn a_cutoff_that_says_nothing_of_texts_and_numbers_deletes_nothing() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE seconds (at bigint); CREATE TABLE fractions (at numeric); CREATE TABLE texts (at text);
         INSERT INTO seconds SELECT 1767225600 + n FROM generate_series(1, 500) n;
         INSERT INTO fractions SELECT at + 0.25 FROM seconds;
         INSERT INTO texts SELECT to_char('2026-01-01'::timestamp + n * interval '1 s', 'YYYY-MM-DD HH24:MI:SS') FROM generate_series(1, 500) n",
    );
    let job = |job: &str, table: &str, format: &str| {
        let keys = format!(
            "delete_from = \"{table}\"\nwhere = \"at < :cutoff\"\nretention = \"1d\"\nmax_share = 1\ncutoff_format = \"{format}\""
        );
        cleanup(job, &keys)
    };
    let jobs = job("wrong-number", "seconds", "unix_ms")
        + &job("wrong-text", "texts", "rfc3339")
        + &job("right", "seconds", "unix")
        + &job("right-as-well", "fractions", "unix");
    let place = workplace(&server, &database, &jobs);
    let service = place.service().at("2026-03-01 00:00:00").start();
    for (job, fitting) in [("wrong-number", "unix"), ("wrong-text", "sqlite")] {
        let run = trigger(&service, job);
        let wanted = format!("`cutoff_format = \"{fitting}\"` would fit; nothing was deleted");
        assert!(run["error"].as_str().unwrap_or_default().contains(&wanted), "{run}");
    }
    assert_eq!(trigger(&service, "right")["message"], "Deleted 500 rows from seconds");
    assert_eq!(
        trigger(&service, "right-as-well")["message"],
        "Deleted 500 rows from fractions"
    );
}

#[test]
fn conditions_that_look_further_than_their_row_delete_what_a_plain_delete_would() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE VIEW one AS SELECT 1 AS n; CREATE TABLE t (id int, grp int); INSERT INTO t SELECT n, n % 3 FROM generate_series(1, 3000) n;
         CREATE FUNCTION \"isExtra\"(int) RETURNS bool STABLE LANGUAGE sql AS 'SELECT (SELECT count(*) FROM t WHERE grp = $1) > 10';
         CREATE FUNCTION above(int, int) RETURNS bool STABLE LANGUAGE sql AS 'SELECT $1 > (SELECT min(id) + $2 FROM t)';
         CREATE OPERATOR <~> (LEFTARG = int, RIGHTARG = int, FUNCTION = above);
         CREATE FUNCTION crowded(t) RETURNS bool STABLE LANGUAGE sql AS 'SELECT (SELECT count(*) FROM t AS o WHERE o.grp = $1.grp) > 10';
         CREATE TABLE keep (id int); INSERT INTO keep SELECT generate_series(1, 2990)",
    );
    server.sql(
        &database,
        "CREATE VIEW least AS SELECT id FROM t ORDER BY id DESC LIMIT 2400",
    );
    let conditions = [
        "id NOT IN (TABLE least)",
        "\\\"isExtra\\\"(grp)",
        "id <~> 600",
        "id OPERATOR(public.<~>) 600",
        "t.crowded",
    ];
    for condition in conditions {
        let plain = condition.replace("\\\"", "\"");
        let left = server.sql(
            &database,
            &format!("BEGIN; DELETE FROM t WHERE ({plain}); SELECT count(*) FROM t; ROLLBACK"),
        );
        let copy = "DROP TABLE IF EXISTS copy; CREATE TABLE copy AS SELECT * FROM t";
        server.sql(&database, copy);
        let keys = format!(
            "delete_from = \"t\"\nwhere = \"{condition}\"\nmax_share = 1\nlock_budget = \"1ms\"\ntables = [\"least\"]"
        );
        let place = workplace(&server, &database, &cleanup("tidy", &keys));
        let service = place.start();
        let run = trigger(&service, "tidy");
        assert_eq!(run["status"], "success", "{condition}: {run}");
        assert_eq!(server.sql(&database, "SELECT count(*) FROM t"), left, "{condition}");
        server.sql(&database, "TRUNCATE t; INSERT INTO t SELECT * FROM copy");
    }
}

#[test]
fn rows_that_are_changed_meanwhile_go_as_well() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE metrics (id int, hits int, pad text) WITH (autovacuum_enabled = off);
         INSERT INTO metrics SELECT n, 0, repeat('x', 200) FROM generate_series(1, 300000) n; ANALYZE metrics",
    );
    let keys = "delete_from = \"metrics\"\nwhere = \"id > 0\"\nmax_share = 1\nlock_budget = \"1ms\"";
    let place = workplace(&server, &database, &cleanup("tidy", keys));
    let service = place.start();
    let count = |which: &str| -> u32 {
        let rows = server.sql(&database, &format!("SELECT count(*) FROM metrics WHERE {which}"));
        rows.parse().unwrap()
    };
    service.post("/trigger/tidy?wait=false");
    eventually("some to go", || (count("true") < 299_000).then_some(()));
    server.sql(&database, "UPDATE metrics SET hits = 1 WHERE id > 280000");
    assert!(count("hits = 1") > 10_000, "it was in the middle");
    eventually("it to end", || {
        (service.newest("tidy")["status"] == "success").then_some(())
    });
    assert_eq!(count("true"), 0);
}

#[test]
fn a_condition_that_writes_is_refused_by_whoever_looks_and_by_a_run() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE metrics (id int); INSERT INTO metrics VALUES (1); CREATE TABLE seen (id int);
         CREATE FUNCTION note(int) RETURNS boolean LANGUAGE sql AS 'INSERT INTO seen VALUES ($1) RETURNING true'",
    );
    let keys = "delete_from = \"metrics\"\nwhere = \"note(id)\"\nmax_share = 1";
    let place = workplace(&server, &database, &cleanup("tidy", keys));
    let (_, said) = printed(&place.run(&["validate"]));
    assert!(said.contains("it changes something, where it may only look"), "{said}");
    let (code, said) = printed(&place.run(&["plan", "tidy"]));
    assert!(
        code != 0 && said.contains("it changes something, where it may only look"),
        "{said}"
    );
    let run = trigger(&place.start(), "tidy");
    assert!(run["error"].to_string().contains("it changes something"), "{run}");
    assert_eq!(
        server.sql(
            &database,
            "SELECT (SELECT count(*) FROM seen), (SELECT count(*) FROM metrics)"
        ),
        "0|1"
    );
}

#[test]
fn few_rows_wait_for_nobody_and_old_statistics_hide_nothing() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE few (id int); INSERT INTO few SELECT generate_series(1, 1000);
         CREATE TABLE stale (id int) WITH (autovacuum_enabled = off); INSERT INTO stale SELECT generate_series(1, 200000); ANALYZE stale;
         DELETE FROM stale WHERE id > 6000; CREATE TABLE notes (found text); INSERT INTO notes VALUES ('x')",
    );
    let jobs = cleanup("few", "delete_from = \"few\"\nwhere = \"id <= 150\"")
        + &cleanup("stale", "delete_from = \"stale\"\nwhere = \"id <= 6000\"")
        + "[jobs.tell]\nschedule = \"@yearly\"\n[jobs.tell.alert]\nquery = \"SELECT found FROM notes\"\ntables = [\"notes\"]\nmessage = \"{found}\"\nnotify = [\"log\"]\n[notifications.log.log]\n";
    let place = workplace(&server, &database, &jobs);
    let service = place.start();
    let held = server.hold(&database, "BEGIN; SELECT 1 FROM few WHERE id = 5 FOR UPDATE;");
    let run = trigger(&service, "few");
    assert_eq!(
        run["message"], "Deleted 149 rows from few; 1 row locked by others and left for the next run",
        "{run}"
    );
    drop(held);
    let run = trigger(&service, "stale");
    assert!(
        run["error"]
            .as_str()
            .unwrap_or_default()
            .contains("6000 of 6000 rows of stale would go"),
        "{run}"
    );
    assert_eq!(
        trigger(&service, "tell")["message"],
        "1 finding, 1 reported, 0 resolved"
    );
}

#[test]
fn two_roles_on_one_server_are_two_databases() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE one.a (id int); CREATE TABLE two.b (id int)",
    );
    let url = server.url("postgres", &database);
    let declaration = format!(
        "[databases.one]\nurl = \"{url}?schema=one\"\n[databases.two]\nurl = \"{url}?schema=two\"\n{}{}",
        cleanup("a", "delete_from = \"a\"\nwhere = \"true\"").replace("@yearly\"", "@yearly\"\ndatabase = \"one\""),
        cleanup("b", "delete_from = \"b\"\nwhere = \"true\"").replace("@yearly\"", "@yearly\"\ndatabase = \"two\"")
    );
    let (code, said) = Workplace::empty().validate(&declaration);
    assert!(code == 0 && !said.contains("no table"), "{said}");
}

#[test]
fn the_example_of_a_docker_manager_does_its_work() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE host_metrics (id serial PRIMARY KEY, host_id int, timestamp timestamp DEFAULT now());
         CREATE INDEX ON host_metrics (timestamp); CREATE TABLE sessions (id text PRIMARY KEY, expires_at timestamp);
         INSERT INTO host_metrics (host_id, timestamp) SELECT n % 3, '2026-11-01'::timestamp - n * interval '10 minutes' FROM generate_series(1, 9000) n;
         INSERT INTO host_metrics (host_id, timestamp) SELECT 7, '2026-11-01 00:00' FROM generate_series(1, 1001);
         INSERT INTO sessions VALUES ('old', '2026-10-31 23:00'), ('new', '2026-11-01 01:00')",
    );
    let example = include_str!("../examples/docker-manager-postgresql.toml");
    let url = "postgresql://duplistatus_cron@localhost/manager";
    assert!(example.contains(url));
    let place = Workplace::empty();
    place.write("jobs.toml", &example.replace(url, &server.url("postgres", &database)));
    let service = place.service().at("2026-11-01 00:05:00").start();
    for (job, message) in [
        ("host-metrics-cleanup", "Deleted 4681 rows from host_metrics"),
        ("session-cleanup", "Deleted 1 row from sessions"),
        ("crowded", "1 finding, 1 reported, 0 resolved"),
    ] {
        let run = trigger(&service, job);
        assert_eq!(run["message"], message, "{run}");
    }
    service.logged("Host 7 sent 1001 metrics in 15 minutes");
}

#[test]
fn a_server_that_is_away_is_told_and_all_is_well_once_it_is_back() {
    let server = Server::new();
    let database = server.database();
    server.sql(&database, "CREATE TABLE t (id int)");
    let jobs = cleanup("tidy", "delete_from = \"t\"\nwhere = \"true\"");
    let place = workplace(&server, &database, &jobs);
    server.stop("fast");
    let service = place.start();
    let away = format!(
        "database postgresql://127.0.0.1:{}/{database} cannot be reached",
        server.port
    );
    let reasons = |health: &Value| health["reasons"].to_string();
    eventually("health to tell", || {
        reasons(&service.health()).contains(&away).then_some(())
    });
    let run = trigger(&service, "tidy");
    assert!(run["error"].as_str().unwrap().starts_with(&away), "{run}");
    server.start();
    assert_eq!(trigger(&service, "tidy")["status"], "success");
    eventually("health to be well", || {
        (service.health()["status"] == "ok").then_some(())
    });
}

#[test]
fn a_run_that_is_over_leaves_nothing_running_on_the_server() {
    let server = Server::shared();
    let database = server.database();
    server.sql(&database, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
    let job = |id: &str, timeout: &str| {
        format!(
            "[jobs.{id}]\nschedule = \"@yearly\"\ntimeout = \"{timeout}\"\n[jobs.{id}.sql]\nstatement = \"UPDATE t SET id = 2 FROM pg_sleep(60)\"\ntables = [\"t\"]\n"
        )
    };
    let place = workplace(&server, &database, &(job("late", "1s") + &job("cancelled", "1m")));
    let service = place.start();
    let run = trigger(&service, "late");
    assert_eq!(run["status"], "timed_out", "{run}");
    service.post("/trigger/cancelled?wait=false");
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'duplistatus-cron/%' AND state <> 'idle' AND datname = current_database()";
    eventually("the statement to run", || {
        (server.sql(&database, sleeping) == "1").then_some(())
    });
    let id = service.newest("cancelled")["id"].clone();
    service.post(&format!("/api/schedules/executions/{id}/cancel"));
    eventually("the run to end", || {
        (service.newest("cancelled")["status"] == "interrupted").then_some(())
    });
    eventually("the statement to be ended", || {
        (server.sql(&database, sleeping) == "0").then_some(())
    });
    assert_eq!(server.sql(&database, "SELECT id FROM t"), "1");
}
