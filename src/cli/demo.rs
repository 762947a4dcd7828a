//! `run --demo`: a sample database with old rows and overdue backups in a temporary folder, and every job run once.

use std::path::PathBuf;

use crate::sql::sqlite::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::output::say;
use super::{Exit, FAILED};
use crate::config::sources::SHIPPED;
use crate::engine::{Command, Inbox};

const SAMPLE: &str = include_str!("demo.sql");
/// The table of the shipped declaration that says whom to tell.
const CHECK: &str = "[jobs.overdue-backup-check.overdue_backups]\n";

/// The folder of a demonstration; it goes when the service ends.
pub(super) struct Demo(TempDir);

impl Demo {
    /// Makes the folder with its database and a copy of the shipped declaration, and works in it from here on.
    pub(super) fn set_up() -> Result<Self, Exit> {
        let demo = Self::make().map_err(|error| Exit::new(FAILED, format!("cannot create the sample: {error}")))?;
        say!("Serving a sample from {}", demo.0.path().display());
        say!(
            "Edit {} and watch the change apply; Ctrl-C stops it.\n",
            demo.declaration().display()
        );
        Ok(demo)
    }

    fn make() -> Result<Self, Box<dyn std::error::Error>> {
        let folder = tempfile::Builder::new().prefix("duplistatus-demo-").tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let database = Connection::open(data.join("backups.db"))?;
        database.execute_batch(SAMPLE)?;
        // Messages go to the log, in the place of the application's channels.
        let declaration = SHIPPED.replace(CHECK, &format!("{CHECK}channels = [\"log\"]\n"));
        let log = "\n[notifications.log]\nlog = { level = \"info\" }\n";
        std::fs::write(folder.path().join("jobs.toml"), declaration + log)?;
        std::env::set_current_dir(folder.path())?;
        Ok(Self(folder))
    }

    /// The declaration that is served.
    pub(super) fn declaration(&self) -> PathBuf {
        self.0.path().join("jobs.toml")
    }
}

/// Runs every job once, one after the other; the log tells what they do.
pub(super) async fn show(engine: Inbox, jobs: Vec<String>) {
    for job in jobs {
        let (reply, triggered) = oneshot::channel();
        if engine.send(Command::Trigger { job, reply }).await.is_err() {
            return;
        }
        if let Ok(Ok(triggered)) = triggered.await {
            let _ = triggered.ended.await;
        }
    }
}
