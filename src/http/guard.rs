//! Who may ask: no page that a user visits may act on the service, and where a token is set only its holder may.

use std::net::{IpAddr, Ipv6Addr};

use super::{Answer, Request};
use crate::config::Server;

/// Refuses a request that must not be answered. `open` names an endpoint that needs no token.
pub(super) fn refuse(request: &Request, server: &Server, open: bool) -> Option<Answer> {
    if server.token.is_none() && !is_host_allowed(request, server) {
        let why = "this Host is not allowed; server.allowed_hosts names those that are";
        return Some(Answer::error(403, why));
    }
    // A page can have a browser ask, though it cannot read the answer: that is work all the same.
    if (request.method == "POST" || !open) && is_from_another_site(request) {
        return Some(Answer::error(403, "requests from pages of other sites are refused"));
    }
    let token = server.token.as_ref().filter(|_| !open)?;
    let given = request
        .header("Authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    if given.is_some_and(|given| token.matches(given.trim())) {
        return None;
    }
    Some(Answer::error(401, "a token is required: Authorization: Bearer …"))
}

/// Without a token, only names that no foreign name server can point at us by a trick may be asked for.
fn is_host_allowed(request: &Request, server: &Server) -> bool {
    let Some(host) = request.header("Host").and_then(without_port) else {
        return false;
    };
    let address = host.parse::<IpAddr>().ok();
    let is_loopback = host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback());
    // An address is not a name, and one without a dot is known to the machine's own network alone.
    let is_private = address.is_some() || (!host.is_empty() && !host.contains(['.', ':']));
    let is_open = server.allow_anonymous && !server.is_local();
    let mut allowed = server.allowed_hosts.iter().chain([&server.host]);
    is_loopback
        || (is_open && is_private)
        || allowed.any(|allowed| without_port(allowed).is_some_and(|allowed| allowed.eq_ignore_ascii_case(host)))
}

/// The name or address of a Host; `None` where it is no `name`, `name:port` or the like.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            (address, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        // An address of IPv6 may stand without brackets in the declaration.
        None if host.parse::<Ipv6Addr>().is_ok() => (host, ""),
        None => host.split_once(':').unwrap_or((host, "")),
    };
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
}

/// Whether a browser sent the request from a page of another origin.
fn is_from_another_site(request: &Request) -> bool {
    let elsewhere = request
        .header("Sec-Fetch-Site")
        .is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = request.header("Origin").is_some_and(|origin| {
        let origin = origin.split_once("://").map_or(origin, |(_, host)| host);
        request
            .header("Host")
            .is_none_or(|host| !host.eq_ignore_ascii_case(origin))
    });
    elsewhere || origin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Secret;

    fn server(token: Option<&str>) -> Server {
        Server {
            host: "localhost".to_owned(),
            port: 9667,
            shutdown_grace: "1s".parse().unwrap(),
            allow_anonymous: false,
            token: token.map(|token| Secret::new(token.to_owned())),
            allowed_hosts: vec!["cron".to_owned()],
        }
    }

    fn status(method: &str, headers: &[(&str, &str)], token: Option<&str>) -> u16 {
        let headers = headers
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let request = Request {
            method: method.to_owned(),
            path: "/".to_owned(),
            query: Vec::new(),
            headers,
            body: Vec::new(),
        };
        refuse(&request, &server(token), false).map_or(200, |answer| answer.status)
    }

    #[test]
    fn without_a_token_only_known_hosts_are_answered() {
        for (host, expected) in [
            ("localhost:9667", 200),
            ("127.0.0.1", 200),
            ("127.9.9.9:1", 200),
            ("[::1]:9667", 200),
            ("cron:9667", 200),
            ("CRON", 200),
            ("evil.example", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example:9667", 403),
            ("192.168.1.5:9667", 403),
            ("[::1].evil.test", 403),
            ("[::1]evil.test:80", 403),
            ("127.0.0.1:evil.test", 403),
            ("localhost:80.evil.test", 403),
            ("[127.0.0.1", 403),
            ("", 403),
        ] {
            assert_eq!(status("GET", &[("Host", host)], None), expected, "{host}");
        }
        assert_eq!(status("GET", &[], None), 403);
        assert_eq!(
            status(
                "GET",
                &[("Host", "evil.example"), ("Authorization", "Bearer t")],
                Some("t")
            ),
            200
        );
    }

    #[test]
    fn without_a_token_by_will_names_of_the_own_network_are_answered() {
        let server = Server {
            host: "0.0.0.0".to_owned(),
            allow_anonymous: true,
            ..server(None)
        };
        for (host, expected) in [
            ("cron:9667", true),
            ("192.168.1.5:9667", true),
            ("[fe80::1]:9667", true),
            ("evil.example:9667", false),
            ("evil.example.:9667", false),
            ("", false),
        ] {
            let request = Request {
                method: "GET".to_owned(),
                path: "/".to_owned(),
                query: Vec::new(),
                headers: vec![("Host".to_owned(), host.to_owned())],
                body: Vec::new(),
            };
            assert_eq!(refuse(&request, &server, false).is_none(), expected, "{host}");
        }
    }

    #[test]
    fn a_request_from_another_site_is_refused() {
        let host = ("Host", "localhost:9667");
        for (header, expected) in [
            (("Origin", "http://localhost:9667"), 200),
            (("Origin", "http://localhost:3000"), 403),
            (("Origin", "https://evil.example"), 403),
            (("Origin", "null"), 403),
            (("Sec-Fetch-Site", "same-origin"), 200),
            (("Sec-Fetch-Site", "none"), 200),
            (("Sec-Fetch-Site", "same-site"), 403),
            (("Sec-Fetch-Site", "cross-site"), 403),
        ] {
            assert_eq!(status("POST", &[host, header], None), expected, "{header:?}");
            assert_eq!(status("GET", &[host, header], None), expected, "{header:?}");
        }
    }

    #[test]
    fn a_token_must_be_carried_whole() {
        let host = ("Host", "localhost");
        for (value, expected) in [
            ("Bearer secret", 200),
            ("Bearer secre", 401),
            ("Bearer secrets", 401),
            ("secret", 401),
            ("Basic secret", 401),
        ] {
            assert_eq!(
                status("GET", &[host, ("Authorization", value)], Some("secret")),
                expected,
                "{value}"
            );
        }
        assert_eq!(status("GET", &[host], Some("secret")), 401);
    }
}
