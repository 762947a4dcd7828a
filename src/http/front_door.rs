//! The front door: takes connections from the network and hands only whole, well-formed, small requests to the
//! inner server, one for each connection. `tiny_http` can be ended by a single request and stops for good when it
//! cannot accept, so it never meets the network itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Context;
use super::connections::{Connection, Connections};
use super::head::{self, Head, LONGEST_HEAD, Refused};
use super::inner::Inner;
use super::listeners::Listeners;

/// Requests answered at one time, `/health` not counted, where there are descriptors enough.
const MOST_REQUESTS_AT_ONCE: u64 = 32;
/// Connections for each of them: those that have not sent a whole request yet, or may bring another.
const CONNECTIONS_PER_REQUEST: u32 = 4;
/// Descriptors that go with one request: those of its connections, three to the inner server, and a database's.
const DESCRIPTORS_PER_REQUEST: u64 = 12;
/// Descriptors that the rest of the service needs.
const OTHER_DESCRIPTORS: u64 = 32;
/// How long a client may take to send its request, and to take each part of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection is kept for another request.
const KEPT: Duration = Duration::from_secs(5);
/// What clients are told of that: a little less, so that none sends a request to a connection that is being closed.
const KEPT_FOR_CLIENTS: u64 = 4;
/// How many requests a connection may bring.
const MOST_REQUESTS: u32 = 100;
/// How long a client that has closed its side is waited for: then it has left, and nobody reads the answer.
const LEAVING: Duration = Duration::from_secs(1);
const TOO_MANY: Refused = (503, "too many requests at once; try again in a moment");
/// How long the last answers may take when the service ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often a persistent error is logged.
const BETWEEN_WARNINGS: Duration = Duration::from_mins(1);
/// How much of a refused request is taken in.
const MOST_DRAINED: u64 = 1024 * 1024;
/// The pause after a connection could not be accepted, for one because no descriptor is free.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The front door, ready to serve.
pub(crate) struct FrontDoor {
    listeners: Listeners,
    door: Arc<Door>,
    limit: u32,
}

impl FrontDoor {
    /// Sets up the inner server behind `listeners`.
    pub(crate) fn new(listeners: Listeners, context: Context) -> io::Result<Self> {
        let limit = request_limit();
        let door = Arc::new(Door {
            inner: Inner::start(context)?,
            requests: Arc::new(Semaphore::new(limit as usize)),
            connections: Connections::new((limit * CONNECTIONS_PER_REQUEST) as usize),
        });
        Ok(Self { listeners, door, limit })
    }

    /// Serves requests until `end` is told, then answers those under way.
    pub(crate) async fn serve(self, end: oneshot::Receiver<()>) {
        let mut accepting = JoinSet::new();
        for listener in self.listeners.into_inner() {
            accepting.spawn(accept(listener, Arc::clone(&self.door)));
        }
        let _ = end.await;
        accepting.abort_all();
        let everyone_gone = self.door.requests.acquire_many(self.limit);
        let _ = tokio::time::timeout(LAST_ANSWERS, everyone_gone).await;
    }
}

impl std::fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontDoor")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// How many requests the process's limit of descriptors leaves, at least one.
fn request_limit() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    let limit = (limit.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS_PER_REQUEST).clamp(1, MOST_REQUESTS_AT_ONCE);
    u32::try_from(limit).unwrap_or(1)
}

struct Door {
    inner: Inner,
    /// One for each request under way.
    requests: Arc<Semaphore>,
    connections: Connections,
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    let mut warned: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((client, _)) => match door.connections.admit() {
                Some(connection) => drop(tokio::spawn(attend(client, Arc::clone(&door), connection))),
                None => turn_away(&client),
            },
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() > BETWEEN_WARNINGS) {
                    tracing::warn!("connections cannot be accepted for now: {error}");
                    warned = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Answers a connection for which there is no place, without waiting for it.
fn turn_away(client: &TcpStream) {
    let _ = client.try_write(&refusal(TOO_MANY));
}

/// Answers the requests of a connection, one after the other.
async fn attend(mut client: TcpStream, door: Arc<Door>, connection: Connection) {
    let mut read = Vec::with_capacity(1024);
    for number in 1..=MOST_REQUESTS {
        connection.waits();
        let received = tokio::select! {
            received = tokio::time::timeout(PATIENCE, receive(&mut client, &mut read)) => received,
            () = connection.is_to_give_way() => return turn_away(&client),
        };
        let request = match received {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) => return, // The client went away.
            Ok(Err(refused)) => return refuse(&mut client, refused).await,
            Err(_) => return refuse(&mut client, (408, "the request did not arrive in time")).await,
        };
        connection.is_served();
        let place = Arc::clone(&door.requests).try_acquire_owned().ok();
        // Whoever watches the service gets an answer however much there is to do.
        if place.is_none() && !request.is_health {
            return refuse(&mut client, TOO_MANY).await;
        }
        let is_kept = request.keeps_alive && number < MOST_REQUESTS;
        match relay(&mut client, &door.inner, &request.bytes, is_kept).await {
            Err(error) => return tracing::debug!("an answer could not be sent: {error}"),
            Ok(()) if !is_kept => return drop(client.shutdown().await),
            Ok(()) => {}
        }
        drop(place);
        connection.waits();
        let more = tokio::time::timeout(KEPT, next_bytes(&client, &mut read));
        tokio::select! {
            more = more => if !matches!(more, Ok(Ok(true))) { return },
            () = connection.is_to_give_way() => return,
        }
    }
}

/// Waits for the beginning of another request, unless it is in `read` already; false when the client goes away.
async fn next_bytes(client: &TcpStream, read: &mut Vec<u8>) -> io::Result<bool> {
    while read.is_empty() {
        // Being readable may be old news: only reading tells.
        match client.try_read_buf(read) {
            Ok(length) => return Ok(length > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => client.readable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// A whole request.
struct Received {
    bytes: Vec<u8>,
    keeps_alive: bool,
    is_health: bool,
}

/// Reads one whole request; `None` when the client goes away before that. `read` has what came before, and keeps what
/// comes after it.
async fn receive(client: &mut TcpStream, read: &mut Vec<u8>) -> Result<Option<Received>, Refused> {
    let head = loop {
        if let Some(head) = head::parse(read)? {
            break head;
        }
        // One byte more than the longest head, so that a longer one is noticed.
        let room = (LONGEST_HEAD + 1).saturating_sub(read.len()) as u64;
        match (&mut *client).take(room).read_buf(read).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    };
    let Head {
        length,
        body,
        mut forwarded,
        keeps_alive,
    } = head;
    let mut rest = read.split_off(length);
    if rest.len() < body {
        let start = rest.len();
        rest.resize(body, 0);
        if client.read_exact(&mut rest[start..]).await.is_err() {
            return Ok(None);
        }
    }
    *read = rest.split_off(body);
    forwarded.extend_from_slice(&rest);
    Ok(Some(Received {
        is_health: forwarded.starts_with(b"GET /health "),
        bytes: forwarded,
        keeps_alive,
    }))
}

/// Hands the request to the inner server and its answer to the client, who is told whether the connection is kept.
async fn relay(client: &mut TcpStream, inner: &Inner, request: &[u8], is_kept: bool) -> io::Result<()> {
    let mut server = match inner.connect().await {
        Ok(server) => server,
        Err(error) => {
            refuse(client, (503, "the server is restarting; try again in a moment")).await;
            return Err(error);
        }
    };
    server.write_all(request).await?;
    let mut part = Vec::with_capacity(4096);
    // The end of the first line, where our own header goes.
    let line = loop {
        // A run that is waited for may take as long as its own timeout: only the client is hurried.
        let read = tokio::select! {
            read = server.read_buf(&mut part) => read?,
            () = leaves(client) => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(line) = part.windows(2).position(|bytes| bytes == b"\r\n") {
            break line + 2;
        }
    };
    let header = if is_kept {
        format!("Connection: keep-alive\r\nKeep-Alive: timeout={KEPT_FOR_CLIENTS}\r\n")
    } else {
        "Connection: close\r\n".to_owned()
    };
    part.splice(line..line, header.into_bytes());
    loop {
        tokio::time::timeout(PATIENCE, client.write_all(&part)).await??;
        part.clear();
        if server.read_buf(&mut part).await? == 0 {
            return Ok(());
        }
    }
}

/// Waits until the client has left. One that has closed its side only may still read for a moment.
async fn leaves(client: &TcpStream) {
    match client.peek(&mut [0]).await {
        // It has sent more, so it is there.
        Ok(1..) => std::future::pending().await,
        Ok(0) => tokio::time::sleep(LEAVING).await,
        Err(_) => {}
    }
}

async fn refuse(client: &mut TcpStream, refused: Refused) {
    let answer = refusal(refused);
    let _ = tokio::time::timeout(PATIENCE, client.write_all(&answer)).await;
    let _ = client.shutdown().await;
    // What is still on its way is taken in, or else the reset would take our answer back from the client.
    let mut rest = client.take(MOST_DRAINED);
    let _ = tokio::time::timeout(ACCEPT_BACKOFF, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

fn refusal((status, why): Refused) -> Vec<u8> {
    let body = serde_json::json!({ "error": why }).to_string();
    let length = body.len();
    let retry = if status == 503 { "Retry-After: 1\r\n" } else { "" };
    let reason = reason_of(status);
    format!("HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n{retry}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// The words that belong to a status.
fn reason_of(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    }
}
