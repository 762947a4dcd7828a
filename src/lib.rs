//! duplistatus-cron runs declarations: the program knows *kinds* of jobs, while which jobs exist, when they run, what
//! SQL they execute and what they keep is data.
//!
//! ```text
//! built-in settings, jobs.toml, database rows, environment, command line
//!   -> Plan, or every Problem with its place                          config
//!   -> Engine: one inbox, a scheduler, the runs in progress           engine
//!   -> Kind::run(RunContext) -> Report or Failure                     run, kinds, duplistatus
//!   -> the history of runs, and the outbox of messages                state, notifications
//! ```
//!
//! # Modules
//!
//! A module imports those below it only, and no folder has a circle inside; `tests/architecture.rs` checks both.
//!
//! | module | owns |
//! |---|---|
//! | `cli` | the commands; the only place that prints |
//! | `http`, `watch`, `signals` | what reaches the running service from outside, turned into commands for the engine |
//! | `service_manager` | what systemd is told of the service |
//! | `engine` | time and runs: when a run begins, and what follows from its end |
//! | `config` | the one way from the sources to a plan |
//! | `kinds` | the closed lists of the kinds of jobs and targets; the kinds that any application can use |
//! | `duplistatus` | everything about one application: its kind, its target, its settings as a source of configuration |
//! | `run` | what a kind of job can do, what it is given, what it gives back |
//! | `notifications` | messages, the targets they go to, and the worker that empties the outbox |
//! | `state` | the service's own state behind one handle |
//! | `process` | programs that jobs run: found, started, ended as a whole group; their output |
//! | `docker` | container engines: asked over their interface; what makes a container anew as it was |
//! | `git` | the program git: repositories fetched with credentials that are bound to their hosts |
//! | `sql` | the databases that jobs work on, in files or on servers: opening, checking, sandbox, batches |
//! | `postgres` | connections to PostgreSQL, bounded in time |
//! | `values` | small types that check themselves, and what every part needs: clocks, threads, files |
//!
//! # Eleven words
//!
//! | word | meaning |
//! |---|---|
//! | declaration | what jobs.toml and the sources that override it say, as text |
//! | plan | the checked declaration: every default filled in, every reference resolved |
//! | problem | what is wrong in a source, with its place; an *issue* is what a kind finds wrong, before it has a place |
//! | job | what the plan says is to be run, and when |
//! | kind | what a job does (`cleanup`, `sql`, `alert`, …) or where a target sends (`ntfy`, `email`, …) |
//! | run | one execution of a job, by schedule or on request; it ends in a *report* or a *failure* |
//! | trigger | why a run began: its schedule, a missed time of it, or a request over HTTP |
//! | activation | since when a job has run by its schedule; times before it were not missed |
//! | store | the handle of the service's own state: history, activations, stops, outbox |
//! | replica | one of several services on one state; the one that holds the *lease* leads, for a *term* |
//! | target | a declared place for messages; the outbox holds a message for it until it is delivered or abandoned |
//!
//! # A scheduled cleanup, from file to file
//!
//! 1. `engine/mod.rs`: the loop wakes, and asks what is due
//! 2. `engine/scheduler.rs`: the jobs that are due, less what overlaps or exceeds a limit
//! 3. `engine/runs.rs`: claims their times, all or none, and begins the runs
//! 4. `state/mod.rs`: the claim goes to the state's own thread
//! 5. `state/tables/ledger.rs`: and into the history, where a time stands once, by statements that `state/engine.rs` has
//!    SQLite or PostgreSQL run
//! 6. `config/invocation.rs`: what the run may touch
//! 7. `engine/runner.rs`: deadline, retries, cancellation
//! 8. `run/mod.rs`: the trait `Kind` and the context of the run
//! 9. `kinds/mod.rs`: from the closed list to the kind
//! 10. `kinds/cleanup.rs`: what a cleanup does
//! 11. `kinds/statement.rs`: the parameters of the statement, and its session
//! 12. `sql/pool.rs`: a thread of that database, and the connection, inside the sandbox
//! 13. `kinds/guards.rs`: whether too much would go
//! 14. `sql/batch_delete.rs`: the batches
//! 15. `notifications/alert.rs`: back in `engine/runs.rs`, whom to tell; the end is recorded, with those messages
//!
//! These are its stops; each leans on smaller files beside it (`engine/missed.rs`, `engine/places.rs`,
//! `engine/journal.rs`, `values/threads.rs`, `sql/session.rs`,
//! `sql/sandbox.rs`, `kinds/record.rs`), which one can read when one needs them.
//!
//! # Where to add
//!
//! | to add | touch |
//! |---|---|
//! | a kind of job | its file in `kinds/`, one line of the list in `kinds/mod.rs` (besides `mod` and `use`), an example |
//! | a kind of target | its file in `notifications/`, one line of the other list there, its keys that hold no secret, an example |
//! | a view of the page | `http/page/`; what it shows comes from an endpoint |
//! | an endpoint | a row of the table in `http/routes.rs` |
//! | a setting | `config/declaration.rs`, `config/plan.rs`, a line of `config/resolve.rs`; of a job, one of `config/jobs.rs` and of `config/diff.rs`; and `jobs.toml`, which explains it |

mod cli;
mod config;
mod docker;
mod duplistatus;
mod engine;
mod git;
mod http;
mod kinds;
mod notifications;
mod postgres;
mod process;
mod run;
mod service_manager;
mod signals;
mod sql;
mod state;
mod values;
mod watch;

pub use cli::main;
pub use config::{Environment, File, Loaded, Problem, Problems, Sources, load};
pub use engine::command::{JobReport, Report};
pub use engine::{Command, Engine, Inbox, Setup};
pub use state::{Filter, History, Run, RunId, Status, Store, Trigger};
pub use values::{Clock, JobId, Schedule, Severity, TimeZone};
