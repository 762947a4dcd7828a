//! `tiny_http` on a private Unix socket, behind the front door: the only place that knows it. When it stops taking
//! connections, as it does for good after an error, it is set up anew.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tiny_http::{Header, Response, Server};
use tokio::net::UnixStream;

use super::{Answer, Context, Request, routes};

/// The inner server, as the front door reaches it.
pub(super) struct Inner {
    /// The folder, closed to others, that holds the socket.
    _folder: TempDir,
    socket: PathBuf,
    server: Arc<Mutex<Arc<Server>>>,
}

impl Inner {
    /// Sets the server up on a thread of its own.
    ///
    /// # Errors
    /// When no socket can be made.
    pub(super) fn start(context: Context) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("duplistatus-cron-").tempdir()?;
        let socket = folder.path().join("http");
        let server = Arc::new(Mutex::new(Arc::new(listen(&socket)?)));
        let inner = Self {
            _folder: folder,
            socket: socket.clone(),
            server: Arc::clone(&server),
        };
        thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || keep_serving(&socket, &server, &context))?;
        Ok(inner)
    }

    /// A connection to the server. One that is refused has the server set up anew.
    ///
    /// # Errors
    /// When the server does not take connections now.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let connected = UnixStream::connect(&self.socket).await;
        if connected.is_err() {
            // Should its accepting thread be gone without a word, this wakes the one that waits for requests.
            self.server.lock().unwrap_or_else(PoisonError::into_inner).unblock();
        }
        connected
    }
}

fn listen(socket: &PathBuf) -> io::Result<Server> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Server::from_listener(UnixListener::bind(socket)?, None).map_err(io::Error::other)
}

/// Takes requests for ever, setting the server up anew whenever it gives none any more.
fn keep_serving(socket: &PathBuf, shared: &Mutex<Arc<Server>>, context: &Context) {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let server = Arc::clone(&shared.lock().unwrap_or_else(PoisonError::into_inner));
        while let Ok(request) = server.recv() {
            let context = context.clone();
            // The front door has few seats, so there are few threads. A request that gets none is dropped, which
            // its client sees as a connection closed.
            let _ = thread::Builder::new()
                .name("request".to_owned())
                .spawn(move || answer(request, &context));
        }
        tracing::warn!("the inner HTTP server stopped; it is set up anew");
        loop {
            thread::sleep(PAUSE);
            if let Ok(fresh) = listen(socket) {
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                break;
            }
        }
    }
}

fn answer(request: tiny_http::Request, context: &Context) {
    let asked = read(&request);
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| routes::answer(&asked, context)));
    let Answer { status, body } = answered.unwrap_or_else(|_| {
        Answer::error(
            500,
            "the request could not be answered, which is a fault of this program",
        )
    });
    let mut response = Response::from_data(body.to_string()).with_status_code(status);
    for (name, value) in [
        ("Content-Type", "application/json"),
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
