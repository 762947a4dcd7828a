//! The command line: its words, and one file for each command. The only place that prints.
#![expect(
    clippy::print_stderr,
    clippy::doc_markdown,
    reason = "printing is what a command line is for, and its help is no Markdown"
)]

mod client;
mod config;
mod demo;
mod first_process;
mod git_credential;
mod init;
mod log;
mod next;
mod notification;
mod orders;
mod output;
mod overrides;
mod packaging;
mod plan;
mod program;
mod rebuilt;
mod run;
mod simulate;
mod tables;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use jiff::Timestamp;

use crate::config::{Environment, File, Job, LogFormat, LogLevel, Plan, Problems, Rows, Sources};
use crate::git::HELPER;
use crate::process::BECOME;
use crate::values::{JobId, VERSION_AND_COMMIT};

/// Something went wrong that is not the declaration's fault.
const FAILED: u8 = 1;
/// Invalid configuration or arguments.
const BAD_INPUT: u8 = 2;
/// The service cannot be reached.
const UNREACHABLE: u8 = 3;

/// The port used by `--dev` and `--local`.
const DEV_PORT: u16 = 8667;

const AFTER_HELP: &str = "\
Examples:
  duplistatus-cron run --demo              try it, on a sample database in a temporary folder
  duplistatus-cron validate jobs.toml      check a declaration before it is used
  duplistatus-cron plan session-cleanup    what a run would do now; changes nothing
  duplistatus-cron status                  the state of the jobs in the running service
  duplistatus-cron history --status failed the newest runs that failed

Environment:
  CRON_CONFIG                the declaration, where --config is not given
  CRON_PORT                  the port; else PORT + 1, else the declared one, 9667
  CRON_TOKEN                 the token that callers must send, for the service and for its clients
  CRON_<SECTION>__<KEY>      any declared value, such as CRON_SERVER__HOST or CRON_LOG__LEVEL
  TZ                         the zone of dates in messages
  NO_COLOR                   no colours, if it is set to anything

Exit codes: 0 done; 1 failed; 2 invalid configuration or arguments; 3 the service cannot be reached;
130 ended at once by a second signal.";

/// Runs declared jobs: schedules, SQL cleanups and retention windows from jobs.toml, controlled over HTTP.
#[derive(Parser, Debug)]
#[command(version = VERSION_AND_COMMIT, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    run: RunOptions,
}

#[derive(Args, Debug, Clone, Default)]
struct Common {
    /// The declaration [default: CRON_CONFIG, else ./jobs.toml if there is one, else the one built in]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The port, overriding every other source; 0 picks a free one
    #[arg(long, value_name = "N", global = true)]
    port: Option<u16>,
    /// Port 8667 unless CRON_PORT or --port say otherwise, and a log for people
    #[arg(long, global = true)]
    dev: bool,
    /// Port 8667 unless CRON_PORT or --port say otherwise
    #[arg(long, global = true)]
    local: bool,
}

#[derive(Args, Debug, Default, Clone)]
struct RunOptions {
    /// Serve a sample database in a temporary folder
    #[arg(long)]
    demo: bool,
    /// If the declaration is broken, start with the last good configuration
    #[arg(long)]
    keep_last_good: bool,
    /// The lowest level that is logged: error, warn, info or debug [default: as declared, info]
    #[arg(long, value_name = "LEVEL", value_parser = log::word::<LogLevel>)]
    log_level: Option<LogLevel>,
    /// The form of the log: json, text, or auto [default: as declared, auto: text on a terminal, else JSON]
    #[arg(long, value_name = "FORMAT", value_parser = log::word::<LogFormat>)]
    log_format: Option<LogFormat>,
}

impl RunOptions {
    /// These, which stand before the command, with those behind it, which win.
    fn and(&self, more: &Self) -> Self {
        Self {
            demo: self.demo || more.demo,
            keep_last_good: self.keep_last_good || more.keep_last_good,
            log_level: more.log_level.or(self.log_level),
            log_format: more.log_format.or(self.log_format),
        }
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the service (the default command)
    Run(RunOptions),
    /// Check every source of the configuration, and the SQL against the database
    Validate(validate::Options),
    /// Show the effective configuration, and where each value came from
    Config(config::Options),
    /// Print the JSON Schema of jobs.toml, for editors
    Schema(NoService),
    /// Override values in the database, checked before they are written
    Overrides(overrides::Options),
    /// Write a declaration to start from; never overwrites
    Init(init::Options),
    /// Show when jobs are due next
    Next(next::Options),
    /// Show what the service would do over a period: runs, queued runs, skips, catch-ups
    Simulate(simulate::Options),
    /// Show what jobs would do if they ran now; changes nothing
    Plan(plan::Options),
    /// Test a notification target
    Notify(notification::Options),
    /// Show the state of the jobs in the running service, failing ones first
    Status(tables::StatusOptions),
    /// Show the newest runs of the running service
    History(tables::HistoryOptions),
    /// Run a job now in the running service
    Trigger(orders::TriggerOptions),
    /// End a run of the running service
    Cancel(orders::RunOptions),
    /// Ask the running service why a job ran, or did not
    Why(orders::JobOptions),
    /// Activate a job in the running service
    Start(orders::JobOptions),
    /// Deactivate a job in the running service until it is started or the configuration is reloaded on request
    Stop(orders::JobOptions),
    /// Make the running service read its configuration again
    Reload(client::Options),
    /// Show the health of the running service
    Health(orders::HealthOptions),
    /// Print shell completions
    Completions(packaging::Options),
    /// Print the manual page
    Man,
    /// Become another program, as another user (what jobs with `user`, `nice` or `umask` are started by)
    #[command(name = BECOME, hide = true)]
    Become(program::Options),
    /// Answer git when it asks for a credential
    #[command(name = HELPER, hide = true)]
    GitCredential(git_credential::Options),
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let Cli { command, common, run } = Cli::parse();
    let sources = common.sources(Environment::of_process());
    let code = match command {
        None => run::main(&common, sources, &run),
        Some(Command::Run(more)) => run::main(&common, sources, &run.and(&more)),
        Some(Command::Validate(options)) => validate::main(sources, options),
        Some(Command::Config(options)) => config::main(&sources, &options),
        Some(Command::Overrides(options)) => overrides::main(sources, &options),
        Some(Command::Schema(_)) => {
            output::say!("{:#}", crate::config::schema());
            Ok(())
        }
        Some(Command::Init(options)) => init::main(&options),
        Some(Command::Next(options)) => next::main(&sources, &options),
        Some(Command::Simulate(options)) => simulate::main(&sources, &options),
        Some(Command::Plan(options)) => plan::main(&sources, &options),
        Some(Command::Notify(options)) => notification::main(&common, &sources, &options),
        Some(Command::Status(options)) => tables::status(&sources, &options),
        Some(Command::History(options)) => tables::history(&sources, &options),
        Some(Command::Trigger(options)) => orders::trigger(&sources, &options),
        Some(Command::Cancel(options)) => orders::cancel(&sources, &options),
        Some(Command::Why(options)) => orders::why(&sources, &options),
        Some(Command::Start(options)) => orders::start(&sources, &options),
        Some(Command::Stop(options)) => orders::stop(&sources, &options),
        Some(Command::Reload(options)) => orders::reload(&sources, &options),
        Some(Command::Health(options)) => orders::health(&sources, &options),
        Some(Command::Completions(options)) => {
            packaging::completions(&options);
            Ok(())
        }
        Some(Command::Man) => packaging::manual(),
        Some(Command::Become(options)) => Err(program::become_it(options)),
        Some(Command::GitCredential(options)) => git_credential::main(&options),
    };
    match code {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit { code, message }) => {
            if !message.is_empty() {
                eprintln!("{message}");
            }
            ExitCode::from(code)
        }
    }
}

/// Why a command did not do what was asked, and the code that tells programs so.
#[derive(Clone, Debug)]
struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }
}

impl From<Problems> for Exit {
    fn from(problems: Problems) -> Self {
        Self::new(BAD_INPUT, format!("{problems}{}", problems.count()))
    }
}

/// The job of that id, or every job in the order of the declaration.
fn jobs_of<'a>(plan: &'a Plan, id: Option<&str>) -> Result<Vec<&'a Job>, Exit> {
    let wanted = |job: &&Job| id.is_none_or(|id| job.id.as_str() == id);
    let jobs: Vec<&Job> = plan.jobs_in_order().map(AsRef::as_ref).filter(wanted).collect();
    match id {
        Some(id) if jobs.is_empty() => {
            let declared: Vec<&str> = plan.jobs.keys().map(JobId::as_str).collect();
            let message = format!("no job `{id}` is declared; declared jobs: {}", declared.join(", "));
            Err(Exit::new(BAD_INPUT, message))
        }
        _ => Ok(jobs),
    }
}

/// Does what may wait, for a command that is not a service.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Exit::new(FAILED, format!("the command cannot start: {error}")))?;
    Ok(runtime.block_on(work))
}

/// An instant, or the day whose beginning in UTC is meant.
fn instant(text: &str) -> Result<Timestamp, String> {
    let day = || {
        text.parse::<jiff::civil::Date>()
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
    };
    text.parse()
        .ok()
        .or_else(|| Some(day()?.timestamp()))
        .ok_or_else(|| "an instant such as 2026-03-28T00:00:00Z, or a day such as 2026-03-28, is expected".to_owned())
}

/// Options of the service that a command has no use for, and so does not show.
#[derive(Args, Debug)]
struct NoService {
    #[arg(long, hide = true)]
    port: Option<u16>,
    #[arg(long, hide = true)]
    dev: bool,
    #[arg(long, hide = true)]
    local: bool,
}

impl Common {
    fn sources(&self, environment: Environment) -> Sources {
        let named = self.config.clone().or_else(|| environment.config());
        Sources {
            file: named.map_or(File::Default, File::Path),
            environment,
            port: self.port,
            candidate: None,
            remembered: Rows::default(),
            is_in_force: false,
            default_port: (self.dev || self.local).then_some(DEV_PORT),
        }
    }
}
