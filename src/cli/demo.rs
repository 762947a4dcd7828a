//! `run --demo`: a sample database with old rows and overdue backups in a temporary folder, and every job run once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::output::say;
use super::{Exit, FAILED};
use crate::config::sources::SHIPPED;
use crate::engine::{Command, Inbox};

const SAMPLE: &str = include_str!("demo.sql");

/// The folder of a demonstration; it goes when the service ends.
pub(super) struct Demo(TempDir);

impl Demo {
    /// Makes the folder with its database and a copy of the shipped declaration, and works in it from here on.
    pub(super) fn set_up() -> Result<Self, Exit> {
        let demo = Self::make().map_err(|error| Exit::new(FAILED, format!("the sample cannot be made: {error}")))?;
        say!("A sample is served from {}", demo.0.path().display());
        say!(
            "Edit {} and watch the change apply; Ctrl-C ends it.\n",
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
        let ntfy = json!({ "url": receive_messages()?, "topic": "demo", "accessToken": "" });
        database.execute(
            "INSERT INTO configurations VALUES ('ntfy_config', ?1)",
            [ntfy.to_string()],
        )?;
        std::fs::write(folder.path().join("jobs.toml"), SHIPPED)?;
        std::env::set_current_dir(folder.path())?;
        Ok(Self(folder))
    }

    /// The declaration that is served.
    pub(super) fn declaration(&self) -> PathBuf {
        self.0.path().join("jobs.toml")
    }
}

/// Stands in for an ntfy server: what it gets goes to the log. Gives its address.
fn receive_messages() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}/", listener.local_addr()?);
    std::thread::Builder::new().name("demo".to_owned()).spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            if let Err(error) = receive(client) {
                tracing::warn!("a message could not be received: {error}");
            }
        }
    })?;
    Ok(address)
}

fn receive(mut client: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let query = line.split(['?', ' ']).nth(2).unwrap_or_default().to_owned();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap_or(0),
            Some(_) => {}
            None => break,
        }
    }
    let mut text = String::new();
    reader.take(length).read_to_string(&mut text)?;
    let title = form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "title")
        .map(|(_, title)| title.into_owned());
    tracing::info!(title, "a message was received: {}", text.replace('\n', " "));
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
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
