//! The kind `email`. The application's own mail settings are sent by here too. The only place that knows lettre.

use std::path::Path;
use std::time::Duration;

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters, TlsVersion};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::{Builder, Handle};
use tokio::time::timeout;

use super::{Address, Delivery, Message, Target, Undelivered, html};
use crate::values::{Issue, Secret, TargetId, redact, secrets_of_login};

/// How long the mail server may take for each answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take in all: one that sends a byte now and then would take for ever. It is less than the lease of a
/// message.
const WHOLE_PATIENCE: Duration = Duration::from_secs(40);

/// The keys of `email`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Email {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    protection: Protection,
    #[serde(default)]
    accept_invalid_certificates: bool,
    username: Option<Secret>,
    password: Option<Secret>,
    from: String,
    to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protection {
    /// Not at all.
    Plain,
    /// By STARTTLS, or there is no connection.
    #[default]
    StartTls,
    /// By TLS from the start.
    Tls,
}

/// How a mail server is reached, and who sends.
#[derive(Clone, Debug)]
pub(crate) struct Smtp {
    pub host: String,
    pub port: u16,
    pub protection: Protection,
    /// Whether the server's certificate must be good.
    pub verifies: bool,
    /// Name and password, where the server wants them.
    pub credentials: Option<(Secret, Secret)>,
    pub sender_name: Option<String>,
    /// The sender's address.
    pub from: String,
}

impl Target for Email {
    fn name(&self) -> &'static str {
        "email"
    }

    fn is_mail(&self) -> bool {
        true
    }

    fn check(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        if self.host.trim().is_empty() {
            issues.push(Issue::error("host", "the name of a mail server is expected"));
        }
        let mut check = |key: &str, address: &str| {
            if address.parse::<Mailbox>().is_err() {
                issues.push(Issue::error(key, format!("`{address}` is not an email address")));
            }
        };
        check("from", &self.from);
        self.to.iter().for_each(|address| check("to", address));
        if self.to.is_empty() {
            issues.push(Issue::error("to", "it names no recipient"));
        }
        if self.username.is_some() != self.password.is_some() {
            issues.push(Issue::error("username", "a username and a password go together"));
        }
        if self.password.is_some() && self.protection == Protection::Plain {
            issues.push(Issue::error(
                "protection",
                "a password is not sent over an unencrypted connection; starttls or tls is expected",
            ));
        }
        issues
    }

    /// An address for each recipient.
    fn addresses(&self, target: &TargetId, _database: Option<&Path>) -> Vec<Address> {
        let address = |to: &String| Address::Recipient {
            target: target.clone(),
            to: to.clone(),
        };
        self.to.iter().map(address).collect()
    }

    fn send(&self, delivery: &Delivery<'_>) -> Result<String, Undelivered> {
        let Address::Recipient { to, .. } = &delivery.notification.address else {
            return Err(Undelivered::new("a mail is addressed to one recipient"));
        };
        let port = self.port.unwrap_or(match self.protection {
            Protection::Plain => 25,
            Protection::StartTls => 587,
            Protection::Tls => 465,
        });
        let server = Smtp {
            host: self.host.clone(),
            port,
            protection: self.protection,
            verifies: !self.accept_invalid_certificates,
            credentials: self.username.clone().zip(self.password.clone()),
            sender_name: None,
            from: self.from.clone(),
        };
        send(&server, to, &delivery.notification.message, delivery.id)
    }
}

/// Sends one mail to `recipient`; `id` becomes the Message-ID, so that a receiver can tell a repetition. Gives what
/// the server said.
pub(crate) fn send(smtp: &Smtp, recipient: &str, message: &Message, id: &str) -> Result<String, Undelivered> {
    let mail = write(smtp, recipient, message, id)
        .map_err(|error| Undelivered::new(format!("the mail cannot be written: {error}")))?;
    let transport =
        connect(smtp).map_err(|error| Undelivered::new(format!("the mail server cannot be used: {error}")))?;
    let server = format!("{}:{}", smtp.host, smtp.port);
    let answer = wait_for(timeout(WHOLE_PATIENCE, transport.send(mail)))
        .map_err(|_| format!("it took longer than {} s", WHOLE_PATIENCE.as_secs()))
        .and_then(|sent| sent.map_err(|error| without_login(&error.to_string(), smtp)));
    let refused = |why| Undelivered::new(format!("the mail server {server} did not accept the mail: {why}"));
    let answer = answer.map_err(refused)?;
    let said: Vec<&str> = answer.message().collect();
    Ok(format!("{} {}", answer.code(), without_login(&said.join(" "), smtp)))
}

/// Waits for `work` on this thread, which may wait. Work that is given up is dropped, with its connection.
fn wait_for<T>(work: impl Future<Output = T>) -> T {
    if let Ok(runtime) = Handle::try_current() {
        return runtime.block_on(work);
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    // There is always one in the service.
    #[expect(clippy::expect_used, reason = "a command of a person, who sees it")]
    runtime.expect("a mail can be sent").block_on(work)
}

/// What a server says, which may repeat what it was sent.
fn without_login(said: &str, smtp: &Smtp) -> String {
    let Some((user, password)) = &smtp.credentials else {
        return said.to_owned();
    };
    let secrets = secrets_of_login(user.reveal(), password.reveal());
    redact(said, secrets.iter().map(String::as_str))
}

fn write(smtp: &Smtp, recipient: &str, message: &Message, id: &str) -> Result<Mail, Box<dyn std::error::Error>> {
    let mut from: Mailbox = smtp.from.parse()?;
    from.name = smtp.sender_name.clone().or(from.name);
    let mail = Mail::builder()
        .from(from)
        .to(recipient.parse()?)
        .subject(message.title.clone())
        .message_id(Some(format!("<{id}@duplistatus-cron>")));
    Ok(mail.multipart(MultiPart::alternative_plain_html(
        message.text.clone(),
        html::of(&message.text),
    ))?)
}

fn connect(smtp: &Smtp) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
    let parameters = || {
        TlsParameters::builder(smtp.host.clone())
            .dangerous_accept_invalid_certs(!smtp.verifies)
            .dangerous_accept_invalid_hostnames(!smtp.verifies)
            .set_min_tls_version(TlsVersion::Tlsv12)
            .build_rustls()
    };
    let tls = match smtp.protection {
        Protection::Plain => Tls::None,
        Protection::StartTls => Tls::Required(parameters()?),
        Protection::Tls => Tls::Wrapper(parameters()?),
    };
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .tls(tls)
        .timeout(Some(PATIENCE));
    Ok(match &smtp.credentials {
        Some((name, password)) => builder
            .credentials(Credentials::new(name.reveal().to_owned(), password.reveal().to_owned()))
            .build(),
        None => builder.build(),
    })
}
