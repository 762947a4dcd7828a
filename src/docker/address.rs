//! Where a container engine is reached.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::values::{deserialize_from_text, is_this_machine, schema_of_text};

/// A socket of this machine, or a host with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(String),
}

impl Address {
    /// Whether it is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(host) => is_this_machine(name_in(host)),
        }
    }

    /// Whether others on the way could read what is said, and control the engine.
    pub(crate) fn is_exposed(&self) -> bool {
        let Self::Tcp(host) = self else { return false };
        // Containers call each other by names without a dot.
        !self.is_loopback() && name_in(host).contains(['.', ':'])
    }
}

/// The name or address in a host with its port.
fn name_in(host: &str) -> &str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.trim_start_matches('[').trim_end_matches(']')
}

/// What an address looks like.
const FORMS: &str = "\"unix:///var/run/docker.sock\" or \"tcp://host:2375\" is expected";

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| format!("`{text}` is not the address of a container engine: {why}");
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(refuse("the path of the socket must be absolute, after three slashes"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let Some(host) = text.strip_prefix("tcp://") else {
            return Err(refuse(FORMS));
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.contains('@') {
            return Err("a login has no place in the address of a container engine".to_owned());
        }
        let port = host
            .rsplit_once(':')
            .and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c));
        match port {
            Some((name, port)) if port > 0 && is_name(name) => Ok(Self::Tcp(host.to_owned())),
            _ => Err(refuse(FORMS)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

deserialize_from_text!(Address);

schema_of_text!(Address, "unix:///path/of/the/socket or tcp://host:port");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_host_with_its_port() {
        for (text, is_exposed) in [
            ("unix:///var/run/docker.sock", false),
            ("tcp://127.0.0.1:2375", false),
            ("tcp://[::1]:2375", false),
            ("tcp://localhost:2375", false),
            ("tcp://docker-proxy:2375", false),
            ("tcp://192.0.2.7:2375", true),
            ("tcp://nas.example.org:2375", true),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_exposed()), (text, is_exposed));
        }
        for bad in [
            "/var/run/docker.sock",
            "unix://docker.sock",
            "tcp://host",
            "tcp://me:pass@host:1",
            "tcp://host:0",
            "https://host:1",
            "",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
