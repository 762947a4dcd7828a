//! The address of a database, `postgresql://user:password@host:port/name`. It is never shown whole.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::values::{Secret, is_this_machine};

/// Where a database is, and who asks.
#[derive(Clone, PartialEq)]
pub(crate) struct Address {
    pub(super) config: Config,
    pub(super) certificates: Certificates,
    /// The schemas whose tables need no prefix, where the address says it.
    pub(super) schema: Option<String>,
    place: String,
}

/// Whose certificate a server must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Certificates {
    /// There is no TLS.
    None,
    /// One that the system trusts.
    System,
    /// One that is signed by what stands in this file.
    File(PathBuf),
}

const WANTED: &str = "an address such as postgresql://user:password@host:5432/name is expected";
const TO_ESCAPE: &str = "a `@`, `/`, `?` or `:` in the user or the password must be written as %40, %2F, %3F or %3A";

impl Address {
    /// Reads `text`; what it says wrong is told without showing it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("postgresql://")
            .or_else(|| text.strip_prefix("postgres://"))
            .ok_or(WANTED)?;
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        if base.matches('@').count() > 1 || base.rsplit_once('/').is_some_and(|(_, name)| name.contains('@')) {
            return Err(TO_ESCAPE.to_owned());
        }
        let (own, others) = split_query(query);
        let mut config = Config::from_str(&format!("postgresql://{base}?{others}")).map_err(|error| {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            format!("the address cannot be read: {why}; {WANTED}")
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(format!("its host is missing; {WANTED}"));
        }
        let is_odd = |host: &Host| matches!(host, Host::Tcp(name) if !name.chars().all(is_of_host));
        if config.get_hosts().iter().any(is_odd) {
            return Err(TO_ESCAPE.to_owned());
        }
        if config.get_dbname().is_none() {
            return Err(format!("the name of the database is missing; {WANTED}"));
        }
        let certificates = certificates(&config, &own)?;
        config.ssl_mode(match certificates {
            Certificates::None => SslMode::Disable,
            Certificates::System | Certificates::File(_) => SslMode::Require,
        });
        Ok(Self {
            place: place(&config),
            certificates,
            schema: own.schema,
            config,
        })
    }

    /// Where it is, without the user and the password.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// What tells it from others, but for the password, which the library leaves out here.
    pub(crate) fn key(&self) -> String {
        format!("{:?} {:?} {:?}", self.config, self.schema, self.certificates)
    }

    /// The user it is asked as, where that is said.
    pub(crate) fn user(&self) -> Option<&str> {
        self.config.get_user()
    }

    /// The schema of the tables, where it names one.
    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The same, of several hosts the one that can be written.
    pub(crate) fn for_writing(mut self) -> Self {
        if self.config.get_hosts().len() > 1 {
            self.config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        self
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let secret = Secret::deserialize(from)?;
        Self::read(secret.reveal()).map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Address {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Secret::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Secret::json_schema(generator)
    }
}

/// What of the query is ours: what the library does not read, or not as other programs do.
#[derive(Default)]
struct Own {
    mode: Option<String>,
    root: Option<PathBuf>,
    schema: Option<String>,
}

fn split_query(query: &str) -> (Own, String) {
    let mut own = Own::default();
    let mut others = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = || {
            let mut pairs = form_urlencoded::parse(pair.as_bytes());
            pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        match name {
            "sslmode" => own.mode = Some(value.to_owned()),
            "sslrootcert" => own.root = Some(decoded().into()),
            "schema" => own.schema = Some(decoded()),
            _ => others.push(pair),
        }
    }
    (own, others.join("&"))
}

fn certificates(config: &Config, own: &Own) -> Result<Certificates, String> {
    let wanted = || own.root.clone().map_or(Certificates::System, Certificates::File);
    match own.mode.as_deref() {
        Some("disable") => Ok(Certificates::None),
        None | Some("prefer" | "allow") if is_local(config) && own.root.is_none() => Ok(Certificates::None),
        None | Some("prefer" | "allow" | "require" | "verify-ca" | "verify-full") => Ok(wanted()),
        Some(_) => Err("its sslmode is unknown; use require, verify-full or disable".to_owned()),
    }
}

/// Whether nothing leaves this machine.
fn is_local(config: &Config) -> bool {
    let is_local = |host: &Host| match host {
        Host::Tcp(name) => is_this_machine(name),
        Host::Unix(_) => true,
    };
    let addresses = config.get_hostaddrs();
    if addresses.is_empty() {
        config.get_hosts().iter().all(is_local)
    } else {
        addresses.iter().all(std::net::IpAddr::is_loopback)
    }
}

fn is_of_host(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')
}

fn place(config: &Config) -> String {
    let port = |index: usize| {
        let ports = config.get_ports();
        ports.get(index).or(ports.first()).copied().unwrap_or(5432)
    };
    let host = |(index, host): (usize, &Host)| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", port(index)),
        Host::Tcp(name) => format!("{name}:{}", port(index)),
        Host::Unix(folder) => format!("{}:{}", folder.display(), port(index)),
    };
    let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let hosts = if hosts.is_empty() { addresses.collect() } else { hosts };
    format!(
        "postgresql://{}/{}",
        hosts.join(","),
        config.get_dbname().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_without_its_secrets() {
        for (text, place, certificates) in [
            (
                "postgresql://app:s3cret@db.example.org/app",
                "postgresql://db.example.org:5432/app",
                Certificates::System,
            ),
            (
                "postgres://app:s3cret@127.0.0.1:5433/app?sslmode=prefer",
                "postgresql://127.0.0.1:5433/app",
                Certificates::None,
            ),
            (
                "postgresql://app@db.example.org/app?sslmode=disable&schema=own",
                "postgresql://db.example.org:5432/app",
                Certificates::None,
            ),
            (
                "postgresql://app@localhost/app?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem",
                "postgresql://localhost:5432/app",
                Certificates::File("/etc/ca.pem".into()),
            ),
            (
                "postgresql://app@/app?host=/run/postgresql",
                "postgresql:///run/postgresql:5432/app",
                Certificates::None,
            ),
            (
                "postgresql://app@one,two:5433/app?target_session_attrs=read-write",
                "postgresql://one:5432,two:5433/app",
                Certificates::System,
            ),
        ] {
            let address = Address::read(text).unwrap();
            assert_eq!(address.place(), place, "{text}");
            assert_eq!(address.certificates, certificates, "{text}");
            assert_eq!(format!("{address:?}"), place);
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_what_it_says() {
        for text in [
            "db.example.org/app",
            "mysql://app@localhost/app",
            "postgresql://app:s3cret@localhost",
            "postgresql://app:s3cret@/app",
            "postgresql://app:s3cret@localhost:port/app",
            "postgresql://app:s3@cret@localhost/app",
            "postgresql://app:s3cret@localhost/app?sslmode=s3cret",
            "postgresql://app:s3cret@localhost/app?connect_timeout=s3cret",
            "",
        ] {
            let Err(why) = Address::read(text) else {
                panic!("{text} is read");
            };
            assert!(!why.contains("cret") && !why.is_empty(), "{text}: {why}");
        }
    }
}
