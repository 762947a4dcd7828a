//! The kind `command`: runs a program, or a line of shell, as one process group that ends with the run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::inherited::Inherited;
use crate::process::{self, Ended, Exit, Identity, Output, Program, Rules, StopSignal, Umask, User};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::{CheckedDatabase, Mode};
use crate::values::{Duration, Issue, Secret, Size, iso};

/// The most output that can be kept of a run, in bytes.
const MOST_KEPT: usize = 1 << 20;
/// How long ending a program takes that does not end when it is killed, and taking in what others still print.
const AFTER_THE_KILL: std::time::Duration = std::time::Duration::from_secs(20);

/// The keys of `[jobs.<id>.command]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    argv: Option<Vec<String>>,
    shell: Option<String>,
    dir: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, Secret>,
    #[serde(default)]
    inherit_env: Inherited,
    stdin: Option<Secret>,
    #[serde(default = "zero")]
    success_codes: Vec<u8>,
    #[serde(default = "may_pass")]
    retry_codes: Vec<u8>,
    #[serde(default)]
    stop_signal: StopSignal,
    #[serde(default = "ten_seconds")]
    kill_after: Duration,
    #[serde(default)]
    leftovers: Leftovers,
    user: Option<User>,
    nice: Option<i8>,
    umask: Option<Umask>,
    #[serde(default)]
    output: OutputRules,
}

/// What becomes of processes that outlive the program which started them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Leftovers {
    #[default]
    Kill,
    Leave,
}

/// The keys of `output`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct OutputRules {
    /// How much of it the history keeps.
    keep: Size,
    /// Whether each line is logged.
    log: bool,
}

impl Default for OutputRules {
    fn default() -> Self {
        Self {
            keep: Size::from_bytes(64 * 1024),
            log: true,
        }
    }
}

fn zero() -> Vec<u8> {
    vec![0]
}

/// What programs say that met something which may pass, by an old convention of mail.
fn may_pass() -> Vec<u8> {
    vec![75]
}

fn ten_seconds() -> Duration {
    Duration::from_seconds(10)
}

impl Command {
    /// What is wrong with the declaration itself.
    fn issues(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut refuse = |key, why: String| issues.push(Issue::error(key, why));
        match (&self.argv, &self.shell) {
            (Some(_), Some(_)) => refuse("shell", "declare `argv` or `shell`, not both".to_owned()),
            (None, None) => refuse(
                "",
                "declare what to run: `argv = [\"program\", \"argument\"]` or `shell = \"…\"`".to_owned(),
            ),
            (Some(argv), None) if argv.first().is_none_or(String::is_empty) => {
                refuse("argv", "the program is missing".to_owned());
            }
            (None, Some(shell)) if shell.trim().is_empty() => refuse("shell", "it is empty".to_owned()),
            _ => {}
        }
        let mut texts = self.argv.iter().flatten().chain(&self.shell);
        if texts.any(|text| text.contains('\0')) {
            refuse("argv", "a program cannot be given a NUL character".to_owned());
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                refuse("env", format!("`{name}` cannot be the name of a variable"));
            } else if value.reveal().contains('\0') {
                refuse("env", format!("the value of {name} holds a NUL character"));
            } else if OURS.contains(&name.as_str()) {
                refuse("env", format!("{name} is set by the service itself"));
            }
        }
        if let Some(code) = self.retry_codes.iter().find(|code| self.success_codes.contains(code)) {
            refuse("retry_codes", format!("{code} is one of `success_codes`"));
        }
        if self.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            refuse("nice", "a number from -20 to 19 is expected".to_owned());
        }
        if self.output.keep.bytes() > MOST_KEPT {
            refuse(
                "output.keep",
                format!("at most {} is kept of a run", Size::from_bytes(1 << 20)),
            );
        }
        issues
    }

    fn argv(&self) -> Vec<String> {
        match (&self.argv, &self.shell) {
            (Some(argv), _) => argv.clone(),
            (None, shell) => ["/bin/sh", "-eu", "-c", shell.as_deref().unwrap_or_default()]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    /// What is to be started, with `more` variables, or why nothing can be.
    fn program(&self, ctx: &RunContext, more: &[(&str, String)]) -> Result<Program, String> {
        let identity = Identity {
            user: self.user.clone(),
            nice: self.nice,
            umask: self.umask,
        };
        let dir = self.dir.as_deref().unwrap_or(".".as_ref());
        let dir = std::path::absolute(dir).map_err(|error| error.to_string())?;
        let mut variables = self.inherit_env.of(&ctx.surroundings.variables);
        let own = identity.variables()?;
        variables.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        variables.insert("PWD".to_owned(), dir.display().to_string());
        let declared = self.env.iter();
        variables.extend(declared.map(|(name, value)| (name.clone(), value.reveal().to_owned())));
        variables.extend(
            of_run(ctx)
                .into_iter()
                .chain(more.iter().cloned())
                .map(|(name, value)| (name.to_owned(), value)),
        );
        Ok(Program {
            argv: self.argv(),
            dir,
            variables,
            stdin: self.stdin.clone(),
            identity,
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            stop_signal: self.stop_signal,
            kill_after: self.kill_after.to_std(),
            leaves_others: self.leftovers == Leftovers::Leave,
        }
    }

    /// What the end of the program means.
    fn judge(&self, ended: Ended, ctx: &RunContext) -> Result<Report, Failure> {
        let statistics = match ended.exit {
            Exit::Code(code) => json!({ "exit_code": code }),
            Exit::Signal(number) => json!({ "signal": number }),
        };
        let is_one_of = |codes: &[u8]| matches!(ended.exit, Exit::Code(code) if codes.iter().any(|known| i32::from(*known) == code));
        if ended.by.is_none() && is_one_of(&self.success_codes) {
            return Ok(Report {
                message: ended.exit.to_string(),
                statistics: Some(statistics),
                warnings: ended.warnings,
            });
        }
        let mut message = ended.exit.to_string();
        if let Some(meaning) = meaning(ended.exit) {
            let _ = write!(message, " ({meaning})");
        }
        if let Some(last) = ctx.output.last_line() {
            let last: String = last.chars().take(300).collect();
            let _ = write!(message, ": {last}");
        }
        for warning in &ended.warnings {
            let _ = write!(message, "; {warning}");
        }
        Err(Failure {
            is_transient: is_one_of(&self.retry_codes),
            done: Some(ended.by.unwrap_or_else(|| message.clone())),
            statistics: Some(Box::new(statistics)),
            ..Failure::lasting(message)
        })
    }
}

/// Runs a program; it ends when the run is to end.
async fn execute(command: &Command, ctx: &RunContext) -> Result<Ended, Failure> {
    let (ask, asked) = process::asking().map_err(|error| Failure::lasting(error.to_string()))?;
    let mut ended = std::pin::pin!(ctx.blocking(command, move |command, ctx| {
        let program = command.program(ctx, &[]).map_err(Failure::lasting)?;
        let path = program.find().map_err(Failure::lasting)?;
        let mut output = Output::new(&ctx.job, ctx.run_number(), &ctx.surroundings.redactor, &ctx.output);
        (output.keep, output.is_logged) = (command.output.keep, command.output.log);
        process::run(&program, &path, command.rules(), &asked, &mut output).map_err(Failure::lasting)
    }));
    tokio::select! {
        ended = &mut ended => return ended,
        () = ctx.cancel.cancelled() => ask.for_the_end(),
    }
    tokio::select! {
        ended = &mut ended => return ended,
        () = ctx.cancel.shut_down() => ask.for_a_quick_end(),
    }
    ended.await
}

/// The variables that tell a program of its run.
const OURS: &[&str] = &[
    "CRON_JOB",
    process::RUN,
    "CRON_SCHEDULED_AT",
    "CRON_ATTEMPT",
    "CRON_TRIGGER",
    process::STATE,
];

fn of_run(ctx: &RunContext) -> Vec<(&'static str, String)> {
    let values = [
        ctx.job.to_string(),
        ctx.run_number(),
        iso(ctx.scheduled_at),
        ctx.attempt.load(Ordering::Relaxed).to_string(),
        ctx.trigger.as_str().to_owned(),
        ctx.store.place(),
    ];
    OURS.iter().copied().zip(values).collect()
}

/// What a shell means by a code.
fn meaning(exit: Exit) -> Option<&'static str> {
    match exit {
        Exit::Code(126) => Some("the shell could not run a program"),
        Exit::Code(127) => Some("the shell did not find a program"),
        Exit::Code(137) => Some("a program that it ran was killed"),
        Exit::Code(143) => Some("a program that it ran was terminated"),
        _ => None,
    }
}

impl Kind for Command {
    fn database(&self) -> Option<Mode> {
        None
    }

    fn check(&self, _database: Option<&CheckedDatabase>) -> Vec<Issue> {
        self.issues()
    }

    fn takes_to_end(&self) -> std::time::Duration {
        self.kill_after.to_std().saturating_add(AFTER_THE_KILL)
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        let ended = execute(self, ctx).await?;
        self.judge(ended, ctx)
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        ctx.blocking(self, |command, ctx| Ok(Some(command.dry_run(ctx)))).await
    }

    async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        let found = ctx.blocking(self, |command, ctx| {
            let found = command.program(ctx, &[]).and_then(|program| program.find());
            Ok(found.err().map(|why| Issue::warning(command.key(), why)))
        });
        Ok(found.await?.into_iter().collect())
    }
}

impl Command {
    /// The key that says what is run.
    fn key(&self) -> &'static str {
        if self.argv.is_some() { "argv" } else { "shell" }
    }

    fn dry_run(&self, ctx: &RunContext) -> DryRun {
        let program = self.program(ctx, &[]);
        let found = program.as_ref().map_err(Clone::clone).and_then(Program::find);
        let (variables, dir) = program.map_or_else(
            |_| (Vec::new(), String::new()),
            |program| {
                (
                    program.variables.into_keys().collect(),
                    program.dir.display().to_string(),
                )
            },
        );
        let path = found.as_ref().ok().map(|path| path.display().to_string());
        let redact = |text: &str| ctx.surroundings.redactor.redact(text);
        let argv: Vec<String> = self.argv().iter().map(|argument| redact(argument)).collect();
        let lines = match &found {
            Ok(path) => vec![
                format!("would run {} with {argv:?}", path.display()),
                format!("in {dir}"),
                format!("with the variables {}", variables.join(", ")),
                format!(
                    "at its deadline: {} to its process group, KILL {} later",
                    self.stop_signal, self.kill_after
                ),
            ],
            Err(why) => vec![format!("a run would fail now: {why}")],
        };
        DryRun {
            lines,
            json: json!({ "program": path, "argv": argv, "dir": dir, "variables": variables, "error": found.as_ref().err() }),
            refusal: found.err(),
        }
    }
}
