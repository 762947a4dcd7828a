//! `run`: puts the parts together and lets them work until the service is told to end.

use std::fs::{File as LockFile, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use super::{Common, Exit, FAILED, RunOptions, demo, log, rebuilt};
use crate::config::{self, File, Loaded, Plan, Problem, Problems, Severity, Source, Sources};
use crate::engine::{Clock, Engine, Setup, keep_last_good};
use crate::http::{Context, FoundGood, FrontDoor, Listeners};
use crate::notifications::Courier;
use crate::signals;
use crate::store::last_good;
use crate::store::sqlite::{Stop, StopReason};
use crate::watch::{Watch, watch_rows};

/// Threads for runs and for reading sources; each has SQLite's page cache and little more.
const BLOCKING_THREADS: usize = 64;
/// How often the outbox is looked at for what waits.
const BETWEEN_DELIVERIES: Duration = Duration::from_secs(10);
/// How long the end of the service waits for a message on the wire.
const LAST_DELIVERY: Duration = Duration::from_secs(12);
/// How long an idle thread is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

pub(super) fn main(common: &Common, mut sources: Sources, options: &RunOptions) -> Result<(), Exit> {
    log::set_up(common, &sources.environment, options.demo);
    let demo = if options.demo {
        Some(demo::Demo::set_up()?)
    } else {
        None
    };
    if let Some(demo) = &demo {
        sources.file = File::Path(demo.declaration());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(KEEP_ALIVE)
        .build()
        .map_err(|error| Exit::new(FAILED, format!("the service cannot start: {error}")))?;
    let ended = runtime.block_on(serve(sources, options, common.dev));
    // A run that does not end when asked must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(Some(program)) => Err(Exit::new(FAILED, rebuilt::become_it(&program))),
        Ok(None) => Ok(()),
        Err(exit) => Err(exit),
    }
}

async fn serve(sources: Sources, options: &RunOptions, dev: bool) -> Result<Option<PathBuf>, Exit> {
    let demo = options.demo;
    let watch = sources.file.path().map(|_| Watch::new(&sources.file));
    let loaded = load(&sources, options)?;
    let plan = loaded.plan.clone();
    let _lock = lock(&plan.state.path)?;
    let (host, port) = (plan.server.host.as_str(), plan.server.port);
    let listeners = Listeners::bind(host, port).await.map_err(|error| {
        Exit::new(
            FAILED,
            format!("cannot listen on {host}:{port}: {error}; --port or CRON_PORT sets another port"),
        )
    })?;
    let source = loaded.source.clone();
    // A file that was there must not give way to what is built in when it is gone.
    let sources = Sources {
        file: match sources.file.resolve() {
            found @ File::Path(_) => found,
            _ => sources.file.clone(),
        },
        ..sources
    };
    let posted = Arc::new(Notify::new());
    let setup = Setup {
        clock: Clock::System,
        sources,
        loaded,
        port: listeners.port(),
        posted: Arc::clone(&posted),
    };
    let (engine, inbox) = Engine::new(setup);
    let plans = engine.plans();
    let failed = |error: std::io::Error| Exit::new(FAILED, format!("the service cannot start: {error}"));
    tokio::spawn(signals::listen(inbox.clone()).map_err(failed)?);
    if let Some(watch) = watch {
        tokio::spawn(watch.run(inbox.clone()));
    }
    tokio::spawn(watch_rows(plans.clone(), inbox.clone()));
    let context = Context {
        engine: inbox.clone(),
        plans: plans.clone(),
        state: plan.state.path.clone(),
        databases: FoundGood::default(),
        runtime: tokio::runtime::Handle::current(),
    };
    let (port, addresses) = (listeners.port(), listeners.addresses());
    let front_door = FrontDoor::new(listeners, context).map_err(failed)?;
    tracing::info!(source, jobs = plan.jobs.len(), port, "listening on {addresses:?}");
    let (end, ended) = oneshot::channel();
    let http = tokio::spawn(front_door.serve(ended));
    if demo {
        tokio::spawn(demo::show(
            inbox.clone(),
            plan.jobs_in_order()
                .into_iter()
                .filter(|job| job.enabled)
                .map(|job| job.id.to_string())
                .collect(),
        ));
    }
    let rebuilt = Arc::new(OnceLock::new());
    if dev {
        tokio::spawn(rebuilt::watch(inbox.clone(), Arc::clone(&rebuilt)));
    }
    drop(inbox);
    let stop = Stop::default();
    let delivery = tokio::spawn(deliver(plans, Arc::clone(&posted), stop.clone()));
    engine.run().await;
    // What is on the wire is waited for, so that it is not sent again.
    stop.ask(StopReason::Interrupted);
    posted.notify_one();
    let _ = tokio::time::timeout(LAST_DELIVERY, delivery).await;
    let _ = end.send(());
    let _ = http.await;
    Ok(rebuilt.get().cloned())
}

/// Delivers what waits in the outbox, when something is posted and now and then, for as long as the service runs.
async fn deliver(plans: watch::Receiver<Arc<Plan>>, posted: Arc<Notify>, stop: Stop) {
    while stop.asked().is_none() {
        // The time for another look, or something to deliver: both are worth one.
        let _ = tokio::time::timeout(BETWEEN_DELIVERIES, posted.notified()).await;
        let plan = Arc::clone(&plans.borrow());
        let stopping = stop.clone();
        let round = move || {
            let state = &plan.state.path;
            let courier = Courier {
                state,
                targets: &plan.targets,
                now: &|| Clock::System.now(),
                tells_failures: false,
                stop: &stopping,
            };
            // A state that cannot be used is told by the engine.
            state
                .exists()
                .then(|| courier.deliver(Instant::now() + BETWEEN_DELIVERIES))
        };
        let _ = tokio::task::spawn_blocking(round).await;
    }
}

/// Loads the configuration, and says in the log what is not as declared.
fn load(sources: &Sources, options: &RunOptions) -> Result<Loaded, Exit> {
    let loaded = match config::load(sources) {
        Ok(loaded) => {
            keep_last_good(sources, &loaded);
            loaded
        }
        Err(problems) if options.keep_last_good => load_last_good(sources, problems)?,
        Err(problems) => return Err(problems.into()),
    };
    let overrides = loaded.rows.in_words();
    if !overrides.is_empty() {
        tracing::info!(
            "rows of the database override the declaration: {}",
            overrides.join(", ")
        );
    }
    for problem in &loaded.problems {
        if problem.severity.is_error() {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
    }
    if let Err(why) = &loaded.overrides {
        tracing::warn!("{why}; its overrides apply once it can be read");
    }
    Ok(loaded)
}

/// The last configuration that could be used, in the place of one that is broken.
fn load_last_good(sources: &Sources, problems: Problems) -> Result<Loaded, Exit> {
    let path = config::state_path(sources).filter(|path| path.exists());
    let files = path
        .and_then(|path| last_good::kept(&path).ok())
        .filter(|files| !files.is_empty());
    let Some(files) = files else {
        return Err(problems.into());
    };
    for problem in &problems.0 {
        tracing::error!("{problem}");
    }
    let kept = Sources {
        file: File::Kept(Arc::new(files)),
        ..sources.clone()
    };
    let mut loaded = config::load(&kept)?;
    let message = format!(
        "it is broken, with {} problems; the last good configuration is in force",
        problems.0.len()
    );
    tracing::error!("{}: {message}", sources.file);
    let source = Source::File(sources.file.to_string());
    loaded
        .problems
        .push(Problem::of_source(source, Severity::SetAside, message));
    Ok(loaded)
}

/// Keeps two services from sharing one state: the second would take the first one's runs for interrupted. What is
/// locked is the state's own file, so that there is nothing beside it that someone may delete; SQLite locks it in
/// another way, which does not meet this one on a local disk. It must outlive every connection to the state, for closing
/// it would take SQLite's locks away.
fn lock(state: &Path) -> Result<Option<LockFile>, Exit> {
    let made = state.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        LockFile::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(state)
    });
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(
                "{}: {error}; nothing keeps a second service from using the same state",
                state.display()
            );
            return Ok(None);
        }
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Exit::new(
            FAILED,
            format!(
                "another duplistatus-cron uses {}; state.path must name a file of its own",
                state.display()
            ),
        )),
        _ => Ok(Some(file)),
    }
}
