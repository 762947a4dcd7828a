//! The engine under a clock that can be moved: days pass in milliseconds.

use std::time::Duration;

use duplistatus_cron::Report;
use duplistatus_cron::{Clock, Command, Engine, Inbox, Setup};
use duplistatus_cron::{File, Sources, load};
use duplistatus_cron::{Filter, History, Status, Store, Trigger};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::Workplace;
use crate::support::workplace::copy_database;

const DAY: Duration = Duration::from_hours(24);

/// Starts an engine on a declaration; its clock shows `start`.
pub(crate) fn engine(place: &Workplace, declaration: &str, start: &str) -> (Inbox, JoinHandle<bool>) {
    engine_by(place, declaration, Clock::starting_at(start.parse().unwrap()))
}

/// Starts an engine that goes by `clock`.
pub(crate) fn engine_by(place: &Workplace, declaration: &str, clock: Clock) -> (Inbox, JoinHandle<bool>) {
    let state = place.file("data/state.db");
    let database = place.file("data/backups.db");
    let paths = format!(
        "[state]\npath = '{}'\n[databases.duplistatus]\npath = '{}'\n",
        state.display(),
        database.display()
    );
    place.write("jobs.toml", &format!("{paths}{declaration}"));
    engine_of(&place.file("jobs.toml"), &state, clock)
}

/// Starts an engine on the declaration in a file.
pub(crate) fn engine_of(file: &std::path::Path, state: &std::path::Path, clock: Clock) -> (Inbox, JoinHandle<bool>) {
    let sources = Sources {
        file: File::Path(file.to_owned()),
        ..Sources::default()
    };
    let loaded = load(&sources).unwrap();
    let setup = Setup {
        clock,
        store: Store::at(state),
        sources,
        loaded,
        port: 9667,
        posted: std::sync::Arc::default(),
    };
    let (engine, inbox) = Engine::new(setup);
    (inbox, tokio::spawn(engine.run()))
}

pub(crate) async fn report(engine: &Inbox) -> Report {
    let (reply, answer) = oneshot::channel();
    engine.send(Command::Report { reply }).await.unwrap();
    answer.await.unwrap()
}

/// The recorded runs that match `filter`, from a copy of the state, which the engine has to itself. No time passes
/// meanwhile, whatever the clock of the test.
pub(crate) fn history(place: &Workplace, filter: &Filter) -> History {
    if !place.file("data/state.db").exists() {
        return History {
            total: 0,
            runs: Vec::new(),
        };
    }
    crate::support::eventually("the state to be read", || {
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("state.db");
        copy_database(&place.file("data/state.db"), &path);
        let store = Store::at(&path);
        let filter = filter.clone();
        let read = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            runtime.block_on(store.history(filter)).ok()
        });
        read.join().unwrap()
    })
}

fn times(place: &Workplace, filter: &Filter) -> Vec<String> {
    let history = history(place, filter);
    let mut times: Vec<String> = history.runs.iter().map(|run| run.scheduled_at.to_string()).collect();
    times.reverse();
    times
}

fn job(id: &str, schedule: &str, zone: &str) -> String {
    format!(
        "[jobs.{id}]\nschedule = \"{schedule}\"\ntime_zone = \"{zone}\"\ncleanup = {{ delete_from = \"sessions\", where = \"false\" }}\n"
    )
}

#[tokio::test(start_paused = true)]
async fn days_of_jobs_run_at_their_times() {
    let place = Workplace::new();
    let declaration = job("nightly", "0 2 * * *", "Europe/Berlin") + &job("twice", "0 6,18 * * *", "UTC");
    let (engine, _running) = engine(&place, &declaration, "2026-11-20T12:00:00Z");
    tokio::time::sleep(3 * DAY).await;
    let of = |job: &str| {
        times(
            &place,
            &Filter {
                job: Some(job.to_owned()),
                status: Some(Status::Success),
                ..Filter::default()
            },
        )
    };
    assert_eq!(
        of("nightly"),
        ["2026-11-21T01:00:00Z", "2026-11-22T01:00:00Z", "2026-11-23T01:00:00Z"]
    );
    assert_eq!(of("twice").len(), 6);
    let report = report(&engine).await;
    assert_eq!(report.jobs[0].next_run.unwrap().to_string(), "2026-11-24T01:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_time_in_the_ledger_is_not_run_again_after_a_restart() {
    let place = Workplace::new();
    let declaration = job("nightly", "0 2 * * *", "UTC");
    let (first, _running) = engine(&place, &declaration, "2026-11-20T01:59:00Z");
    tokio::time::sleep(Duration::from_mins(2)).await;
    first.send(Command::Shutdown).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    // The clock was set back in the meantime.
    let (_second, _running) = engine(&place, &declaration, "2026-11-20T01:59:00Z");
    tokio::time::sleep(Duration::from_mins(10)).await;
    let scheduled = Filter {
        trigger: Some(Trigger::Schedule),
        ..Filter::default()
    };
    assert_eq!(times(&place, &scheduled), ["2026-11-20T02:00:00Z"]);
}

#[tokio::test]
async fn a_job_still_running_is_skipped_and_recorded_as_such() {
    let place = Workplace::new();
    let slow = "[jobs.slow]\nschedule = \"* * * * * *\"\ntimeout = \"3s\"\n[jobs.slow.sql]\ntables = [\"sessions\"]\n\
        statement = \"DELETE FROM sessions WHERE id IN (SELECT count(*) FROM json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') a, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') b, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') c)\"\n";
    let (engine, running) = engine(&place, slow, "2026-11-20T12:00:00Z");
    let skipped = Filter {
        status: Some(Status::Skipped),
        ..Filter::default()
    };
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if times(&place, &skipped).len() >= 2 {
            break;
        }
    }
    engine.send(Command::Shutdown).await.unwrap();
    running.await.unwrap();
    let history = history(&place, &skipped);
    assert!(history.total >= 2);
    assert_eq!(
        history.runs[0].error.as_deref(),
        Some("the previous run was still in progress")
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_engine_wakes_now_and_then_and_finished_runs_are_dropped() {
    let place = Workplace::new();
    let declaration = job("daily", "0 0 * * *", "UTC");
    let (engine, _running) = engine(&place, &declaration, "2026-01-01T12:00:00Z");
    tokio::time::sleep(95 * DAY).await;
    let total = history(&place, &Filter::default()).total;
    assert!((90..=92).contains(&total), "runs older than 90 days are gone: {total}");
    drop(engine);
}
