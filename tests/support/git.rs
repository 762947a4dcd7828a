//! Repositories, and servers that hand them out: over HTTP, over ssh, and by git's own protocol.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::eventually;

/// A repository that somebody works in.
pub(crate) struct Origin {
    folder: tempfile::TempDir,
}

impl Origin {
    /// One with a first commit of `files`, on the branch `main`.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let origin = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        origin.git(&["init", "--quiet", "-b", "main", "."]);
        // Old servers are like this; new ones hand out any object.
        origin.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
        origin.commit(files);
        origin
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The folder that servers have, in which the repository is called by its name.
    pub(crate) fn root(&self) -> &Path {
        self.path().parent().unwrap()
    }

    pub(crate) fn name(&self) -> String {
        self.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git_in(self.path(), arguments)
    }

    /// Writes files, and commits everything that has changed; gives the commit.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.file(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.commit_index()
    }

    pub(crate) fn commit_index(&self) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "a change"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Runs git as somebody who works in a folder; gives what it prints.
pub(crate) fn git_in(folder: &Path, arguments: &[&str]) -> String {
    let done = Command::new("git")
        .args([
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.org",
            "-c",
            "safe.directory=*",
        ])
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "git {arguments:?}: {errors}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// How a server answers.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    Open,
    /// Asks for this login, as it is encoded.
    Login(&'static str),
    Status(u16),
    /// Sends everybody to another server.
    Redirect(String),
    /// Sends nothing for a long time.
    Hang,
    /// Sends a part of what is fetched, and leaves.
    Cut,
}

/// Git's own server program for HTTP, behind a small server that may misbehave.
pub(crate) struct GitServer {
    pub port: u16,
    manner: Arc<Mutex<Manner>>,
    requests: Arc<Mutex<Vec<String>>>,
    processes: Arc<Mutex<String>>,
}

impl GitServer {
    /// Hands out the repositories in `root`.
    pub(crate) fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            manner: Arc::new(Mutex::new(Manner::Open)),
            requests: Arc::default(),
            processes: Arc::default(),
        };
        let (root, manner, requests) = (
            root.to_owned(),
            Arc::clone(&server.manner),
            Arc::clone(&server.requests),
        );
        let processes = Arc::clone(&server.processes);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (root, manner, requests) = (root.clone(), Arc::clone(&manner), Arc::clone(&requests));
                let processes = Arc::clone(&processes);
                std::thread::spawn(move || {
                    let manner = manner.lock().unwrap().clone();
                    if let Manner::Login(_) = manner {
                        // Whoever asks waits for the answer meanwhile.
                        let seen = Command::new("ps").args(["axwwe", "-o", "args"]).output().unwrap();
                        processes
                            .lock()
                            .unwrap()
                            .push_str(&String::from_utf8_lossy(&seen.stdout));
                    }
                    // A client that leaves is no fault of the server.
                    let _ = serve(stream, &root, &manner, &requests);
                });
            }
        });
        server
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// The processes of this machine, with their variables, whenever somebody asked who had to log in.
    pub(crate) fn processes(&self) -> String {
        self.processes.lock().unwrap().clone()
    }

    /// Everything that was asked for, heads and all.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, root: &Path, manner: &Manner, requests: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line)? > 2 {
        head.push_str(&line);
        line.clear();
    }
    requests.lock().unwrap().push(head.clone());
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut stream = stream;
    let mut answer = |status: &str, headers: &str, body: &[u8]| -> std::io::Result<()> {
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(body)
    };
    match manner {
        Manner::Login(login) if header("Authorization").as_deref() != Some(&format!("Basic {login}")) => {
            return answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"git\"\r\n", b"");
        }
        Manner::Status(status) => return answer(&format!("{status} X"), "", b"no"),
        Manner::Redirect(to) => {
            let path = head.split(' ').nth(1).unwrap();
            return answer("302 Found", &format!("Location: {to}{path}\r\n"), b"");
        }
        Manner::Hang => {
            std::thread::sleep(Duration::from_mins(1));
            return Ok(());
        }
        _ => {}
    }
    let mut body = Vec::new();
    if let Some(length) = header("Content-Length") {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body)?;
    }
    let (headers, content) = backend(root, &head, &header, &body);
    let status = headers.lines().find_map(|line| line.strip_prefix("Status: "));
    let status = status.unwrap_or("200 OK").to_owned();
    if matches!(manner, Manner::Cut) && content.windows(4).any(|bytes| bytes == b"PACK") {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n",
            content.len()
        )?;
        return stream.write_all(&content[..content.len() / 2]);
    }
    answer(&status, &headers, &content)
}

/// What git's program answers: headers, and content.
fn backend(root: &Path, head: &str, header: &impl Fn(&str) -> Option<String>, body: &[u8]) -> (String, Vec<u8>) {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut program = Command::new("git");
    program
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, variable) in [
        ("Content-Type", "CONTENT_TYPE"),
        ("Content-Encoding", "HTTP_CONTENT_ENCODING"),
        ("Git-Protocol", "GIT_PROTOCOL"),
    ] {
        program.envs(header(name).map(|value| (variable, value)));
    }
    let mut program = program.spawn().unwrap();
    let mut input = program.stdin.take().unwrap();
    let body = body.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&body));
    let mut said = Vec::new();
    program.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    let _ = writer.join();
    program.wait().unwrap();
    let end = said.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(0);
    let content = said[(end + 4).min(said.len())..].to_vec();
    (String::from_utf8_lossy(&said[..end]).into_owned() + "\r\n", content)
}

/// A server that runs until it is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // What it has started goes with it.
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn listens(port: u16) {
    eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
}

/// Git's own server, for the repositories in `root`.
pub(crate) fn git_daemon(root: &Path) -> (Running, u16) {
    let port = free_port();
    let daemon = Command::new("git")
        .args([
            "-c",
            "safe.directory=*",
            "daemon",
            "--export-all",
            "--listen=127.0.0.1",
            "--reuseaddr",
        ])
        .arg(format!("--port={port}"))
        .arg(format!("--base-path={}", root.display()))
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    listens(port);
    (Running(daemon), port)
}

/// A server for ssh with a host key of its own, that knows one user's key.
pub(crate) struct Ssh {
    folder: tempfile::TempDir,
    pub port: u16,
    server: Option<Running>,
}

impl Ssh {
    pub(crate) fn start() -> Self {
        let mut ssh = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            server: None,
        };
        ssh.key("user");
        std::fs::copy(ssh.file("user.pub"), ssh.file("authorized")).unwrap();
        ssh.with_new_host_key();
        ssh
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, name: &str) {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(self.file(name))
            .status();
        assert!(made.unwrap().success());
    }

    /// The server as somebody else: under the same address, with another key.
    pub(crate) fn with_new_host_key(&mut self) {
        self.server = None;
        let _ = std::fs::remove_file(self.file("host"));
        self.key("host");
        let mut config = String::new();
        for (key, value) in [
            ("HostKey", self.file("host").display().to_string()),
            ("AuthorizedKeysFile", self.file("authorized").display().to_string()),
            ("Port", self.port.to_string()),
            ("ListenAddress", "127.0.0.1".to_owned()),
            ("PidFile", "none".to_owned()),
            ("UsePAM", "no".to_owned()),
            ("StrictModes", "no".to_owned()),
            ("PermitRootLogin", "yes".to_owned()),
        ] {
            writeln!(config, "{key} {value}").unwrap();
        }
        std::fs::write(self.file("config"), config).unwrap();
        // Where it is root, it wants a folder that an installed one has made at its start.
        let _ = std::fs::create_dir_all("/run/sshd");
        let mut server = Command::new("/usr/sbin/sshd");
        server
            .args(["-D", "-e", "-f"])
            .arg(self.file("config"))
            .stderr(Stdio::null())
            .process_group(0);
        self.server = Some(Running(server.spawn().unwrap()));
        listens(self.port);
    }

    /// The lines by which the host is known.
    pub(crate) fn known_hosts(&self) -> String {
        let key = std::fs::read_to_string(self.file("host.pub")).unwrap();
        format!("[127.0.0.1]:{} {key}", self.port)
    }
}
