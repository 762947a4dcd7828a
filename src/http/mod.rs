//! HTTP: a bounded front door on TCP, `tiny_http` behind it on a private socket, and the routes.
//!
//! client -> `front_door` (whole, well-formed, small requests only) -> `inner` (`tiny_http`, a thread a request)
//! -> `guard` (who may ask) -> `routes` (one row an endpoint) -> engine.

mod config;
mod connections;
pub(crate) mod front_door;
mod guard;
mod head;
mod headers;
mod health;
mod hooks;
mod inner;
mod job;
mod listeners;
mod metrics;
mod outbox;
mod overview;
mod page;
mod replicas;
mod routes;
mod schedules;
mod tasks;
mod why;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::config::{Plan, Services};
use crate::engine::{Command, Heartbeat, Inbox, Replicas};
use crate::state::Store;

pub(crate) use front_door::FrontDoor;
pub(crate) use health::Databases;
pub(crate) use listeners::Listeners;

/// How long the engine may take to answer what needs no run before it counts as stuck.
const ENGINE_PATIENCE: Duration = Duration::from_secs(10);

/// What the routes work with.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Where the engine takes its orders.
    pub engine: Inbox,
    /// The plan in force, which a reload may change.
    pub plans: watch::Receiver<Arc<Plan>>,
    pub store: Store,
    /// Where the inner socket is made where there is no folder for temporary files.
    pub folder: PathBuf,
    /// What `/health` knows of the databases.
    pub databases: Databases,
    /// What runs that change nothing share.
    pub dry: Services,
    /// What the engine tells without being asked.
    pub heartbeat: Heartbeat,
    /// How the replicas stand, where there may be several.
    pub replicas: Option<Replicas>,
    /// The runtime that the engine's answers come from.
    pub runtime: Handle,
}

impl Context {
    /// Puts a question to the engine and waits for the answer; `None` when the engine is stuck or gone.
    fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        self.ask_for(ENGINE_PATIENCE, question)
    }

    /// The same, waiting for so long.
    fn ask_for<T>(&self, patience: Duration, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.engine.send(question(reply)).await.ok()?;
            answer.await.ok()
        };
        self.runtime
            .block_on(async { tokio::time::timeout(patience, asked).await.ok().flatten() })
    }

    /// Waits for an answer however long it takes; `None` when it will never come.
    fn wait<T>(&self, answer: oneshot::Receiver<T>) -> Option<T> {
        self.runtime.block_on(answer).ok()
    }
}

/// A request as the routes see it.
#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    /// None of it is read before the whole has come, and it is never long.
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What a request is answered with.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: Body,
    /// Whether it has a tag, by which whoever has it already need not get it again.
    is_tagged: bool,
}

/// What an answer holds.
#[derive(Debug, PartialEq)]
enum Body {
    Json(Value),
    /// A text, with its type.
    Text(String, &'static str),
    /// A part of the page, with its type.
    Page(Cow<'static, str>, &'static str),
}

impl Answer {
    fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            body: Body::Json(body),
            is_tagged: false,
        }
    }

    fn ok(body: Value) -> Self {
        Self::new(200, body)
    }

    fn error(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, json!({ "error": message.into() }))
    }

    fn stuck() -> Self {
        Self::error(503, "the engine does not answer")
    }
}
