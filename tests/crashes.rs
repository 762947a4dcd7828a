//! The service killed at random moments, again and again, while jobs run every second: nothing runs twice, and what
//! is missing is what the history says. `KILLS=5000` makes it as many.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::Workplace;

/// How often it is killed, unless the variable `KILLS` says otherwise.
const KILLS: u64 = 200;
const JOBS: &str = r#"
[server]
port = 0
[jobs.once]
schedule = "* * * * * *"
[jobs.once.sql]
statement = "INSERT INTO ticks VALUES ('once', :scheduled_at)"
tables = ["ticks"]
[jobs.all]
schedule = "* * * * * *"
catch_up = "all"
[jobs.all.sql]
statement = "INSERT INTO ticks VALUES ('all', :scheduled_at)"
tables = ["ticks"]
"#;

fn lines(database: &rusqlite::Connection, query: &str) -> Vec<String> {
    database
        .prepare(query)
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the number of kills is the tester's to choose")]
pub(crate) fn kills(usual: u64) -> u64 {
    std::env::var("KILLS").map_or(usual, |kills| kills.parse().unwrap())
}

#[test]
fn two_hundred_kills_lose_and_repeat_nothing() {
    let place = Workplace::with_jobs(JOBS);
    place
        .database()
        .execute_batch("CREATE TABLE ticks (job TEXT, at TEXT)")
        .unwrap();
    let mut number = 20_261_120_u64;
    for _ in 0..kills(KILLS) {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut child = place
            .command()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(10 + (number >> 33) % 140));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let service = place.start();
    service.logged("run started");
    drop(service);
    let (state, database) = (place.state(), place.database());
    for connection in [&state, &database] {
        assert_eq!(lines(connection, "PRAGMA integrity_check"), ["ok"]);
    }
    let twice = lines(
        &database,
        "SELECT job || ' ' || at FROM ticks GROUP BY job, at HAVING count(*) > 1",
    );
    assert!(twice.is_empty(), "ran twice: {twice:?}");
    let time = "job || ' ' || strftime('%Y-%m-%dT%H:%M:%S', scheduled_at / 1000, 'unixepoch') || '.000Z'";
    let recorded: BTreeSet<String> = lines(&state, &format!("SELECT {time} FROM runs")).into_iter().collect();
    let succeeded: BTreeSet<String> = lines(&state, &format!("SELECT {time} FROM runs WHERE status = 'success'"))
        .into_iter()
        .collect();
    let interrupted: BTreeSet<String> = lines(
        &state,
        &format!("SELECT {time} FROM runs WHERE status IN ('interrupted', 'running')"),
    )
    .into_iter()
    .collect();
    let ran: BTreeSet<String> = lines(&database, "SELECT job || ' ' || at FROM ticks")
        .into_iter()
        .collect();
    assert!(
        succeeded.is_subset(&ran),
        "recorded as run, but not run: {:?}",
        succeeded.difference(&ran)
    );
    let unaccounted: Vec<&String> = ran
        .iter()
        .filter(|time| !succeeded.contains(*time) && !interrupted.contains(*time))
        .collect();
    assert!(unaccounted.is_empty(), "run, but not recorded: {unaccounted:?}");
    for job in ["once", "all"] {
        let of_job: Vec<i64> = state
            .prepare("SELECT scheduled_at / 1000 FROM runs WHERE job = ?1 ORDER BY 1")
            .unwrap()
            .query_map([job], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let missing: Vec<i64> = of_job
            .windows(2)
            .filter(|pair| pair[1] != pair[0] + 1)
            .map(|pair| pair[0])
            .collect();
        assert!(
            missing.is_empty(),
            "{job}: every second is in the ledger once, but after {missing:?}"
        );
    }
    assert!(recorded.len() > 20, "{} times", recorded.len());
}
