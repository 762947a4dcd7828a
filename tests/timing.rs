//! Missed times, overlaps, limits, retries, clocks that are set: the engine under a clock that tests move.

use std::time::Duration;

use duplistatus_cron::{Clock, Command};
use duplistatus_cron::{Filter, Run};
use jiff::SignedDuration;
use tokio::sync::oneshot;

use crate::engine::{engine, engine_by, report};
use crate::support::Workplace;
use crate::support::workplace::copy_database;

const QUICK: &str = "cleanup = { delete_from = \"sessions\", where = \"false\" }\n";
/// A job that needs the write lock.
const LOCKING: &str = "sql = { tables = [\"sessions\"], statement = \"DELETE FROM sessions WHERE false\" }\n";
/// A statement that takes until its timeout.
const ENDLESS: &str = "sql = { tables = [\"sessions\"], statement = \"DELETE FROM sessions WHERE id IN (SELECT count(*) FROM json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') a, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') b, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') c)\" }\n";

fn job(id: &str, schedule: &str, keys: &str, kind: &str) -> String {
    format!("[jobs.{id}]\nschedule = \"{schedule}\"\n{keys}\n{kind}")
}

/// Every recorded run of a job as "time trigger status", oldest first.
fn runs(place: &Workplace, job: &str) -> Vec<String> {
    let line = |run: &Run| {
        let time = run.scheduled_at.to_string();
        format!(
            "{} {} {}",
            time[5..16].replace('T', " "),
            run.trigger.as_str(),
            run.status.as_str()
        )
    };
    all(place, job).iter().map(line).collect()
}

fn all(place: &Workplace, job: &str) -> Vec<Run> {
    let filter = Filter {
        job: Some(job.to_owned()),
        limit: 1000,
        ..Filter::default()
    };
    let mut runs = crate::engine::history(place, &filter).runs;
    runs.sort_by_key(|run| run.scheduled_at);
    runs
}

async fn minutes(count: u64) {
    tokio::time::sleep(Duration::from_secs(60 * count)).await;
}

/// Runs the service from `from` for a while, and again at `again`.
async fn twice(place: &Workplace, declaration: &str, from: &str, again: &str) {
    let (first, running) = engine(place, declaration, from);
    minutes(2).await;
    first.send(Command::Shutdown).await.unwrap();
    running.await.unwrap();
    let (_second, _running) = engine(place, declaration, again);
    minutes(5).await;
}

/// Waits until `look` is true.
async fn until(what: &str, look: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !look() {
        assert!(began.elapsed() < Duration::from_mins(1), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn times_missed_while_the_service_was_down_are_caught_up_as_declared() {
    for (keys, expected) in [
        (
            "catch_up = \"none\"",
            vec![
                "11-20 12:00 schedule success",
                "11-20 12:10 schedule skipped",
                "11-20 12:20 schedule skipped",
                "11-20 12:30 schedule skipped",
                "11-20 12:40 schedule success",
            ],
        ),
        (
            "catch_up = \"once\"",
            vec![
                "11-20 12:00 schedule success",
                "11-20 12:10 schedule skipped",
                "11-20 12:20 schedule skipped",
                "11-20 12:30 catch_up success",
                "11-20 12:40 schedule success",
            ],
        ),
        (
            "catch_up = \"all\"\nstarting_deadline = \"20m\"",
            vec![
                "11-20 12:00 schedule success",
                "11-20 12:10 schedule skipped",
                "11-20 12:20 catch_up success",
                "11-20 12:30 catch_up success",
                "11-20 12:40 schedule success",
            ],
        ),
    ] {
        let place = Workplace::new();
        twice(
            &place,
            &job("tidy", "*/10 * * * *", keys, QUICK),
            "2026-11-20T11:59:00Z",
            "2026-11-20T12:36:00Z",
        )
        .await;
        assert_eq!(runs(&place, "tidy"), expected, "{keys}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_active_or_had_other_times_is_not_caught_up() {
    let place = Workplace::new();
    let old = job("tidy", "*/10 * * * *", "", QUICK);
    let (first, running) = engine(&place, &old, "2026-11-20T11:59:00Z");
    minutes(2).await;
    first.send(Command::Shutdown).await.unwrap();
    running.await.unwrap();
    // Another schedule, and a job that was not there before.
    let new = job("tidy", "*/7 * * * *", "", QUICK) + &job("fresh", "*/10 * * * *", "", QUICK);
    let (_second, _running) = engine(&place, &new, "2026-11-20T12:36:00Z");
    minutes(5).await;
    assert_eq!(runs(&place, "tidy"), ["11-20 12:00 schedule success"]);
    assert_eq!(runs(&place, "fresh"), ["11-20 12:40 schedule success"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_put_forward_means_missed_time_up_to_three_hours_and_a_correction_beyond() {
    for (by, expected) in [
        (
            SignedDuration::from_secs(1),
            vec!["11-20 12:00 schedule success", "11-20 12:30 schedule success"],
        ),
        (
            SignedDuration::from_hours(1),
            vec![
                "11-20 12:00 schedule success",
                "11-20 12:30 schedule skipped",
                "11-20 13:00 catch_up success",
                "11-20 13:30 schedule success",
            ],
        ),
        (
            SignedDuration::from_hours(24),
            vec!["11-20 12:00 schedule success", "11-21 12:30 schedule success"],
        ),
        (
            SignedDuration::from_hours(24 * 365),
            vec!["11-20 12:00 schedule success", "11-20 12:30 schedule success"],
        ),
        (
            SignedDuration::from_secs(-1),
            vec!["11-20 12:00 schedule success", "11-20 12:30 schedule success"],
        ),
        // 12:00 is in the ledger: it is not run again when the clock shows it once more.
        (
            SignedDuration::from_hours(-1),
            vec!["11-20 11:30 schedule success", "11-20 12:00 schedule success"],
        ),
        (
            SignedDuration::from_hours(-24),
            vec!["11-19 12:30 schedule success", "11-20 12:00 schedule success"],
        ),
        (
            SignedDuration::from_hours(-24 * 365),
            vec!["11-20 12:30 schedule success", "11-20 12:00 schedule success"],
        ),
    ] {
        let place = Workplace::new();
        let clock = Clock::starting_at("2026-11-20T11:59:00Z".parse().unwrap());
        let (_engine, _running) = engine_by(&place, &job("tidy", "*/30 * * * *", "", QUICK), clock.clone());
        minutes(6).await;
        clock.put(by);
        minutes(29).await;
        assert_eq!(runs(&place, "tidy"), expected, "{by:?}");
    }
}

#[tokio::test]
async fn runs_that_overlap_do_as_declared() {
    for (keys, expected) in [
        ("concurrency_policy = \"forbid\"", ["success", "skipped", "skipped"]),
        ("concurrency_policy = \"queue\"", ["success", "success", "skipped"]),
        (
            "concurrency_policy = \"replace\"",
            ["interrupted", "interrupted", "success"],
        ),
        (
            "concurrency_policy = \"allow\"\nmax_running = 2",
            ["success", "success", "skipped"],
        ),
    ] {
        let place = Workplace::new();
        // Each run waits for the lock that the test holds for a while.
        let lock = place.database();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let clock = Clock::starting_at("2026-11-20T12:00:01.9Z".parse().unwrap());
        // Far enough apart that no two are due at once on a slow machine.
        let (_engine, _running) = engine_by(&place, &job("slow", "*/3 * * * * *", keys, LOCKING), clock);
        until("three times to be due", || all(&place, "slow").len() >= 3).await;
        lock.execute_batch("ROLLBACK").unwrap();
        let is_over = |run: &Run| run.finished_at.is_some();
        until("the first three to end", || {
            all(&place, "slow").iter().take(3).all(is_over)
        })
        .await;
        let found = all(&place, "slow");
        let statuses: Vec<&str> = found.iter().take(3).map(|run| run.status.as_str()).collect();
        assert_eq!(statuses, expected, "{keys}");
    }
}

#[tokio::test]
async fn a_group_has_its_jobs_take_turns() {
    let place = Workplace::new();
    let lock = place.database();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let member = |id: &str| job(id, "* * * * * *", "group = \"g\"", LOCKING);
    let declaration = format!(
        "[groups.g]\nmax_running = 2\n{}{}{}{}",
        member("a"),
        member("b"),
        member("c"),
        job("alone", "* * * * * *", "", LOCKING)
    );
    let clock = Clock::starting_at("2026-11-20T12:00:00.9Z".parse().unwrap());
    let (engine, _running) = engine_by(&place, &declaration, clock);
    let mut jobs = report(&engine).await.jobs;
    while jobs[2].waiting == 0 || !jobs[3].running {
        tokio::time::sleep(Duration::from_millis(10)).await;
        jobs = report(&engine).await.jobs;
    }
    let running: Vec<bool> = jobs.iter().map(|job| job.running).collect();
    assert_eq!(
        running,
        [true, true, false, true],
        "two of the group, and the one in none"
    );
    assert_eq!(jobs[2].waiting, 1);
    lock.execute_batch("ROLLBACK").unwrap();
    until("the one that waited", || {
        all(&place, "c")[0].status.as_str() == "success"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_start_of_the_service_is_a_time_of_its_own() {
    let place = Workplace::new();
    let declaration = job("boot", "@reboot", "", QUICK) + &job("often", "@every 90s", "", QUICK);
    let (_engine, _running) = engine(&place, &declaration, "2026-11-20T12:00:10Z");
    minutes(4).await;
    assert_eq!(runs(&place, "boot"), ["11-20 12:00 schedule success"]);
    assert_eq!(
        runs(&place, "often"),
        ["11-20 12:01 schedule success", "11-20 12:03 schedule success"]
    );
}

#[tokio::test]
async fn a_run_that_was_cut_off_is_run_again_only_where_that_is_declared() {
    for (keys, expected) in [("", 1), ("on_interrupt = \"rerun\"", 2)] {
        let place = Workplace::new();
        let declaration = format!(
            "[server]\nshutdown_grace = \"10ms\"\n{}",
            job("tidy", "0 0 1 1 *", keys, ENDLESS)
        );
        let (first, running) = engine(&place, &declaration, "2026-11-20T12:00:00Z");
        let (reply, triggered) = oneshot::channel();
        first
            .send(Command::Trigger {
                job: "tidy".to_owned(),
                reply,
            })
            .await
            .unwrap();
        triggered.await.unwrap().unwrap();
        // What has not begun its work is queued again, and begins after the next start.
        tokio::time::sleep(Duration::from_millis(200)).await;
        first.send(Command::Shutdown).await.unwrap();
        running.await.unwrap();
        let (second, running) = engine(&place, &declaration, "2026-11-20T12:10:00Z");
        until("every run", || runs(&place, "tidy").len() >= expected).await;
        second.send(Command::Shutdown).await.unwrap();
        running.await.unwrap();
        let found = runs(&place, "tidy");
        assert_eq!(found.len(), expected, "{keys}: {found:?}");
        assert_eq!(found[0], "11-20 12:00 manual interrupted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_without_success_for_too_long_is_told() {
    let place = Workplace::new();
    let (engine, _running) = engine(
        &place,
        &job("tidy", "0 0 1 1 *", "max_age = \"1d\"", QUICK),
        "2026-11-20T12:00:00Z",
    );
    minutes(60 * 23).await;
    assert_eq!(report(&engine).await.jobs[0].overdue, None);
    minutes(60 * 2).await;
    let told = report(&engine).await.jobs[0].overdue.clone().unwrap();
    assert!(told.contains("has not succeeded within max_age (1d)"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn jitter_moves_a_job_by_the_same_every_day() {
    let place = Workplace::new();
    let (_engine, _running) = engine(
        &place,
        &job("tidy", "0 12 * * *", "jitter = \"1h\"", QUICK),
        "2026-11-20T11:00:00Z",
    );
    minutes(60 * 24 * 3).await;
    let times: Vec<i64> = all(&place, "tidy")
        .iter()
        .map(|run| run.scheduled_at.as_second())
        .collect();
    assert_eq!(times.len(), 3);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 86_400), "{times:?}");
    assert!((1..3600).contains(&(times[0] - 1_795_176_000)), "{times:?}");
}

#[tokio::test]
async fn a_run_that_is_queued_waits_for_the_next_start() {
    let place = Workplace::new();
    let lock = place.database();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let member = |id: &str, schedule: &str| job(id, schedule, "group = \"g\"", LOCKING);
    let before = member("a", "* * * * * *") + &member("b", "* * * * * *");
    let clock = Clock::starting_at("2026-11-20T12:00:00.9Z".parse().unwrap());
    let (engine, running) = engine_by(&place, &format!("[server]\nshutdown_grace = \"10ms\"\n{before}"), clock);
    while report(&engine).await.jobs[1].waiting != 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    engine.send(Command::Shutdown).await.unwrap();
    running.await.unwrap();
    let found = all(&place, "b");
    assert_eq!(found[0].status.as_str(), "queued", "it waits for the next start");
    drop(lock);
    for (keys, started, expected) in [
        ("", "2026-11-20T12:00:01.5Z", "success"),
        ("", "2026-11-20T12:00:02.5Z", "skipped"),
        ("catch_up = \"all\"", "2026-11-20T12:00:02.5Z", "success"),
        ("catch_up = \"none\"", "2026-11-20T12:10:00Z", "skipped"),
    ] {
        let copy = Workplace::new();
        copy_database(&place.file("data/state.db"), &copy.file("data/state.db"));
        let quick = |id: &str| job(id, "* * * * * *", &format!("group = \"g\"\n{keys}"), QUICK);
        let clock = Clock::starting_at(started.parse().unwrap());
        let (engine, running) = engine_by(&copy, &(quick("a") + &quick("b")), clock);
        until("the run that was queued", || {
            all(&copy, "b")[0].status.as_str() == expected
        })
        .await;
        engine.send(Command::Shutdown).await.unwrap();
        running.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_disabled_in_between_is_not_caught_up() {
    let place = Workplace::new();
    let declare = |enabled: bool| {
        job(
            "tidy",
            "*/10 * * * *",
            &format!("catch_up = \"all\"\nenabled = {enabled}"),
            QUICK,
        )
    };
    for (enabled, start) in [
        (true, "2026-11-20T11:59:00Z"),
        (false, "2026-11-20T12:05:00Z"),
        (true, "2026-11-20T12:36:00Z"),
    ] {
        let (engine, running) = engine(&place, &declare(enabled), start);
        minutes(2).await;
        engine.send(Command::Shutdown).await.unwrap();
        running.await.unwrap();
    }
    assert_eq!(runs(&place, "tidy"), ["11-20 12:00 schedule success"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_was_run_is_not_run_again_once_the_history_is_cleared() {
    let place = Workplace::new();
    let declaration = format!(
        "[state]\npath = '{}'\nhistory = \"1d\"\n",
        place.file("data/state.db").display()
    );
    let job = job("monthly", "0 0 1 * *", "starting_deadline = \"40d\"", QUICK);
    let database = format!(
        "[databases.duplistatus]\npath = '{}'\n",
        place.file("data/backups.db").display()
    );
    let start = |at: &str| {
        place.write("whole.toml", &format!("{declaration}{database}{job}"));
        let state = place.file("data/state.db");
        crate::engine::engine_of(
            &place.file("whole.toml"),
            &state,
            Clock::starting_at(at.parse().unwrap()),
        )
    };
    let (first, running) = start("2026-10-31T23:59:00Z");
    minutes(60 * 24 * 10).await;
    first.send(Command::Shutdown).await.unwrap();
    running.await.unwrap();
    let (_second, _running) = start("2026-11-16T00:00:00Z");
    minutes(5).await;
    assert_eq!(runs(&place, "monthly"), ["11-01 00:00 schedule success"]);
}
