//! Calls of the running service's HTTP interface.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::output::{printable, printable_lines, say};
use super::{BAD_INPUT, Exit, FAILED, Format, UNREACHABLE};
use crate::config::{self, File, Server, Setting, Sources};
use crate::values::Secret;

/// How a running service is asked, and how its answer is printed.
#[derive(Args, Debug, Default)]
pub(super) struct Options {
    /// Where the service is reached, such as https://cron.example.org [default: where the declaration says that it listens]
    #[arg(long)]
    url: Option<String>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

impl Options {
    /// Those of a command that prints in its own way.
    pub(super) fn at(url: Option<String>) -> Self {
        Self { url, ..Self::default() }
    }
}

const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer is waited for that needs no work.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running service.
pub(super) struct Client {
    base: String,
    token: Option<Secret>,
    format: Format,
    agent: ureq::Agent,
    /// Whether where it listens is only what would be declared, had the declaration been read.
    is_guess: bool,
}

/// What the service answered.
pub(super) struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The text that stands under a key.
    pub(super) fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }

    /// What the service has to say, without anything that a terminal would obey.
    pub(super) fn message(&self) -> String {
        let said = self.body["message"].as_str().or_else(|| self.body["error"].as_str());
        let said = said.or_else(|| self.body["detail"].as_str()).unwrap_or_default();
        printable_lines(said)
    }

    /// The answer, where it is what was asked for.
    pub(super) fn good(self) -> Result<Self, Exit> {
        if self.status < 300 {
            Ok(self)
        } else {
            let said = self.message();
            let said = if said.is_empty() {
                format!("the service answered {}", self.status)
            } else {
                said
            };
            Err(Exit::new(FAILED, said))
        }
    }
}

impl Client {
    /// The service that the options name, or else the one that the declaration describes.
    pub(super) fn new(sources: &Sources, options: &Options) -> Result<Self, Exit> {
        let server = server_of(sources);
        let base = if let Some(url) = &options.url {
            url.trim_end_matches('/').to_owned()
        } else {
            let missing = "the declaration does not say where the service listens; use --port or --url";
            let declared = server.as_ref().map_err(Clone::clone)?.as_ref();
            let (declared, _) = declared.ok_or_else(|| Exit::new(UNREACHABLE, missing))?;
            format!("http://{}", address(declared))
        };
        let is_address = base.starts_with("http://") || base.starts_with("https://");
        if !is_address {
            let why = format!("--url: `{base}` does not begin with http:// or https://");
            return Err(Exit::new(BAD_INPUT, why));
        }
        let is_given =
            options.url.is_some() || sources.port.is_some() || sources.environment.get("CRON_PORT").is_some();
        let (server, is_whole) = server.ok().flatten().unzip();
        Ok(Self {
            base,
            token: server.and_then(|server| server.token),
            format: options.format,
            agent: ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_connect(Some(CONNECT))
                .proxy(None)
                // Another address is another service.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .build()
                .into(),
            is_guess: !is_given && is_whole == Some(false),
        })
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Exit> {
        self.call("GET", path)
    }

    pub(super) fn post(&self, path: &str) -> Result<Answer, Exit> {
        self.call("POST", path)
    }

    fn call(&self, method: &str, path: &str) -> Result<Answer, Exit> {
        // Everything but a run is answered at once by a service that is well.
        let patience = (!path.starts_with("/trigger/")).then_some(PATIENCE);
        let url = format!("{}{path}", self.base);
        let answered = if method == "GET" {
            self.prepare(self.agent.get(url), patience).call()
        } else {
            self.prepare(self.agent.post(url), patience).send_empty()
        };
        let mut answer = answered.map_err(|error| self.unreachable(&error))?;
        let text = answer.body_mut().read_to_string();
        let text = text.map_err(|error| self.unreachable(&error))?;
        let body = serde_json::from_str(&text).map_err(|_| {
            let why = format!("what answers at {} is not duplistatus-cron", self.name());
            Exit::new(UNREACHABLE, why)
        })?;
        if answer.status() == 401 {
            let why = if self.token.is_some() {
                "rejected the token; set CRON_TOKEN or server.token_file to the one that the service uses"
            } else {
                "requires a token; set CRON_TOKEN"
            };
            return Err(Exit::new(FAILED, format!("the service at {} {why}", self.name())));
        }
        Ok(Answer {
            status: answer.status().as_u16(),
            body,
        })
    }

    fn prepare<B>(&self, mut request: ureq::RequestBuilder<B>, patience: Option<Duration>) -> ureq::RequestBuilder<B> {
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        request.config().timeout_global(patience).build()
    }

    /// What people call it.
    fn name(&self) -> &str {
        self.base.strip_prefix("http://").unwrap_or(&self.base)
    }

    fn unreachable(&self, error: &ureq::Error) -> Exit {
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
            other => other.to_string(),
        };
        let hint = if self.is_guess {
            "; the declaration cannot be read, so its port is not known: use --port or --url"
        } else {
            ""
        };
        Exit::new(
            UNREACHABLE,
            format!("the service at {} cannot be reached: {why}{hint}", self.name()),
        )
    }

    /// Prints an answer as JSON where that is wanted; whether it did.
    pub(super) fn has_printed(&self, body: &Value) -> bool {
        if self.format == Format::Json {
            say!("{body:#}");
        }
        self.format == Format::Json
    }

    /// Prints what came of an order: the answer as JSON or this text, which stands in the error of one that failed.
    pub(super) fn conclude(&self, body: &Value, is_good: bool, text: String) -> Result<(), Exit> {
        match (is_good, self.has_printed(body)) {
            (true, true) => Ok(()),
            (true, false) => {
                say!("{text}");
                Ok(())
            }
            (false, true) => Err(Exit::new(FAILED, "")),
            (false, false) => Err(Exit::new(FAILED, text)),
        }
    }
}

/// Prints the reasons of an answer about health, a line each.
pub(super) fn print_reasons(body: &Value) {
    let reasons = body["reasons"].as_array().into_iter().flatten();
    let reasons = reasons.filter_map(Value::as_str);
    reasons.for_each(|reason| say!("  {}", printable(reason)));
}

/// What the running service has in force.
pub(super) fn settings(sources: &Sources, options: &Options) -> Result<Vec<Setting>, Exit> {
    let answer = Client::new(sources, options)?.get("/api/config")?.good()?;
    serde_json::from_value(answer.body["settings"].clone())
        .map_err(|error| Exit::new(FAILED, format!("the answer of the service cannot be read: {error}")))
}

/// What the declaration says of the service, and whether all of it can be read.
fn server_of(sources: &Sources) -> Result<Option<(Server, bool)>, Exit> {
    if let File::Path(path) = &sources.file {
        // What is named must be there: another declaration may name another service.
        std::fs::metadata(path)
            .map_err(|error| Exit::new(BAD_INPUT, format!("{} cannot be read: {error}", path.display())))?;
    }
    Ok(config::server(sources))
}

/// Where a service that listens on `server` is reached from this machine.
fn address(server: &Server) -> String {
    let host = match server.host.as_str() {
        "localhost" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{host}:{}", server.port)
}
