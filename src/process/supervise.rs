//! Starts a program, takes in what it prints, and sees to it that it ends: the whole process group, asked first, then killed.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, pidfd_open, prlimit, waitid};

use super::output::Sink;
use super::signal::in_words;
use super::{Limits, Program, StopSignal, group};
use crate::values::Secret;

/// How long a program that was killed may take to end: one that waits for a disk does not.
const DEATH: Duration = Duration::from_secs(5);
/// How long a program has that is asked to end soon.
const QUICK: Duration = Duration::from_secs(3);
/// What is written to ask for the end, and for a quick one.
const END: u8 = b'.';
const SOON: u8 = b'!';
/// How long those whose leader has ended may take once they are asked to.
const LEFTOVERS: Duration = Duration::from_secs(2);
/// How long output is waited for that somebody may still print after the end, and how long in all.
const SILENCE: Duration = Duration::from_secs(1);
const DRAIN: Duration = Duration::from_secs(10);
/// How often to look where nothing tells: kernels before 5.3 tell no end.
const LOOK: Duration = Duration::from_millis(100);

/// How a program is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub stop_signal: StopSignal,
    /// How long it may take to end once it is asked to.
    pub kill_after: Duration,
    /// Whether those of its group that outlive it may go on.
    pub leaves_others: bool,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub exit: Exit,
    /// What it took to end it, where that was asked for.
    pub by: Option<String>,
    /// What was odd though it ended.
    pub warnings: Vec<String>,
}

/// The status a program ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "ended by signal {number} ({})", in_words(*number)),
        }
    }
}

/// Asks a program to end, or nothing as long as it is kept.
#[derive(Debug)]
pub(crate) struct Ask(OwnedFd);

/// Where a program is asked to end.
#[derive(Debug)]
pub(crate) struct Asked(OwnedFd);

/// What asks a program to end, and where.
///
/// # Errors
/// When the process may open no more files.
pub(crate) fn asking() -> std::io::Result<(Ask, Asked)> {
    let (asked, ask) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((Ask(ask), Asked(asked)))
}

impl Ask {
    /// Asks it to end.
    pub(crate) fn for_the_end(&self) {
        self.tell(END);
    }

    /// Asks it to end soon, as the service does not wait for long.
    pub(crate) fn for_a_quick_end(&self) {
        self.tell(SOON);
    }

    fn tell(&self, what: u8) {
        // There is room for a few bytes, and where nobody reads them nothing is to be ended.
        let _ = rustix::io::write(&self.0, &[what]);
    }
}

/// Runs `program`, which is at `path`, until it has ended; it is asked to end once the other end of `asked` is gone. It
/// waits: not to be called where others wait for the caller.
///
/// # Errors
/// Why it could not be started, or not be ended.
pub(crate) fn run(
    program: &Program,
    path: &Path,
    rules: Rules,
    asked: &Asked,
    sink: &mut dyn Sink,
) -> Result<Ended, String> {
    let mut command = program.identity.command(path, &program.argv);
    let stdin = if program.stdin.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    command
        .env_clear()
        .envs(&program.variables)
        .current_dir(&program.dir)
        .process_group(0)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::ArgumentListTooLong => "its arguments and variables are too long".to_owned(),
        _ => format!("{} cannot be started: {error}", path.display()),
    })?;
    if let Some(limits) = program.limits {
        limit(&child, limits);
    }
    Supervised::new(child, program.stdin.clone(), rules, sink)?.run(asked)
}

/// Limits what a program may take that has just begun.
fn limit(child: &Child, limits: Limits) {
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    for (resource, most) in [(Resource::Data, limits.memory), (Resource::Fsize, limits.file)] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        // One that has ended already needs none.
        let _ = prlimit(number, resource, limit);
    }
}

/// A program that runs.
struct Supervised<'a> {
    child: Child,
    leader: Pid,
    /// Readable once it has ended.
    end: Option<OwnedFd>,
    /// What it has not read yet.
    stdin: Vec<u8>,
    rules: Rules,
    /// Its output and errors, as long as they are open.
    pipes: [Option<File>; 2],
    sink: &'a mut dyn Sink,
    /// Since when it is asked to end.
    asked_at: Option<Instant>,
    /// Whether nobody can ask for anything any more.
    is_nobody_there: bool,
    killed_at: Option<Instant>,
}

impl<'a> Supervised<'a> {
    fn new(mut child: Child, stdin: Option<Secret>, rules: Rules, sink: &'a mut dyn Sink) -> Result<Self, String> {
        let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let leader = number.ok_or("the program has no process number")?;
        let [stdout, stderr] = [
            child.stdout.take().map(OwnedFd::from),
            child.stderr.take().map(OwnedFd::from),
        ];
        let stdin_pipe = child.stdin.as_ref().map(AsFd::as_fd);
        let pipes = [
            stdin_pipe,
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ];
        for pipe in pipes.into_iter().flatten() {
            // One that would wait anyway is only read when there is something.
            let _ = rustix::io::ioctl_fionbio(pipe, true);
        }
        group::note(leader, true);
        Ok(Self {
            leader,
            end: pidfd_open(leader, PidfdFlags::empty()).ok(),
            stdin: stdin.map(|text| text.reveal().as_bytes().to_vec()).unwrap_or_default(),
            rules,
            pipes: [stdout, stderr].map(|pipe| pipe.map(File::from)),
            sink,
            asked_at: None,
            is_nobody_there: false,
            killed_at: None,
            child,
        })
    }

    fn run(mut self, asked: &Asked) -> Result<Ended, String> {
        while !self.has_ended() {
            if self.wait(Some(&asked.0), self.patience()) {
                self.listen(asked);
            }
            if self.sink.is_full() {
                self.ask();
            }
            self.step();
            if self.killed_at.is_some_and(|at| at.elapsed() >= DEATH) {
                return Err(self.give_up());
            }
        }
        let mut warnings = Vec::new();
        self.end_leftovers(&mut warnings);
        // From now on its number may mean another process.
        group::note(self.leader, false);
        let status = self
            .child
            .wait()
            .map_err(|error| format!("its end cannot be told: {error}"))?;
        if !self.drain() {
            warnings.push("its output was still open after its end; what came later is lost".to_owned());
        }
        self.sink.end();
        let by = match (self.asked_at, self.killed_at) {
            (None, _) => None,
            (Some(_), None) => Some(format!("the program ended on {}", self.rules.stop_signal)),
            (Some(_), Some(_)) => Some("the program was killed".to_owned()),
        };
        Ok(Ended {
            exit: Exit::of(status),
            by,
            warnings,
        })
    }

    /// How long to wait for something to happen.
    fn patience(&self) -> Option<Duration> {
        let until = match (self.asked_at, self.killed_at) {
            (_, Some(at)) => Some(DEATH.saturating_sub(at.elapsed())),
            (Some(at), None) => Some(self.rules.kill_after.saturating_sub(at.elapsed())),
            (None, None) => None,
        };
        if self.end.is_some() {
            until
        } else {
            Some(until.map_or(LOOK, |until| until.min(LOOK)))
        }
    }

    /// Hears what is asked for; whoever asked may be gone.
    fn listen(&mut self, asked: &Asked) {
        let mut said = [0; 8];
        let length = rustix::io::read(&asked.0, &mut said).unwrap_or_default();
        self.is_nobody_there |= length == 0;
        if said[..length].contains(&SOON) {
            self.rules.kill_after = self.rules.kill_after.min(QUICK);
        }
        self.ask();
    }

    /// Asks the group to end, once.
    fn ask(&mut self) {
        if self.asked_at.is_none() {
            self.asked_at = Some(Instant::now());
            group::signal(self.leader, self.rules.stop_signal.0);
        }
    }

    /// Kills the group when it is time.
    fn step(&mut self) {
        let is_time = self.asked_at.is_some_and(|at| at.elapsed() >= self.rules.kill_after);
        if is_time && self.killed_at.is_none() {
            self.killed_at = Some(Instant::now());
            group::signal(self.leader, Signal::KILL);
        }
    }

    /// Whether the leader has ended; its number stays its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.leader), options), Ok(None))
    }

    /// Takes in output until something else happens; gives whether the end is asked for.
    fn wait(&mut self, asked: Option<&OwnedFd>, patience: Option<Duration>) -> bool {
        // That whoever asks is gone would be told again and again.
        let asked = asked.filter(|_| !self.is_nobody_there);
        let [stdout, stderr] = self.pipes.each_ref().map(|pipe| pipe.as_ref().map(AsFd::as_fd));
        let stdin = self.child.stdin.as_ref().map(AsFd::as_fd);
        let watched: [(Watched, Option<BorrowedFd<'_>>, PollFlags); 5] = [
            (Watched::Stream(0), stdout, PollFlags::IN),
            (Watched::Stream(1), stderr, PollFlags::IN),
            (Watched::Stdin, stdin, PollFlags::OUT),
            (Watched::End, self.end.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (Watched::Asked, asked.map(AsFd::as_fd), PollFlags::IN),
        ];
        let open = watched
            .into_iter()
            .filter_map(|(what, fd, flags)| Some((what, PollFd::from_borrowed_fd(fd?, flags))));
        let (what, mut fds): (Vec<Watched>, Vec<PollFd<'_>>) = open.unzip();
        let patience = patience.map(|patience| Timespec::try_from(patience).unwrap_or_default());
        // Interrupted by a signal, it is called again.
        let _ = poll(&mut fds, patience.as_ref());
        let ready: Vec<Watched> = what
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(what, _)| what)
            .collect();
        for what in &ready {
            match what {
                Watched::Stream(number) => self.read(*number),
                Watched::Stdin => self.write(),
                Watched::End | Watched::Asked => {}
            }
        }
        ready.contains(&Watched::Asked)
    }

    fn read(&mut self, number: usize) {
        let mut bytes = [0; 16 * 1024];
        let Some(pipe) = &mut self.pipes[number] else { return };
        match pipe.read(&mut bytes) {
            Ok(length @ 1..) => self.sink.take(number, &bytes[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => self.pipes[number] = None,
        }
    }

    fn write(&mut self) {
        let written = self.child.stdin.as_mut().map(|pipe| pipe.write(&self.stdin));
        match written {
            Some(Ok(length)) => drop(self.stdin.drain(..length)),
            Some(Err(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // A program need not read what it is given.
            _ => self.stdin.clear(),
        }
        if self.stdin.is_empty() {
            self.child.stdin = None;
        }
    }

    /// Ends those of the group that have outlived their leader.
    fn end_leftovers(&mut self, warnings: &mut Vec<String>) {
        let others = group::others(self.leader);
        // The leader's end is known, and would be told again and again.
        self.end = None;
        if others == 0 || (self.rules.leaves_others && self.asked_at.is_none()) {
            return;
        }
        let patience = if let Some(at) = self.asked_at {
            self.rules.kill_after.saturating_sub(at.elapsed())
        } else {
            group::signal(self.leader, self.rules.stop_signal.0);
            LEFTOVERS
        };
        let began = Instant::now();
        while group::others(self.leader) > 0 && began.elapsed() < patience {
            self.wait(None, Some(LOOK));
        }
        if group::others(self.leader) > 0 {
            group::signal(self.leader, Signal::KILL);
            self.killed_at = self.asked_at.map(|_| Instant::now());
        }
        if self.asked_at.is_none() {
            let (processes, were) = if others == 1 {
                ("process", "was")
            } else {
                ("processes", "were")
            };
            warnings.push(format!("it left {others} {processes} behind, which {were} ended"));
        }
    }

    /// Takes in what is still to come; whether that came to its end.
    fn drain(&mut self) -> bool {
        let began = Instant::now();
        let mut last = Instant::now();
        while self.pipes.iter().any(Option::is_some) {
            let patience = SILENCE.saturating_sub(last.elapsed());
            if patience.is_zero() || began.elapsed() >= DRAIN {
                return false;
            }
            let before = Instant::now();
            self.child.stdin = None;
            self.wait(None, Some(patience));
            if before.elapsed() < patience {
                last = Instant::now();
            }
        }
        true
    }

    /// Leaves a program to itself that cannot be killed.
    fn give_up(self) -> String {
        let number = self.child.id();
        group::note(self.leader, false);
        let mut child = self.child;
        // Reaped whenever it ends.
        let reap = move || drop(child.wait());
        let _ = std::thread::Builder::new().name("reaper".to_owned()).spawn(reap);
        format!("the program (process {number}) cannot be killed")
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Stream(usize),
    Stdin,
    End,
    Asked,
}
