//! `run`: puts the parts together and lets them work until the service is told to end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use super::{Common, Exit, FAILED, RunOptions, demo, first_process, log, rebuilt};
use crate::config::{self, File, Loaded, Plan, Problem, Problems, Server, Services, Source, Sources};
use crate::engine::{Engine, Setup, keep_last_good};
use crate::http::{Context, Databases, FrontDoor, Listeners};
use crate::kinds::INTEGRATION;
use crate::notifications::DeliveryWorker;
use crate::process::kill_all;
use crate::service_manager;
use crate::signals;
use crate::state::{Lock, Place, Store};
use crate::values::{CancelReason, CancellationToken, Clock, Severity, blocking, give_back, share_memory};
use crate::watch::{Watch, watch_rows};

/// Threads that may wait. Those of each database, of messages and of the state have limits of their own, and
/// `limits.max_running` bounds those of runs: far below this one, so that whatever hangs, there are threads for the rest.
const BLOCKING_THREADS: usize = 1024;
/// How often the outbox is looked at for what waits.
const BETWEEN_DELIVERIES: Duration = Duration::from_secs(10);
/// How long the end of the service waits for a message on the wire.
const LAST_DELIVERY: Duration = Duration::from_secs(12);
/// How long the start waits for the state.
const OPENING: Duration = Duration::from_secs(3);
/// How long after a reload what it took is free.
const SETTLED: Duration = Duration::from_secs(1);
/// How often memory is looked at, where nothing was loaded.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);
/// So much more than before is worth giving back, in pages.
const WORTH_IT: u64 = 256;
/// How long an idle thread is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

pub(super) fn main(common: &Common, mut sources: Sources, options: &RunOptions) -> Result<(), Exit> {
    if first_process::is_it() {
        return first_process::look_after_the_service();
    }
    share_memory();
    let demo = if options.demo {
        Some(demo::Demo::set_up()?)
    } else {
        None
    };
    if let Some(demo) = &demo {
        sources.file = File::Path(demo.declaration());
    }
    // It writes what is left when it is dropped.
    let log = log::set_up(log::Form::new(common, options, &sources));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(KEEP_ALIVE)
        .build()
        .map_err(|error| Exit::new(FAILED, format!("the service cannot start: {error}")))?;
    let ended = runtime.block_on(async {
        tokio::spawn(log::tell_dropped(log.dropped()));
        serve(sources, options, common.dev).await
    });
    // A run that does not end when asked must not keep the process.
    runtime.shutdown_background();
    kill_all();
    drop(log);
    match ended {
        Ok(Some(program)) => Err(Exit::new(FAILED, rebuilt::become_it(&program))),
        Ok(None) => Ok(()),
        Err(exit) => Err(exit),
    }
}

/// Keeps other services from using a state in a file. On a disk that hangs, that is seen to when it goes on; until then nobody can
/// open the state anyway.
async fn lock_state(place: &Place) -> Result<Option<Lock>, Exit> {
    let path = place.path().to_owned();
    if let Place::Server { .. } = place {
        if path.exists() {
            let file = path.display();
            tracing::warn!("the state is in a database; what an earlier service has kept in {file} is not used");
        }
        return Ok(None);
    }
    let mut locking = tokio::task::spawn_blocking(move || Lock::take(&path));
    match tokio::time::timeout(OPENING, &mut locking).await {
        Ok(Ok(locked)) => locked.map(Some).map_err(|error| Exit::new(FAILED, error.0)),
        Ok(Err(error)) => Err(Exit::new(FAILED, error)),
        Err(_) => {
            tokio::spawn(async move {
                let locked = locking.await;
                if let Ok(Err(error)) = &locked {
                    tracing::error!("{}", error.0);
                }
                // Held for as long as the service runs.
                std::future::pending::<()>().await;
                drop(locked);
            });
            Ok(None)
        }
    }
}

/// Has the state be there before anyone asks for it, where its disk answers; what is wrong with it is told by `/health`.
async fn open_state(loaded: &Loaded, store: &Store) {
    let (kept, store) = (keep_last_good(loaded, store), store.clone());
    let opened = tokio::spawn(async move {
        // Of a state that replicas share, only the leader changes anything.
        if store.candidate().is_none() {
            kept.await;
        }
        store.noted_time().await
    });
    let _ = tokio::time::timeout(OPENING, opened).await;
}

async fn serve(sources: Sources, options: &RunOptions, dev: bool) -> Result<Option<PathBuf>, Exit> {
    let demo = options.demo;
    let has_manager = service_manager::look_for(&sources.environment);
    let watchdog = service_manager::watchdog(&sources.environment);
    let watch = sources.file.path().map(|_| Watch::new(&sources.file));
    let loaded = load(&sources, options).await?;
    let plan = loaded.plan.clone();
    let _lock = lock_state(&plan.state.place).await?;
    let store = Store::on(&plan.state.place);
    open_state(&loaded, &store).await;
    let listeners = listen(&plan.server).await?;
    let source = loaded.source.clone();
    // A file that was there must not give way to what is built in when it is gone.
    let sources = Sources {
        file: match sources.file.resolve() {
            found @ File::Path(_) => found,
            _ => sources.file.clone(),
        },
        ..sources
    };
    let (posted, clock) = (Arc::new(Notify::new()), Clock::system());
    let setup = Setup {
        clock: clock.clone(),
        store: store.clone(),
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
        store: store.clone(),
        folder: plan.state.place.path().parent().map(Path::to_owned).unwrap_or_default(),
        databases: Databases::default(),
        dry: Services::dry(store.clone(), clock.clone()),
        heartbeat: engine.heartbeat(),
        replicas: engine.replicas(),
        runtime: tokio::runtime::Handle::current(),
    };
    let (port, addresses) = (listeners.port(), listeners.addresses());
    let front_door = FrontDoor::new(listeners, context).map_err(failed)?;
    tracing::info!(source, jobs = plan.jobs.len(), port, "listening on {addresses:?}");
    service_manager::tell_ready();
    if has_manager {
        tokio::spawn(service_manager::keep_telling(inbox.clone(), watchdog));
    }
    let (end, ended) = oneshot::channel();
    let http = tokio::spawn(front_door.serve(ended));
    if demo {
        tokio::spawn(demo::show(
            inbox.clone(),
            plan.jobs_in_order()
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
    tokio::spawn(give_memory_back(plans.clone()));
    let cancel = CancellationToken::default();
    let worker = DeliveryWorker {
        store: store.clone(),
        targets: Arc::clone(&plan.targets),
        integration: INTEGRATION,
        clock,
        threads: engine.delivery_threads(),
        tells_failures: false,
        cancel: cancel.clone(),
    };
    let delivery = tokio::spawn(deliver(worker, plans, posted));
    let (heartbeat, leadership) = (engine.heartbeat(), engine.leadership());
    let is_over = engine.run().await;
    // What is on the wire is waited for, so that it is not sent again.
    cancel.cancel(CancelReason::Shutdown);
    let _ = tokio::time::timeout(LAST_DELIVERY, delivery).await;
    // Where something may still go on, the lease runs out.
    if is_over {
        resign(&store, heartbeat.handled_until()).await;
    }
    drop(leadership);
    let _ = end.send(());
    let _ = http.await;
    Ok(rebuilt.get().cloned())
}

/// Has another replica lead, now that nothing of this one goes on.
async fn resign(store: &Store, handled_until: Timestamp) {
    let Some(candidate) = store.candidate() else { return };
    kill_all();
    let resigned = tokio::time::timeout(OPENING, candidate.resign(handled_until));
    if let Ok(Err(error)) = resigned.await {
        tracing::warn!("the lease could not be given back, and runs out: {error}");
    }
}

/// Gives memory back that loading a declaration or a large run took, a moment after each.
async fn give_memory_back(mut plans: watch::Receiver<Arc<Plan>>) {
    let mut kept = 0;
    loop {
        tokio::time::sleep(SETTLED).await;
        let used = memory_in_use();
        kept = kept.min(used);
        if used > kept + WORTH_IT {
            blocking(give_back).await;
            kept = memory_in_use();
        }
        tokio::select! {
            changed = plans.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(BETWEEN_LOOKS) => {}
        }
    }
}

/// The resident memory of the process, in pages; 0 where that cannot be told.
fn memory_in_use() -> u64 {
    let figures = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = figures.split(' ').nth(1);
    resident.and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

/// Delivers what waits in the outbox, when something is posted and now and then, for as long as the service runs.
async fn deliver(mut worker: DeliveryWorker, plans: watch::Receiver<Arc<Plan>>, posted: Arc<Notify>) {
    let mut noting: Option<JoinHandle<()>> = None;
    while !worker.cancel.is_cancelled() {
        tokio::select! {
            () = posted.notified() => {}
            () = tokio::time::sleep(BETWEEN_DELIVERIES) => {}
            () = worker.cancel.cancelled() => return,
        }
        if worker.store.deadline().is_over() {
            continue;
        }
        // An application's database that hangs holds up nothing else.
        if noting.as_ref().is_none_or(JoinHandle::is_finished) {
            let worker = worker.clone();
            noting = Some(tokio::spawn(async move { drop(worker.note_what_was_not().await) }));
        }
        // Another declaration may send another way.
        let as_declared_now = |worker: &mut DeliveryWorker| {
            worker.targets = Arc::clone(&plans.borrow().targets);
            true
        };
        // A state that cannot be used is told by the store.
        let _ = worker.deliver(as_declared_now).await;
    }
}

async fn listen(server: &Server) -> Result<Listeners, Exit> {
    let (host, port) = (&server.host, server.port);
    Listeners::bind(host, port).await.map_err(|error| {
        let hint = hint_for(&error);
        Exit::new(FAILED, format!("cannot listen on {host}:{port}: {error}; {hint}"))
    })
}

/// What would help where the service cannot listen.
fn hint_for(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse | std::io::ErrorKind::PermissionDenied => "--port or CRON_PORT sets another port",
        _ => "server.host must be localhost, 0.0.0.0, or a name or address of this machine",
    }
}

/// Loads the configuration, and says in the log what is not as declared.
async fn load(sources: &Sources, options: &RunOptions) -> Result<Loaded, Exit> {
    let loaded = match config::load(sources) {
        Ok(loaded) => loaded,
        Err(problems) if options.keep_last_good => load_last_good(sources, problems).await?,
        Err(problems) => return Err(problems.into()),
    };
    let overrides = loaded.rows.in_words();
    if !overrides.is_empty() {
        tracing::info!(
            "rows of the database override the declaration: {}",
            overrides.join(", ")
        );
    }
    loaded.problems.iter().for_each(log);
    if let (Err(why), true) = (&loaded.overrides, loaded.plan.misses_databases()) {
        tracing::warn!("{why}; its overrides apply once it can be read");
    }
    Ok(loaded)
}

fn log(problem: &Problem) {
    if problem.severity.is_error() {
        tracing::error!("{problem}");
    } else {
        tracing::warn!("{problem}");
    }
}

/// The last configuration that could be used, in the place of one that is broken.
async fn load_last_good(sources: &Sources, problems: Problems) -> Result<Loaded, Exit> {
    let state = config::state(sources);
    let files = match &state {
        Some(state) => Store::on(&state.place).kept_declaration().await.unwrap_or_default(),
        None => Vec::new(),
    };
    if files.is_empty() {
        return Err(problems.into());
    }
    problems.0.iter().for_each(log);
    let kept = Sources {
        file: File::Kept(Arc::new(files)),
        ..sources.clone()
    };
    let mut loaded = config::load(&kept)?;
    // Where the state is may be a secret, which was not kept.
    loaded.plan.state = state.unwrap_or(loaded.plan.state);
    let message = format!("it has {}; the last good configuration is in force", problems.count());
    tracing::error!("{}: {message}", sources.file);
    let source = Source::File(sources.file.to_string());
    loaded
        .problems
        .push(Problem::of_source(source, Severity::Ignored, message));
    Ok(loaded)
}
