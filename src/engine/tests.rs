//! What the engine owes every kind, shown with one that only tests have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Command, Engine, Inbox, RunResult, Setup};
use crate::config::{self, Environment, File, Sources};
use crate::run::{Failure, RunContext};
use crate::state::{Filter, Run, Status, Store};
use crate::values::{CancelReason, Clock};

/// A service that runs jobs of the kind `echo`, without any database.
struct Service {
    _folder: TempDir,
    store: Store,
    engine: Inbox,
    running: JoinHandle<bool>,
}

fn sources(folder: &TempDir, jobs: &str) -> Sources {
    let state = folder.path().join("state.db");
    let text = format!("[state]\npath = '{}'\n{jobs}", state.display());
    let file = File::Kept(Arc::new(vec![("jobs.toml".to_owned(), text)]));
    Sources {
        file,
        environment: Environment::from_iter([("WORD", "tälking")]),
        ..Sources::default()
    }
}

impl Service {
    fn start(jobs: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(&folder, jobs);
        let loaded = config::load(&sources).unwrap();
        let store = Store::on(&loaded.plan.state.place);
        let (engine, inbox) = Engine::new(Setup {
            clock: Clock::starting_at("2026-11-20T12:00:30Z".parse().unwrap()),
            store: store.clone(),
            sources,
            loaded,
            port: 9667,
            posted: Arc::default(),
        });
        Self {
            _folder: folder,
            store,
            engine: inbox,
            running: tokio::spawn(engine.run()),
        }
    }

    async fn trigger(&self) -> oneshot::Receiver<RunResult> {
        let (reply, triggered) = oneshot::channel();
        let job = "e".to_owned();
        self.engine.send(Command::Trigger { job, reply }).await.unwrap();
        triggered.await.unwrap().unwrap().ended
    }

    /// Asks for a run, which may be refused; gives how it ends.
    async fn ask(&self) -> Option<oneshot::Receiver<RunResult>> {
        let (reply, triggered) = oneshot::channel();
        let job = "e".to_owned();
        self.engine.send(Command::Trigger { job, reply }).await.unwrap();
        triggered.await.unwrap().ok().map(|triggered| triggered.ended)
    }

    async fn runs(&self) -> Vec<Run> {
        self.store.history(Filter::default()).await.unwrap().runs
    }
}

fn echo(job: &str, keys: &str) -> String {
    format!("[jobs.e]\nschedule = \"* * * * *\"\n{job}\n[jobs.e.echo]\nsay = \"hello\"\n{keys}\n")
}

#[tokio::test(start_paused = true)]
async fn a_kind_without_a_database_runs_by_its_schedule_and_is_given_its_secret() {
    let jobs = echo("", "").replace("\"hello\"", "{ env = \"WORD\" }");
    let service = Service::start(&jobs);
    tokio::time::sleep(Duration::from_mins(2)).await;
    let runs = service.runs().await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(runs.iter().all(|run| run.status == Status::Success));
    assert_eq!(runs[0].message.as_deref(), Some("7 characters"));
}

#[test]
fn what_is_wrong_with_its_keys_or_its_secret_is_told_at_their_place() {
    let folder = tempfile::tempdir().unwrap();
    for (say, problem) in [
        ("\"\"", "jobs.toml:7:7: jobs.e.echo.say: it says nothing"),
        (
            "{ env = \"NO\" }",
            "jobs.toml:7:1: jobs.e.echo.say: the variable NO is not set",
        ),
        (
            "{ file = \"/no/file\" }",
            "jobs.toml:7:1: jobs.e.echo.say: /no/file cannot be read",
        ),
    ] {
        let jobs = echo("", "").replace("\"hello\"", say);
        let problems = config::load(&sources(&folder, &jobs)).unwrap_err();
        assert!(problems.to_string().contains(problem), "{problems}");
    }
    let jobs = echo("", "color = 1").replace("\"hello\"", "{ env = \"WORD\", file = \"s3cret\" }");
    let problems = config::load(&sources(&folder, &jobs)).unwrap_err().to_string();
    assert!(
        problems.contains("unknown key `color`") && !problems.contains("s3cret"),
        "{problems}"
    );
    let jobs = echo("", "").replace("\"hello\"", "\"s3cret\"");
    let (settings, _) = config::settings(&sources(&folder, &jobs)).unwrap();
    assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    let kept = config::without_secrets(&jobs);
    assert!(!kept.contains("s3cret"), "{kept}");
    let loaded = config::load(&sources(&folder, &kept)).unwrap();
    assert!(loaded.plan.jobs.is_empty() && loaded.problems[0].message.contains("are not kept"));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_ended_at_its_timeout_and_one_that_does_not_listen_is_left_behind() {
    for (is_deaf, message) in [
        (false, "timed out after 1m; told to stop"),
        (
            true,
            "timed out after 1m; it did not stop when cancelled, and was abandoned",
        ),
    ] {
        let service = Service::start(&echo(
            "timeout = \"1m\"",
            &format!("takes = \"1d\"\nis_deaf = {is_deaf}"),
        ));
        let result = service.trigger().await.await.unwrap();
        assert_eq!((result.status, result.message.as_str()), (Status::TimedOut, message));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_run_and_the_service_goes_on() {
    let service = Service::start(&echo("", "panics = true"));
    for _ in 0..2 {
        let result = service.trigger().await.await.unwrap();
        assert_eq!(result.status, Status::Failed);
        assert!(result.message.contains("told to panic"), "{}", result.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_listen_does_not_hold_up_the_shutdown() {
    let service = Service::start(&echo("timeout = \"1d\"", "takes = \"1d\"\nis_deaf = true"));
    let _run = service.trigger().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    service.engine.send(Command::Shutdown).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_mins(1), service.running).await;
    ended.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_thread_hangs_is_over_for_whoever_waits_but_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("end");
    let service = Service::start(&echo(
        "timeout = \"1m\"",
        &format!("hangs_without = '{}'", file.display()),
    ));
    let mut ended = service.trigger().await;
    // The virtual clock stands still while a thread hangs, which it may take a moment to begin with.
    std::thread::sleep(Duration::from_millis(50));
    let result = loop {
        tokio::time::advance(Duration::from_millis(100)).await;
        if let Ok(result) = ended.try_recv() {
            break result;
        }
        tokio::task::yield_now().await;
    };
    assert!(result.message.ends_with("was abandoned"), "{}", result.message);
    assert!(
        service.ask().await.is_none(),
        "its thread goes on, and nothing may take its place"
    );
    std::fs::write(file, "").unwrap();
    let next = loop {
        if let Some(next) = service.ask().await {
            break next;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(next.await.unwrap().status, Status::Success);
}

#[tokio::test]
async fn a_run_that_waits_for_a_thread_is_ended_at_once() {
    let services = config::Services::dry(Store::at(std::path::Path::new("none")), Clock::system());
    let folder = tempfile::tempdir().unwrap();
    let plan = config::load(&sources(&folder, &echo("", ""))).unwrap().plan;
    let now = Clock::system().now();
    let invocation = config::Invocation {
        now,
        scheduled_at: now,
        run: None,
        trigger: crate::state::Trigger::Schedule,
        origin: None,
    };
    let job = plan.jobs.values().next().unwrap();
    let context = || plan.context(job, invocation, &services);
    let (free, hung) = std::sync::mpsc::channel::<()>();
    let (hung, began) = (Arc::new(std::sync::Mutex::new(hung)), Arc::new(AtomicUsize::new(0)));
    // As many as there are threads, and whoever began them gone.
    for number in 1..=config::DRY_THREADS {
        let (ctx, hung, begins) = (context(), Arc::clone(&hung), Arc::clone(&began));
        let work = move |(): &(), _: &RunContext| -> Result<(), Failure> {
            begins.fetch_add(1, Ordering::Relaxed);
            let _ = hung.lock().map(|hung| hung.recv());
            Ok(())
        };
        let hangs = tokio::spawn(async move { ctx.blocking(&(), work).await });
        while began.load(Ordering::Relaxed) < number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        hangs.abort();
    }
    let ctx = context();
    let cancel = ctx.cancel.clone();
    let waiting = tokio::spawn(async move { ctx.blocking(&(), |(), _| Ok(())).await });
    tokio::task::yield_now().await;
    cancel.cancel(CancelReason::TimedOut);
    let failure = waiting.await.unwrap().unwrap_err();
    assert_eq!(failure.message, "it was still waiting for a thread");
    drop(free);
    context().blocking(&(), |(), _| Ok(())).await.unwrap();
}
