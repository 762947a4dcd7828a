//! `tiny_http` on a private Unix socket, behind the front door: the only place that knows it. When it stops taking
//! connections, as it does for good after an error, it is set up anew.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tiny_http::{Header, Response, Server};
use tokio::net::UnixStream;

use super::{Answer, Context, Request, headers, routes};
use crate::values::{counters, lock};

/// The inner server, as the front door reaches it.
pub(super) struct Inner {
    current: Arc<Mutex<Arc<Generation>>>,
    ended: Arc<AtomicBool>,
}

/// One server, and the way to its socket. The socket has a name only while it is made: no other program can find it,
/// and nothing is left behind however the process ends.
struct Generation {
    server: Server,
    /// What leads to the socket without its name.
    handle: OwnedFd,
}

impl Inner {
    /// Sets the server up on a thread of its own.
    pub(super) fn start(context: Context) -> io::Result<Self> {
        let folder = context.folder.clone();
        let current = Arc::new(Mutex::new(Arc::new(Generation::new(&folder)?)));
        let ended = Arc::new(AtomicBool::new(false));
        let (shared, end) = (Arc::clone(&current), Arc::clone(&ended));
        thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || keep_serving(&shared, &end, &context, &folder))?;
        Ok(Self { current, ended })
    }

    /// A connection to the server. One that nobody takes has the server set up anew.
    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        let generation = Arc::clone(&lock(&self.current));
        let socket = format!("/proc/self/fd/{}", generation.handle.as_raw_fd());
        UnixStream::connect(socket).await.inspect_err(|error| {
            if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
                // Its accepting thread or its socket is gone, perhaps without a word: this wakes the one that waits
                // for requests.
                generation.server.unblock();
            }
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        lock(&self.current).server.unblock();
    }
}

impl Generation {
    /// Binds a socket in a folder for temporary files, or else in `folder`.
    fn new(folder: &Path) -> io::Result<Self> {
        let builder = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix(".duplistatus-cron-");
            builder
        };
        // Closed to others, and gone at the end of this function.
        let place = builder().tempdir().or_else(|_| builder().tempdir_in(folder))?;
        let socket = place.path().join("http");
        let listener = UnixListener::bind(&socket)?;
        let handle = rustix::fs::open(&socket, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        Ok(Self { server, handle })
    }
}

/// Takes requests as long as the front door is there, setting the server up anew whenever it gives none any more.
fn keep_serving(current: &Mutex<Arc<Generation>>, ended: &AtomicBool, context: &Context, folder: &Path) {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let generation = Arc::clone(&lock(current));
        while let Ok(request) = generation.server.recv() {
            let context = context.clone();
            // The front door accepts few connections at once, so there are few threads. A request that gets none is dropped, which
            // its client sees as a connection closed.
            let _ = thread::Builder::new()
                .name("request".to_owned())
                .spawn(move || answer(request, &context));
        }
        drop(generation);
        if ended.load(Ordering::Relaxed) {
            return;
        }
        tracing::warn!("the inner HTTP server stopped and is restarted");
        let fresh = loop {
            thread::sleep(PAUSE);
            if let Ok(fresh) = Generation::new(folder) {
                break fresh;
            }
        };
        *lock(current) = Arc::new(fresh);
    }
}

fn answer(mut request: tiny_http::Request, context: &Context) {
    let asked = read(&mut request);
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| routes::answer(&asked, context)));
    let (answer, route) = answered.unwrap_or_else(|_| {
        let why = "the request could not be answered, a bug in this program";
        (Answer::error(500, why), "other")
    });
    let sent = headers::prepare(answer, &asked);
    *counters().requests.entry((route, sent.status)).or_default() += 1;
    // Always with its length, so that the client knows where it ends though the connection is kept.
    let mut response = Response::from_data(sent.body)
        .with_status_code(sent.status)
        .with_chunked_threshold(usize::MAX);
    for (name, value) in sent.headers {
        // None of it is a client's, so that none can put anything into a header.
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    let _ = request.respond(response);
}

fn read(request: &mut tiny_http::Request) -> Request {
    let mut body = Vec::new();
    // The front door has it all; where it cannot be read, what is signed does not match.
    let _ = request.as_reader().read_to_end(&mut body);
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
        body,
    }
}
