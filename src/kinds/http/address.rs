//! The parts of an address that this kind looks at.

use ureq::http::Uri;

use crate::values::is_this_machine;

/// An address that begins with https:// or http://.
#[derive(Clone, Debug)]
pub(super) struct Address(Uri);

impl Address {
    /// Reads `text`; what it holds is not shown.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let wanted = "an address that begins with https:// or http:// is expected";
        let uri = Uri::try_from(text).map_err(|_| wanted.to_owned())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(wanted.to_owned());
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("a user or password in the address would be shown; declare `basic` or `bearer`".to_owned());
        }
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        if port.is_some_and(|(_, port)| port.parse::<u16>().is_err()) {
            return Err("its port is not a number from 0 to 65535".to_owned());
        }
        Ok(Self(uri))
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        let scheme = self.0.scheme_str().unwrap_or("http");
        let usual = if scheme == "https" { ":443" } else { ":80" };
        format!("{scheme}://{}", authority.strip_suffix(usual).unwrap_or(authority))
    }

    /// The values of its query.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        let pairs = self.0.query().into_iter().flat_map(|query| query.split('&'));
        pairs.filter_map(|pair| pair.split_once('=').map(|(_, value)| value))
    }

    /// The address without the values of its query, which may be secrets.
    pub(super) fn shown(&self) -> String {
        let names = self.0.query().map(|query| {
            let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
            format!(
                "?{}",
                names.map(|name| format!("{name}=…")).collect::<Vec<_>>().join("&")
            )
        });
        format!("{}{}{}", self.origin(), self.0.path(), names.unwrap_or_default())
    }

    /// Whether others on the way can read what is sent.
    pub(super) fn is_in_the_clear(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.0.scheme_str() == Some("http") && !is_this_machine(host)
    }

    /// The address that `location` means here.
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        let scheme = location.split_once("://").map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric())) {
            return Self::read(location);
        }
        let origin = self.origin();
        if let Some(rest) = location.strip_prefix("//") {
            return Self::read(&format!("{}://{rest}", self.0.scheme_str().unwrap_or("http")));
        }
        if location.starts_with('/') {
            return Self::read(&format!("{origin}{location}"));
        }
        if location.starts_with('?') {
            return Self::read(&format!("{origin}{}{location}", self.0.path()));
        }
        let folder = self.0.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        Self::read(&format!("{origin}{folder}/{location}"))
    }

    /// The address as it is asked for.
    pub(super) fn text(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_shown_and_joined() {
        let address = Address::read("https://example.org:8443/a/b?key=v&x").unwrap();
        assert_eq!(address.shown(), "https://example.org:8443/a/b?key=…&x=…");
        for (location, expected) in [
            ("/c", "https://example.org:8443/c"),
            ("c?d=1", "https://example.org:8443/a/c?d=1"),
            ("?d=1", "https://example.org:8443/a/b?d=1"),
            (
                "/login?next=https://x.org/",
                "https://example.org:8443/login?next=https://x.org/",
            ),
            ("//other.org/x", "https://other.org/x"),
            ("http://example.org/", "http://example.org/"),
        ] {
            assert_eq!(address.join(location).unwrap().text(), expected);
        }
        for wrong in [
            "example.org",
            "ftp://example.org/",
            "https://",
            "https://u:p@example.org/",
            "http://h:99999/",
            "",
        ] {
            assert!(Address::read(wrong).is_err(), "{wrong}");
        }
        for (text, is_in_the_clear) in [
            ("http://example.org/", true),
            ("https://example.org/", false),
            ("http://127.0.0.1:80/", false),
            ("http://[::1]/", false),
            ("http://localhost/", false),
        ] {
            assert_eq!(
                Address::read(text).unwrap().is_in_the_clear(),
                is_in_the_clear,
                "{text}"
            );
        }
    }
}
