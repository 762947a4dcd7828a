//! The front door: takes connections from the network and hands only whole, well-formed, small requests to the
//! inner server, one for each connection. `tiny_http` can be ended by a single request and stops for good when it
//! cannot accept, so it never meets the network itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Context;
use super::head::{self, Head, LONGEST_HEAD, Refused};
use super::inner::Inner;

/// Connections served at one time, where there are descriptors enough.
const SEATS: u64 = 32;
/// Descriptors one connection may need: its own, three to the inner server, and a database's.
const DESCRIPTORS_PER_SEAT: u64 = 8;
/// Descriptors that the rest of the service needs.
const OTHER_DESCRIPTORS: u64 = 32;
/// How long a client may take to send its request, and to take each part of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last answers may take when the service ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often a lasting trouble is told.
const BETWEEN_WARNINGS: Duration = Duration::from_mins(1);
/// How much of a refused request is taken in.
const MOST_DRAINED: u64 = 1024 * 1024;
/// The pause after a connection could not be accepted, for one because no descriptor is free.
const BREATH: Duration = Duration::from_millis(100);

/// The addresses the service is bound to; all have one port.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<TcpListener>,
    port: u16,
}

impl Listeners {
    /// Binds `host`; `localhost` means both loopback addresses, as far as the machine has them. Port 0 takes a free one.
    ///
    /// # Errors
    /// When nothing can be bound, for one because another program has the port.
    pub async fn bind(host: &str, port: u16) -> io::Result<Self> {
        if host != "localhost" {
            let listener = TcpListener::bind((host, port)).await?;
            let port = listener.local_addr()?.port();
            return Ok(Self {
                listeners: vec![listener],
                port,
            });
        }
        let first = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = first.local_addr()?.port();
        let second = TcpListener::bind(("::1", port)).await;
        if let Err(error) = &second
            && error.kind() == io::ErrorKind::AddrInUse
        {
            return Err(io::Error::new(error.kind(), format!("[::1]:{port}: {error}")));
        }
        Ok(Self {
            listeners: std::iter::once(first).chain(second.ok()).collect(),
            port,
        })
    }

    /// The port, known also where a free one was taken.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }
}

/// The front door, ready to serve.
pub struct FrontDoor {
    listeners: Listeners,
    door: Arc<Door>,
    places: u32,
}

impl FrontDoor {
    /// Sets up the inner server behind `listeners`.
    ///
    /// # Errors
    /// When it cannot be set up, for one because no folder for its socket can be made.
    pub fn new(listeners: Listeners, context: Context) -> io::Result<Self> {
        let places = places();
        let seats = Arc::new(Semaphore::new(places as usize));
        let door = Arc::new(Door {
            inner: Inner::start(context)?,
            seats,
        });
        Ok(Self {
            listeners,
            door,
            places,
        })
    }

    /// Serves requests until `end` is told, then answers those under way.
    pub async fn serve(self, end: oneshot::Receiver<()>) {
        let mut accepting = JoinSet::new();
        for listener in self.listeners.listeners {
            accepting.spawn(accept(listener, Arc::clone(&self.door)));
        }
        let _ = end.await;
        accepting.abort_all();
        let everyone_gone = self.door.seats.acquire_many(self.places);
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

/// How many seats the process's limit of descriptors leaves, at least one.
fn places() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    let places = (limit.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS_PER_SEAT).clamp(1, SEATS);
    u32::try_from(places).unwrap_or(1)
}

struct Door {
    inner: Inner,
    seats: Arc<Semaphore>,
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    let mut warned: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((client, _)) => match Arc::clone(&door.seats).try_acquire_owned() {
                Ok(seat) => drop(tokio::spawn(attend(client, Arc::clone(&door), seat))),
                Err(_) => turn_away(&client),
            },
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() > BETWEEN_WARNINGS) {
                    tracing::warn!("connections cannot be accepted for now: {error}");
                    warned = Some(Instant::now());
                }
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Answers a connection for which there is no seat, without waiting for it.
fn turn_away(client: &TcpStream) {
    let _ = client.try_write(&refusal((503, "too many requests at once; try again in a moment")));
}

async fn attend(mut client: TcpStream, door: Arc<Door>, _seat: OwnedSemaphorePermit) {
    let request = match tokio::time::timeout(PATIENCE, receive(&mut client)).await {
        Ok(Ok(Some(request))) => request,
        Ok(Ok(None)) => return, // The client went away.
        Ok(Err(refused)) => return refuse(&mut client, refused).await,
        Err(_) => return refuse(&mut client, (408, "the request did not come in time")).await,
    };
    if let Err(error) = relay(&mut client, &door.inner, &request).await {
        tracing::debug!("an answer could not be given: {error}");
    }
}

/// Reads one whole request; `None` when the client goes away before that.
async fn receive(client: &mut TcpStream) -> Result<Option<Vec<u8>>, Refused> {
    let mut read = Vec::with_capacity(1024);
    let Head {
        length,
        body,
        mut forwarded,
    } = loop {
        // One byte more than the longest head, so that a longer one is noticed.
        let room = (LONGEST_HEAD + 1 - read.len()) as u64;
        match (&mut *client).take(room).read_buf(&mut read).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
        if let Some(head) = head::parse(&read)? {
            break head;
        }
    };
    let mut whole = read.split_off(length);
    whole.truncate(body);
    let missing = body - whole.len();
    let start = whole.len();
    whole.resize(body, 0);
    if missing > 0 && client.read_exact(&mut whole[start..]).await.is_err() {
        return Ok(None);
    }
    forwarded.extend_from_slice(&whole);
    Ok(Some(forwarded))
}

/// Hands the request to the inner server and its answer to the client.
async fn relay(client: &mut TcpStream, inner: &Inner, request: &[u8]) -> io::Result<()> {
    let mut server = match inner.connect().await {
        Ok(server) => server,
        Err(error) => {
            refuse(client, (503, "the server is starting anew; try again in a moment")).await;
            return Err(error);
        }
    };
    server.write_all(request).await?;
    let mut part = [0; 4096];
    loop {
        // A run that is waited for may take as long as its own timeout: only the client is hurried.
        let length = server.read(&mut part).await?;
        if length == 0 {
            return client.shutdown().await;
        }
        tokio::time::timeout(PATIENCE, client.write_all(&part[..length])).await??;
    }
}

async fn refuse(client: &mut TcpStream, refused: Refused) {
    let answer = refusal(refused);
    let _ = tokio::time::timeout(PATIENCE, client.write_all(&answer)).await;
    let _ = client.shutdown().await;
    // What is still on its way is taken in, or else the reset would take our answer back from the client.
    let mut rest = client.take(MOST_DRAINED);
    let _ = tokio::time::timeout(BREATH, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

fn refusal((status, why): Refused) -> Vec<u8> {
    let body = serde_json::json!({ "error": why }).to_string();
    let length = body.len();
    let retry = if status == 503 { "Retry-After: 1\r\n" } else { "" };
    format!("HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n{retry}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}
