//! The kind `command`: runs a program, or a line of shell, as one process group that ends with the run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::inherited::Inherited;
use super::programs::{AFTER_THE_KILL, with_programs};
use crate::process::{
    self, Asked, Ended, Exit, Identity, Log, Output, Program, Rules, Sink, StopSignal, Streams, Umask, User,
};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::{CheckedDatabase, Mode};
use crate::values::{Duration, Issue, Redactor, Secret, Size, iso, sounds_secret};

/// The most output that can be kept of a run.
const MOST_KEPT: Size = Size::from_bytes(1 << 20);

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

/// Where a program runs, and what it is told beside what is declared.
pub(super) struct Setting<'a> {
    /// What `dir` starts from.
    pub folder: &'a Path,
    /// The variables that it may inherit.
    pub inherited: &'a BTreeMap<String, String>,
    /// Those that win over declared ones.
    pub variables: Vec<(&'static str, String)>,
    /// Leaves out what it must not show.
    pub redactor: &'a Redactor,
}

impl<'a> Setting<'a> {
    /// That of a program which has no folder of its own.
    pub(super) fn of(ctx: &'a RunContext) -> Self {
        Self {
            folder: ".".as_ref(),
            inherited: &ctx.surroundings.variables,
            variables: Vec::new(),
            redactor: &ctx.surroundings.redactor,
        }
    }
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
    /// A program with its arguments, and nothing else said of it.
    pub(super) fn of(argv: Vec<String>) -> Self {
        Self {
            argv: Some(argv),
            shell: None,
            dir: None,
            env: BTreeMap::new(),
            inherit_env: Inherited::default(),
            stdin: None,
            success_codes: zero(),
            retry_codes: may_pass(),
            stop_signal: StopSignal::default(),
            kill_after: ten_seconds(),
            leftovers: Leftovers::default(),
            user: None,
            nice: None,
            umask: None,
            output: OutputRules::default(),
        }
    }

    /// What is wrong with the declaration itself.
    pub(super) fn issues(&self) -> Vec<Issue> {
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
            } else if OURS.contains(&name.as_str()) || name.starts_with("CRON_GIT_") {
                refuse("env", format!("{name} is set by the service itself"));
            }
        }
        if let Some(code) = self.retry_codes.iter().find(|code| self.success_codes.contains(code)) {
            refuse("retry_codes", format!("{code} is one of `success_codes`"));
        }
        if self.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            refuse("nice", "a number from -20 to 19 is expected".to_owned());
        }
        if self.output.keep > MOST_KEPT {
            refuse("output.keep", format!("at most {MOST_KEPT} is kept of a run"));
        }
        issues
    }

    pub(super) fn argv(&self) -> Vec<String> {
        match (&self.argv, &self.shell) {
            (Some(argv), _) => argv.clone(),
            (None, shell) => ["/bin/sh", "-eu", "-c", shell.as_deref().unwrap_or_default()]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    /// What is to be started, or why nothing can be.
    pub(super) fn program(&self, ctx: &RunContext, setting: &Setting<'_>) -> Result<Program, String> {
        let identity = Identity {
            user: self.user.clone(),
            nice: self.nice,
            umask: self.umask,
        };
        let dir = self.dir.as_ref().map(|dir| setting.folder.join(dir));
        let dir = std::path::absolute(dir.as_deref().unwrap_or(setting.folder)).map_err(|error| error.to_string())?;
        let mut variables = self.inherit_env.of(setting.inherited);
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        variables.extend(identity.variables()?.into_iter().map(owned));
        variables.insert("PWD".to_owned(), dir.display().to_string());
        let declared = self.env.iter();
        variables.extend(declared.map(|(name, value)| (name.clone(), value.reveal().to_owned())));
        variables.extend(setting.variables.iter().cloned().map(owned));
        variables.extend(of_run(ctx).map(owned));
        Ok(Program {
            argv: self.argv(),
            dir,
            variables,
            stdin: self.stdin.clone(),
            identity,
            limits: None,
        })
    }

    /// Runs it to its end.
    pub(super) fn execute(&self, ctx: &RunContext, asked: &Asked, setting: &Setting<'_>) -> Result<Ended, Failure> {
        // What is hidden in the configuration is hidden where the program prints it.
        let hidden = self.env.iter().filter(|(name, _)| sounds_secret(name));
        let redactor = setting.redactor.with(hidden.map(|(_, value)| value.reveal()));
        let mut output = Output {
            job: &ctx.job,
            run: ctx.run_number(),
            redactor: &redactor,
            kept: &ctx.output,
            keep: self.output.keep,
            log: self.output.log.then(Log::default),
            streams: Streams::default(),
        };
        self.execute_into(ctx, asked, setting, &mut output)
    }

    /// The same; what it prints goes to `sink`.
    pub(super) fn execute_into(
        &self,
        ctx: &RunContext,
        asked: &Asked,
        setting: &Setting<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Ended, Failure> {
        let program = self.program(ctx, setting).map_err(Failure::lasting)?;
        let path = program.find().map_err(Failure::lasting)?;
        process::run(&program, &path, self.rules(), asked, sink).map_err(Failure::lasting)
    }

    fn rules(&self) -> Rules {
        Rules {
            stop_signal: self.stop_signal,
            kill_after: self.kill_after.to_std(),
            leaves_others: self.leftovers == Leftovers::Leave,
        }
    }

    /// What the end of the program means.
    pub(super) fn judge(&self, ended: Ended, ctx: &RunContext) -> Result<Report, Failure> {
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

/// The variables that tell a program of its run.
const OURS: &[&str] = &[
    "CRON_JOB",
    process::RUN,
    "CRON_SCHEDULED_AT",
    "CRON_ATTEMPT",
    "CRON_TRIGGER",
    process::STATE,
];

fn of_run(ctx: &RunContext) -> impl Iterator<Item = (&'static str, String)> {
    let values = [
        ctx.job.to_string(),
        ctx.run_number().to_string(),
        iso(ctx.scheduled_at),
        ctx.attempt.load(Ordering::Relaxed).to_string(),
        ctx.trigger.as_str().to_owned(),
        ctx.store.place(),
    ];
    OURS.iter().copied().zip(values)
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
        self.takes_to_be_killed().saturating_add(AFTER_THE_KILL)
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        let ended = with_programs(ctx, self, |command, ctx, asked| {
            command.execute(ctx, asked, &Setting::of(ctx))
        });
        self.judge(ended.await?, ctx)
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        ctx.blocking(self, |command, ctx| Ok(Some(command.dry_run(ctx, &Setting::of(ctx)))))
            .await
    }

    async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        let found = ctx.blocking(self, |command, ctx| {
            let found = command
                .program(ctx, &Setting::of(ctx))
                .and_then(|program| program.find());
            Ok(found.err().map(|why| Issue::warning(command.key(), why)))
        });
        Ok(found.await?.into_iter().collect())
    }
}

impl Command {
    /// The folder it is to run in.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// The names of the variables that it is given.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.env.keys().map(String::as_str)
    }

    /// The same, in the folder that others start from.
    pub(super) fn at_root(&self) -> Self {
        Self {
            dir: None,
            ..self.clone()
        }
    }

    /// What of it makes a difference to what it does. A secret that is kept elsewhere may change without one.
    pub(super) fn identity(&self) -> String {
        let value = |secret: &Secret| secret.is_inline().then(|| secret.reveal().to_owned());
        let env: Vec<_> = self.env.iter().map(|(name, secret)| (name, value(secret))).collect();
        let (stdin, user) = (self.stdin.as_ref().map(value), &self.user);
        format!(
            "{:?}",
            (self.argv(), &self.dir, env, &self.inherit_env, stdin, user, self.umask)
        )
    }

    pub(super) fn takes_to_be_killed(&self) -> std::time::Duration {
        self.kill_after.to_std()
    }

    /// The key that says what is run.
    pub(super) fn key(&self) -> &'static str {
        if self.argv.is_some() { "argv" } else { "shell" }
    }

    fn dry_run(&self, ctx: &RunContext, setting: &Setting<'_>) -> DryRun {
        let program = self.program(ctx, setting);
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
