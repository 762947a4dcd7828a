//! PostgreSQL as Debian packages it, in a folder of its own. A server is shared by the tests that run at the same time, and
//! gone with the last of them, or with the process.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tempfile::TempDir;

use super::eventually;

/// A server, which runs until it is dropped.
pub(crate) struct Server {
    folder: TempDir,
    pub port: u16,
    running: Mutex<Option<Child>>,
}

impl Server {
    /// The server that is running, or a new one.
    pub(crate) fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::new());
            *running = Arc::downgrade(&server);
            server
        })
    }

    /// A server of one's own.
    pub(crate) fn new() -> Self {
        let server = Self::empty();
        let made = as_owner("initdb")
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--no-sync",
                "--pgdata",
            ])
            .arg(server.folder.path().join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.start();
        server
    }

    /// A folder for one.
    fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        let owner = if is_root() { "postgres" } else { "" };
        if !owner.is_empty() {
            assert!(
                Command::new("chown")
                    .arg(owner)
                    .arg(folder.path())
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let port = free_port();
        Self {
            folder,
            port,
            running: Mutex::default(),
        }
    }

    /// Starts it, where it was stopped.
    pub(crate) fn start(&self) {
        let mut running = self.running.lock().unwrap();
        let folder = self.folder.path();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        // It ends with whoever holds the other end of its input, however that ends.
        let script = "\"$@\" & server=$!; cat >/dev/null; kill -INT $server 2>/dev/null; wait $server";
        let postgres = as_owner("postgres");
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", script, "sh"])
            .arg(postgres.get_program())
            .args(postgres.get_args());
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", folder.display()),
            "fsync=off".to_owned(),
            "shared_buffers=32MB".to_owned(),
            "max_connections=200".to_owned(),
        ];
        keeper.arg("-D").arg(folder.join("data"));
        for setting in settings {
            keeper.args(["-c", &setting]);
        }
        let keeper = keeper
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        *running = Some(keeper);
        drop(running);
        eventually("PostgreSQL to answer", || self.try_sql("postgres", "SELECT 1").ok());
    }

    /// Stops it: at once with `immediate`, as by a crash, or with `fast`, having ended all sessions.
    pub(crate) fn stop(&self, mode: &str) {
        let stopped = as_owner("pg_ctl")
            .args(["stop", "--wait", "--mode", mode, "--pgdata"])
            .arg(self.folder.path().join("data"))
            .output()
            .unwrap();
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
        if let Some(mut keeper) = self.running.lock().unwrap().take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    /// A new, empty database; gives its name.
    pub(crate) fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("d{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// The address of a database for a role.
    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        format!("postgresql://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements as the superuser; gives what they return, without headings.
    pub(crate) fn sql(&self, database: &str, statements: &str) -> String {
        self.try_sql(database, statements)
            .unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// The same, or what the server says against it.
    pub(crate) fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let Output { status, stdout, stderr } = self.psql(database).args(["-c", statements]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
        if status.success() {
            Ok(text(stdout))
        } else {
            Err(text(stderr))
        }
    }

    /// A standby that follows this server, and answers questions.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::empty();
        let copied = as_owner("pg_basebackup")
            .args([
                "--host=127.0.0.1",
                "--username=postgres",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ])
            .arg(format!("--port={}", self.port))
            .arg("--pgdata")
            .arg(standby.folder.path().join("data"))
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        standby.start();
        standby
    }

    /// A pooler in transaction mode before this server; gives the port it listens on.
    pub(crate) fn pooler(&self) -> (u16, Held) {
        let port = free_port();
        let path = self.folder.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 5\nmax_client_conn = 100\n",
            self.port
        );
        // With any user let in, the one at the server is that of the address.
        let settings = settings.replace("* = host", "* = user=postgres host");
        std::fs::write(&path, settings).unwrap();
        let mut pooler = Command::new("pgbouncer");
        if is_root() {
            pooler = Command::new("setpriv");
            pooler.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "pgbouncer"]);
        }
        let running = pooler
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the pooler to listen", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        (port, Held(running))
    }

    /// A session that stays open with what `statements` have done, until it is dropped.
    pub(crate) fn hold(&self, database: &str, statements: &str) -> Held {
        let mut psql = self
            .psql(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = psql.stdin.as_mut().unwrap();
        writeln!(input, "{statements}\n\\echo done").unwrap();
        let mut output = std::io::BufReader::new(psql.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "done" {
            line.clear();
            let read = std::io::BufRead::read_line(&mut output, &mut line).unwrap();
            assert!(read > 0, "{statements} failed");
        }
        Held(psql)
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new("psql");
        let port = self.port.to_string();
        psql.args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            database,
        ]);
        psql.env("PGTZ", "UTC");
        psql
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.running.lock().unwrap().take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// A session that is kept open.
pub(crate) struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A program of the server, which refuses to be root.
fn as_owner(program: &str) -> Command {
    let program = binaries().join(program);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

fn binaries() -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").unwrap_or_else(|error| panic!("PostgreSQL is missing: {error}"));
    let newest = versions.map(|version| version.unwrap().path()).max();
    newest.unwrap_or_else(|| panic!("PostgreSQL is missing")).join("bin")
}
