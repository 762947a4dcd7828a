//! The running service: started on a free port, called over HTTP, ended with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{Workplace, eventually};

pub(crate) struct Service {
    child: Child,
    pub port: u16,
    log: Arc<Mutex<Vec<String>>>,
    memory_at_start: u64,
    /// What calls carry.
    token: Option<String>,
}

/// A service to be started: variables, arguments, the time it believes in.
pub(crate) struct Started<'a> {
    place: &'a Workplace,
    command: Command,
    port: bool,
}

impl Workplace {
    /// Starts the service here with nothing special about it.
    pub(crate) fn start(&self) -> Service {
        self.service().start()
    }

    /// A service to be started here.
    pub(crate) fn service(&self) -> Started<'_> {
        Started {
            place: self,
            command: self.command(),
            port: true,
        }
    }
}

impl Started<'_> {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Leaves the port to the other sources.
    pub(crate) fn port_as_declared(mut self) -> Self {
        self.port = false;
        self
    }

    /// Runs under a shell that first says `limits`.
    pub(crate) fn limited(mut self, limits: &str) -> Self {
        let mut shell = self.place.command();
        shell.program_of(
            "sh",
            &["-c", &format!("{limits}; exec \"$0\" \"$@\""), super::workplace::BINARY],
        );
        self.command = shell;
        self
    }

    /// Has the service believe that it started at `time`, such as `2026-11-20 12:30:00` in UTC.
    pub(crate) fn at(self, time: &str) -> Self {
        self.with_clock(&format!("@{time}"))
    }

    /// Has the service's clock be wrong, such as by `+600` seconds.
    pub(crate) fn with_clock(self, wrong: &str) -> Self {
        let library = [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib64",
            "/usr/lib",
        ]
        .map(|folder| format!("{folder}/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .expect("libfaketime is missing; tests/run installs it");
        // Timers go by the monotonic clock, which must not jump.
        self.env("LD_PRELOAD", &library)
            .env("FAKETIME", wrong)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC")
    }

    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// The command alone, for one that ends by itself.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    pub(crate) fn start(mut self) -> Service {
        if self.port {
            self.command.args(["--port", "0"]);
        }
        Service::of(self.command)
    }
}

impl Service {
    /// The service that `command` starts.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().unwrap(), &log);
        collect(child.stderr.take().unwrap(), &log);
        let mut service = Self {
            child,
            port: 0,
            log,
            memory_at_start: 0,
            token: None,
        };
        service.port = eventually("the service to listen", || {
            if let Some(status) = service.child.try_wait().unwrap() {
                panic!("the service ended with {status}:\n{}", service.log().join("\n"));
            }
            let listening = service.log().into_iter().find(|line| line.contains("listening on"))?;
            let line: Value = serde_json::from_str(&listening).unwrap();
            Some(u16::try_from(line["port"].as_u64().unwrap()).unwrap())
        });
        service.memory_at_start = service.memory_kb("RssAnon");
        service
    }
}

trait ProgramOf {
    fn program_of(&mut self, program: &str, arguments: &[&str]);
}

impl ProgramOf for Command {
    /// Has another program run in the same folder with the same variables.
    fn program_of(&mut self, program: &str, arguments: &[&str]) {
        let mut other = Command::new(program);
        other.args(arguments);
        if let Some(folder) = self.get_current_dir() {
            other.current_dir(folder);
        }
        for (name, value) in self.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        *self = other;
    }
}

fn collect(from: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    });
}

impl Service {
    /// Has calls carry this token.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The line of the log that holds `text`, once it is there.
    pub(crate) fn logged(&self, text: &str) -> String {
        eventually(&format!("`{text}` in the log"), || {
            self.log().into_iter().find(|line| line.contains(text))
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// By how much its own memory has grown since it listens, in KB.
    pub(crate) fn grown(&self) -> u64 {
        self.memory_kb("RssAnon").saturating_sub(self.memory_at_start)
    }

    /// Its resident memory in KB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, &[])
    }

    pub(crate) fn post(&self, path: &str) -> (u16, Value) {
        self.call("POST", path, &[])
    }

    /// Makes a call with the given headers besides Host, which may be given too.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let host = ("Host", format!("localhost:{}", self.port));
        let given = headers.iter().map(|&(name, value)| (name, value.to_owned()));
        let token = self
            .token
            .iter()
            .map(|token| ("Authorization", format!("Bearer {token}")));
        let own_host = (!headers.iter().any(|(name, _)| *name == "Host")).then_some(host);
        let lines: String = own_host
            .into_iter()
            .chain(given)
            .chain(token)
            .flat_map(|(name, value)| [name.to_owned(), ": ".to_owned(), value, "\r\n".to_owned()])
            .collect();
        let head = format!("{method} {path} HTTP/1.1\r\n{lines}");
        self.send(format!("{head}\r\n").as_bytes()).expect("an answer")
    }

    /// Sends bytes as they are and reads the answer; `None` where there is none.
    pub(crate) fn send(&self, bytes: &[u8]) -> Option<(u16, Value)> {
        let mut stream = self.connect();
        stream.write_all(bytes).ok()?;
        read_answer(&mut stream)
    }

    /// Sends a whole request and gives the whole answer as it came.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream
    }

    /// The newest run of a job, as the history has it, with what it printed.
    pub(crate) fn newest(&self, job: &str) -> Value {
        let (_, list) = self.get(&format!("/api/schedules/executions?job={job}&limit=1"));
        let id = &list["executions"][0]["id"];
        self.get(&format!("/api/schedules/executions/{id}")).1
    }

    pub(crate) fn health(&self) -> Value {
        self.get("/health").1
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// How it ended, if it did.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the service to end", || self.child.try_wait().unwrap())
    }

    /// Ends the service as a system does.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The figure `field` of the process's status, in kB.
    pub(crate) fn memory_kb(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads an answer to its end.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Option<(u16, Value)> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}
