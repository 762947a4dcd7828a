//! `tiny_http` on a private Unix socket, behind the front door: the only place that knows it. When it stops taking
//! connections, as it does for good after an error, it is set up anew.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tiny_http::{Header, Response, Server};
use tokio::net::UnixStream;

use super::{Answer, Context, Request, routes};

/// The inner server, as the front door reaches it.
pub(super) struct Inner(Arc<Mutex<Arc<Generation>>>);

/// One server, with the folder, closed to others, that holds its socket. Fields are dropped in this order: the
/// server wakes its accepting thread through the socket.
struct Generation {
    server: Server,
    socket: PathBuf,
    folder: TempDir,
}

impl Inner {
    /// Sets the server up on a thread of its own.
    ///
    /// # Errors
    /// When no socket can be made.
    pub(super) fn start(context: Context) -> io::Result<Self> {
        let current = Arc::new(Mutex::new(Arc::new(Generation::new()?)));
        let shared = Arc::clone(&current);
        thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || keep_serving(&shared, &context))?;
        Ok(Self(current))
    }

    /// A connection to the server. One that nobody takes has the server set up anew.
    ///
    /// # Errors
    /// When there is no server now, or no descriptor is free.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let generation = Arc::clone(&lock(&self.0));
        UnixStream::connect(&generation.socket).await.inspect_err(|error| {
            if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
                // Its accepting thread or its socket is gone, perhaps without a word: this wakes the one that waits
                // for requests.
                generation.server.unblock();
            }
        })
    }
}

impl Drop for Inner {
    /// Removes the folder, for the process may end before the thread that serves does.
    fn drop(&mut self) {
        let generation = Arc::clone(&lock(&self.0));
        generation.server.unblock();
        let _ = std::fs::remove_dir_all(generation.folder.path());
    }
}

impl Generation {
    fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("duplistatus-cron-").tempdir()?;
        let socket = folder.path().join("http");
        let server = Server::from_listener(UnixListener::bind(&socket)?, None).map_err(io::Error::other)?;
        Ok(Self { server, socket, folder })
    }
}

fn lock(current: &Mutex<Arc<Generation>>) -> MutexGuard<'_, Arc<Generation>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes requests as long as the front door is there, setting the server up anew whenever it gives none any more.
fn keep_serving(current: &Arc<Mutex<Arc<Generation>>>, context: &Context) {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let generation = Arc::clone(&lock(current));
        while let Ok(request) = generation.server.recv() {
            let context = context.clone();
            // The front door has few seats, so there are few threads. A request that gets none is dropped, which
            // its client sees as a connection closed.
            let _ = thread::Builder::new()
                .name("request".to_owned())
                .spawn(move || answer(request, &context));
        }
        drop(generation);
        if Arc::strong_count(current) == 1 {
            return;
        }
        tracing::warn!("the inner HTTP server stopped; it is set up anew");
        let fresh = loop {
            thread::sleep(PAUSE);
            if let Ok(fresh) = Generation::new() {
                break fresh;
            }
        };
        *lock(current) = Arc::new(fresh);
    }
}

fn answer(request: tiny_http::Request, context: &Context) {
    let asked = read(&request);
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| routes::answer(&asked, context)));
    let answer = answered.unwrap_or_else(|_| {
        Answer::error(
            500,
            "the request could not be answered, which is a fault of this program",
        )
    });
    let (body, content_type) = answer.content();
    // Always with its length, so that the client knows where it ends though the connection is kept.
    let mut response = Response::from_data(body)
        .with_status_code(answer.status)
        .with_chunked_threshold(usize::MAX);
    for (name, value) in [
        ("Content-Type", content_type),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ] {
        // Constants, so that no client can put anything into a header.
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    let _ = request.respond(response);
}

fn read(request: &tiny_http::Request) -> Request {
    let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
    Request {
        method: request.method().to_string(),
        path: path.to_owned(),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: request
            .headers()
            .iter()
            .map(|header| (header.field.to_string(), header.value.to_string()))
            .collect(),
    }
}
