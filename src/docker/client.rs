//! Calls of the engine: one connection each, a deadline for every answer and for every silence in it. Bodies stay the JSON they
//! are, so that nothing is lost of what a newer engine says.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Address;

/// How long the engine may take to accept a connection, and to answer.
const CONNECT: Duration = Duration::from_secs(10);
pub(super) const ANSWER: Duration = Duration::from_mins(1);
/// How long an answer may be silent before it is complete: layers are unpacked without a word.
const SILENCE: Duration = Duration::from_mins(5);
/// How long an answer may take that is not long.
const WHOLE: Duration = Duration::from_mins(2);
/// How large an answer may be, in bytes.
const LARGEST: usize = 64 << 20;
/// The newest version of the interface that is spoken: later ones do not tell which MAC address was asked for.
const NEWEST: Version = Version(1, 51);
/// The oldest one.
const OLDEST: Version = Version(1, 41);

/// A version of the engine's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub u32, pub u32);

impl Version {
    fn read(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Why a call did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DockerError {
    /// What the engine answered with, where it did.
    pub status: Option<u16>,
    pub message: String,
    /// Whether the engine was not reached, or did not answer.
    pub is_transient: bool,
}

impl DockerError {
    pub(super) fn lasting(message: impl Into<String>) -> Self {
        Self {
            status: None,
            message: message.into(),
            is_transient: false,
        }
    }

    fn away(message: String) -> Self {
        Self {
            is_transient: true,
            ..Self::lasting(message)
        }
    }

    /// Whether there is nothing of that name.
    pub(crate) fn is_missing(&self) -> bool {
        self.status == Some(404)
    }
}

impl fmt::Display for DockerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An engine that can be called.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: Address,
    /// The version of its interface that is spoken.
    pub version: Version,
    /// What it is, for people.
    pub name: String,
    /// What its own images are for, such as `linux/amd64`.
    pub platform: String,
}

/// A call.
pub(super) struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'static str, &'a str)],
    pub body: Option<&'a Value>,
    /// How long the answer may take to begin.
    pub wait: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            query: &[],
            headers: &[],
            body: None,
            wait: ANSWER,
        }
    }
}

impl Client {
    /// The engine at `address`, asked for what it speaks.
    ///
    /// # Errors
    /// That it is not reached, or speaks nothing that would do.
    pub(crate) async fn connect(address: &Address) -> Result<Self, DockerError> {
        let unversioned = Self {
            address: address.clone(),
            version: NEWEST,
            name: String::new(),
            platform: String::new(),
        };
        let said = unversioned.send(&Call::new(Method::GET, "/version"), false).await;
        let no_engine = |status: u16| {
            DockerError::lasting(format!(
                "what answers at {address} is not a container engine, or does not let this be asked: GET /version gave HTTP {status}"
            ))
        };
        let said = said.map_err(|error| error.status.map_or(error, no_engine))?;
        let found: Value = unversioned.json(said).await?;
        let text = |key: &str| found[key].as_str().unwrap_or_default();
        let components = found["Components"].as_array().into_iter().flatten();
        let mut names = components.filter_map(|component| component["Name"].as_str());
        if names.any(|name| name.contains("Podman")) {
            return Err(DockerError::lasting(format!(
                "{address} is Podman, which updates its containers itself (podman auto-update)"
            )));
        }
        let refuse = |why: String| DockerError::lasting(format!("the container engine at {address} {why}"));
        let speaks = Version::read(text("ApiVersion"))
            .ok_or_else(|| refuse("does not tell the version of its API".to_owned()))?;
        let least = Version::read(text("MinAPIVersion")).unwrap_or(OLDEST);
        if speaks < OLDEST {
            return Err(refuse(format!(
                "is too old: API {OLDEST} or newer is needed, it speaks {speaks}"
            )));
        }
        if least > NEWEST {
            return Err(refuse(format!(
                "is too new: it speaks API {least} and newer, this program up to {NEWEST}"
            )));
        }
        Ok(Self {
            version: speaks.min(NEWEST),
            name: format!("Docker {}", text("Version")),
            platform: format!("{}/{}", text("Os"), text("Arch")),
            ..unversioned
        })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, DockerError> {
        self.call(&Call::new(Method::GET, path)).await
    }

    /// Calls the engine, and gives its answer; nothing where that is no JSON.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Value, DockerError> {
        let answer = self.send(call, true).await?;
        self.json(answer).await
    }

    async fn json(&self, answer: Response<Incoming>) -> Result<Value, DockerError> {
        Ok(serde_json::from_slice(&self.whole(answer).await?).unwrap_or_default())
    }

    /// The whole of an answer that is not long.
    pub(super) async fn whole(&self, answer: Response<Incoming>) -> Result<Vec<u8>, DockerError> {
        let mut body = Vec::new();
        let read = self.read(answer, |piece| {
            body.extend_from_slice(piece);
            Ok(())
        });
        let slow = |_| {
            DockerError::away(format!(
                "{} has not finished an answer within {} s",
                self.address,
                WHOLE.as_secs()
            ))
        };
        timeout(WHOLE, read).await.map_err(slow)??;
        Ok(body)
    }

    /// Reads an answer piece by piece.
    pub(super) async fn read(
        &self,
        answer: Response<Incoming>,
        mut take: impl FnMut(&[u8]) -> Result<(), DockerError>,
    ) -> Result<(), DockerError> {
        let (mut body, mut size) = (answer.into_body(), 0);
        let silent = |_| {
            DockerError::away(format!(
                "{} has been silent for {} s in the midst of an answer",
                self.address,
                SILENCE.as_secs()
            ))
        };
        while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(silent)? {
            let cut =
                |error: hyper::Error| DockerError::away(format!("{} broke off its answer: {error}", self.address));
            let frame = frame.map_err(cut)?;
            let Some(data) = frame.data_ref() else { continue };
            size += data.len();
            if size > LARGEST {
                return Err(DockerError::lasting(format!(
                    "{} answers with more than {} MB",
                    self.address,
                    LARGEST >> 20
                )));
            }
            take(data)?;
        }
        Ok(())
    }

    /// Sends a call, and waits for the beginning of the answer: one that refuses it is an error.
    pub(super) async fn send(&self, call: &Call<'_>, is_versioned: bool) -> Result<Response<Incoming>, DockerError> {
        let request = self.request(call, is_versioned)?;
        let io = self.open().await?;
        let broken = |error: hyper::Error| DockerError::away(format!("{} broke off: {error}", self.address));
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
        // It ends with the answer.
        tokio::spawn(connection);
        let late = |_| {
            DockerError::away(format!(
                "{} has not answered for {} s",
                self.address,
                call.wait.as_secs()
            ))
        };
        let answer = timeout(call.wait, sender.send_request(request))
            .await
            .map_err(late)?
            .map_err(broken)?;
        let status = answer.status().as_u16();
        if status < 400 {
            return Ok(answer);
        }
        let said = self.json(answer).await?;
        let message = said["message"]
            .as_str()
            .unwrap_or("it gives no reason")
            .trim()
            .to_owned();
        Err(DockerError {
            status: Some(status),
            message,
            is_transient: false,
        })
    }

    fn request(&self, call: &Call<'_>, is_versioned: bool) -> Result<Request<Full<Bytes>>, DockerError> {
        let mut target = if is_versioned {
            format!("/v{}{}", self.version, call.path)
        } else {
            call.path.to_owned()
        };
        for (number, (key, value)) in call.query.iter().enumerate() {
            target.push(if number == 0 { '?' } else { '&' });
            let pair = form_urlencoded::Serializer::new(String::new())
                .append_pair(key, value)
                .finish();
            target.push_str(&pair);
        }
        let host = match &self.address {
            Address::Unix(_) => "docker",
            Address::Tcp(host) => host,
        };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(target)
            .header("Host", host);
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        let body = call.body.map(|body| Bytes::from(body.to_string()));
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| DockerError::lasting(error.to_string()))
    }

    async fn open(&self) -> Result<Box<dyn Stream>, DockerError> {
        let opened = async {
            Ok::<Box<dyn Stream>, std::io::Error>(match &self.address {
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Address::Tcp(host) => Box::new(TcpStream::connect(host).await?),
            })
        };
        let late = |_| std::io::Error::from(ErrorKind::TimedOut);
        let opened = timeout(CONNECT, opened).await.map_err(late).and_then(|opened| opened);
        opened.map_err(|error| {
            let why = match error.kind() {
                ErrorKind::NotFound => {
                    "there is no such socket; is the engine running? `host` in [engines.<id>] names another".to_owned()
                }
                ErrorKind::PermissionDenied => {
                    "permission denied; the service's user must be in the group that owns the socket".to_owned()
                }
                ErrorKind::ConnectionRefused => "nobody listens there; is the engine running?".to_owned(),
                ErrorKind::TimedOut => format!("it does not accept connections within {} s", CONNECT.as_secs()),
                _ => error.to_string(),
            };
            DockerError::away(format!(
                "the container engine at {} cannot be reached: {why}",
                self.address
            ))
        })
    }
}

/// What a connection is made of.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// An engine that says `said`, and then nothing more.
    fn hanging(folder: &std::path::Path, said: &'static str) -> Client {
        let path = folder.join("d.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                stream.write_all(said.as_bytes()).await.unwrap();
                kept.push(stream);
            }
        });
        Client {
            address: Address::Unix(path),
            version: NEWEST,
            name: String::new(),
            platform: String::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_hangs_holds_nobody_up_for_ever() {
        for (said, expected) in [
            ("", "has not answered for 60 s"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":", "within 120 s"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
                "within 120 s",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let error = hanging(folder.path(), said).get("/x").await.unwrap_err();
            assert!(error.is_transient && error.message.contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_cannot_be_reached_is_told_with_what_would_do() {
        let folder = tempfile::tempdir().unwrap();
        let refusing = folder.path().join("refusing.sock");
        drop(std::os::unix::net::UnixListener::bind(&refusing).unwrap());
        for (path, expected) in [
            (folder.path().join("none.sock"), "there is no such socket"),
            (refusing, "nobody listens there"),
        ] {
            let error = Client::connect(&Address::Unix(path)).await.unwrap_err();
            assert!(error.is_transient && error.message.contains(expected), "{error}");
        }
    }
}
