//! duplistatus-cron runs declarations: one binary that knows *kinds* of jobs, while which jobs exist, when they run,
//! what SQL they execute and what they keep is data.
//!
//! ```text
//! sources (built-in settings, jobs.toml, database rows, environment, command line)
//!   -> Declaration -> Plan, or every Problem with its place          config
//!   -> Engine: one inbox, a timetable, the runs under way            engine
//!   -> Action -> Report or Failure                                   actions
//!   -> the ledger and history of runs                                store
//! ```
//!
//! To follow one run from start to end, read [`config::load`], [`config::Plan`], [`engine::Command`],
//! [`engine::Engine::run`], then any file of [`actions`].
//!
//! Imports go down this list only, which a test checks:
//!
//! | module | owns |
//! |---|---|
//! | [`cli`] | the commands; the only place that prints |
//! | [`http`], [`watch`], [`signals`] | what reaches the running service from outside, turned into commands |
//! | [`engine`] | time and runs: when a job begins, what becomes of its outcome |
//! | [`config`] | the one door from sources to a plan |
//! | [`actions`] | the kinds of work, one file each |
//! | [`notifications`] | messages on their way: the outbox emptied, one file for each kind of channel |
//! | [`duplistatus`] | what only the application's database knows |
//! | [`store`] | opening databases; the service's own state |
//! | [`values`] | small types that check themselves |
//!
//! | to add | touch |
//! |---|---|
//! | a kind of job | `actions/<kind>.rs`, a variant and an arm in `actions/mod.rs`, an example |
//! | a kind of target | the same in `notifications/target.rs` |
//! | an endpoint | a row of the table in `http/routes.rs` |
//! | a setting | `config/declaration.rs`, `config/plan.rs`, a line in `config/resolve.rs`, and `jobs.toml`, which explains it |

mod cli;
mod config;
mod duplistatus;
mod engine;
mod http;
mod kinds;
mod notifications;
mod run;
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
