//! A temporary working directory as an installation has it: `data/backups.db`, perhaps a `jobs.toml`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::{Connection, params};
use serde_json::Value;
use tempfile::TempDir;

use super::{Service, eventually};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_duplistatus-cron");
/// A declaration of one job that never comes by itself.
pub(crate) const ONE_JOB: &str = r#"
[jobs.tidy]
schedule = "0 0 1 1 *"
[jobs.tidy.cleanup]
delete_from = "sessions"
where = "expires_at < datetime('now')"
"#;
const APPLICATION: &str = include_str!("../fixtures/application.sql");

pub(crate) struct Workplace(TempDir);

/// Copies a database as it is now, with its log: what is written meanwhile may not fit together.
pub(crate) fn copy_database(from: &Path, to: &Path) {
    for end in ["", "-wal"] {
        let _ = std::fs::copy(format!("{}{end}", from.display()), format!("{}{end}", to.display()));
    }
}

impl Workplace {
    /// An empty working directory.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with the application's database, without any rows.
    pub(crate) fn new() -> Self {
        let place = Self::empty();
        place.create_database();
        place
    }

    /// The same, with these jobs declared.
    pub(crate) fn with_jobs(jobs: &str) -> Self {
        let place = Self::new();
        place.write("jobs.toml", jobs);
        place
    }

    /// One with the database a recording starts from.
    pub(crate) fn of_recording(scenario: &Value) -> Self {
        let place = Self::new();
        place.fill(scenario);
        place
    }

    /// Adds the rows of a scenario.
    pub(crate) fn fill(&self, scenario: &Value) {
        let database = self.database();
        for (key, value) in scenario["configurations"].as_object().unwrap() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            database
                .execute("INSERT INTO configurations VALUES (?1, ?2)", params![key, text])
                .unwrap();
        }
        let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
        for server in scenario["servers"].as_array().unwrap() {
            let columns = ["id", "name", "alias", "note", "server_url"].map(|key| text(server, key));
            database
                .execute(
                    "INSERT INTO servers (id, name, alias, note, server_url) VALUES (?1, ?2, ?3, ?4, ?5)",
                    columns,
                )
                .unwrap();
        }
        for (number, backup) in scenario["backups"].as_array().unwrap().iter().enumerate() {
            let [server, name, date] = [0, 1, 2].map(|index| backup[index].as_str().unwrap());
            backup_row(&database, &format!("{server}-{name}-{number}"), server, name, date);
        }
        for entry in scenario["audit_log"].as_array().unwrap() {
            self.audit(entry[0].as_str().unwrap(), entry[1].as_str().unwrap());
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn create_database(&self) {
        std::fs::create_dir_all(self.file("data")).unwrap();
        let database = Connection::open(self.file("data/backups.db")).unwrap();
        database.pragma_update(None, "journal_mode", "wal").unwrap();
        database.execute_batch(APPLICATION).unwrap();
    }

    /// A connection to the application's database.
    pub(crate) fn database(&self) -> Connection {
        Connection::open(self.file("data/backups.db")).unwrap()
    }

    /// A connection to the service's own state, which no service may have open.
    pub(crate) fn state(&self) -> Connection {
        Connection::open(self.file("data/duplistatus-cron.db")).unwrap()
    }

    /// What a query of one row gives in the state as it is now, whether a service has it open or not; `None` where there
    /// is no state yet.
    pub(crate) fn in_state<T>(
        &self,
        query: &str,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Option<T> {
        eventually("the state to be read", || {
            let copy = tempfile::tempdir().unwrap();
            let path = copy.path().join("state.db");
            copy_database(&self.file("data/duplistatus-cron.db"), &path);
            if !path.exists() {
                return Some(None);
            }
            // What is copied while it is written may not fit together.
            let found = Connection::open(path).unwrap().query_row(query, [], &read);
            found.ok().map(Some)
        })
    }

    /// Ends the service, changes its state, and starts it again.
    pub(crate) fn with_state_changed(&self, service: Service, change: &str) -> Service {
        service.terminate();
        self.state().execute_batch(change).unwrap();
        self.start()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Sets one of the application's settings.
    pub(crate) fn set(&self, key: &str, value: &str) {
        self.database()
            .execute(
                "INSERT OR REPLACE INTO configurations VALUES (?1, ?2)",
                params![key, value],
            )
            .unwrap();
    }

    /// What one of the application's settings is.
    pub(crate) fn setting(&self, key: &str) -> Option<String> {
        use rusqlite::OptionalExtension;
        self.database()
            .query_row("SELECT value FROM configurations WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()
            .unwrap()
    }

    /// Adds an entry to the audit log.
    pub(crate) fn audit(&self, timestamp: &str, action: &str) {
        self.database()
            .execute(
                "INSERT INTO audit_log (timestamp, username, action, category, status)
                 VALUES (?1, 'admin', ?2, 'auth', 'success')",
                params![timestamp, action],
            )
            .unwrap();
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        self.database()
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .unwrap()
    }

    /// The program, to be run here, without any variable of ours.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.current_dir(self.path()).env("TMPDIR", self.path());
        for name in ["PORT", "CRON_PORT", "CRON_TOKEN", "CRON_CONFIG", "TZ"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs `validate` on `declaration`; gives its exit code and what it printed.
    pub(crate) fn validate(&self, declaration: &str) -> (i32, String) {
        self.write("jobs.toml", declaration);
        printed(&self.run(&["validate"]))
    }
}

/// The exit code and everything printed.
pub(crate) fn printed(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

/// Adds a backup.
fn backup_row(database: &Connection, id: &str, server: &str, name: &str, date: &str) {
    database
        .execute(
            "INSERT INTO backups (id, server_id, backup_name, backup_id, date, status, duration_seconds, main_operation,
             parsed_result, begin_time, end_time) VALUES (?1, ?2, ?3, ?3, ?4, 'Success', 60, 'Backup', 'Success', ?4, ?4)",
            params![id, server, name, date],
        )
        .unwrap();
}
