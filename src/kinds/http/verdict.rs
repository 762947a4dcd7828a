//! What an answer, or its absence, means: whether the run went well, and whether another attempt may do better.

use std::fmt;
use std::io::ErrorKind;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use ureq::{Error, Timeout};

/// Statuses from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusRule {
    from: u16,
    to: u16,
}

impl StatusRule {
    pub(super) const SUCCESS: Self = Self { from: 200, to: 299 };

    pub(super) fn holds(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }

    fn read(text: &str) -> Option<Self> {
        let code = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|code| (100..=599).contains(code))
        };
        if let Some(class) = text.strip_suffix("xx") {
            let from = code(&format!("{class}00"))?;
            return Some(Self { from, to: from + 99 });
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (from, to) = (code(from)?, code(to)?);
        (from <= to).then_some(Self { from, to })
    }
}

impl fmt::Display for StatusRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (from, to) if from == to => write!(f, "{from}"),
            (from, to) if from % 100 == 0 && to == from + 99 => write!(f, "{}xx", from / 100),
            (from, to) => write!(f, "{from}-{to}"),
        }
    }
}

impl<'de> Deserialize<'de> for StatusRule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NumberOrText;
        impl serde::de::Visitor<'_> for NumberOrText {
            type Value = StatusRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status such as 204, \"2xx\" or \"200-204\"")
            }

            fn visit_i64<E: serde::de::Error>(self, code: i64) -> Result<StatusRule, E> {
                self.visit_str(&code.to_string())
            }

            fn visit_u64<E: serde::de::Error>(self, code: u64) -> Result<StatusRule, E> {
                self.visit_str(&code.to_string())
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<StatusRule, E> {
                let wrong = || {
                    E::custom(format!(
                        "`{text}` is no status; such as 204, \"2xx\" or \"200-204\" is expected"
                    ))
                };
                StatusRule::read(text).ok_or_else(wrong)
            }
        }
        from.deserialize_any(NumberOrText)
    }
}

impl JsonSchema for StatusRule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusRule".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A status such as 204, \"2xx\" or \"200-204\"",
            "oneOf": [{ "type": "integer", "minimum": 100, "maximum": 599 }, { "type": "string" }],
        })
    }
}

/// How far a request came that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// The server cannot have received it.
    Surely,
    /// It may have acted on it.
    Perhaps,
    /// Another attempt would end in the same way.
    InVain,
}

/// How far a request came that ended with `error`.
pub(super) fn reached(error: &Error) -> Reached {
    match error {
        Error::HostNotFound
        | Error::ConnectionFailed
        | Error::ConnectProxyFailed(_)
        | Error::Timeout(Timeout::Resolve | Timeout::Connect) => Reached::Surely,
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable => Reached::Surely,
            // What rustls finds wrong with a certificate.
            ErrorKind::InvalidData => Reached::InVain,
            // The system's words for a name that it cannot find, which have no kind of their own.
            _ if error.to_string().contains("failed to lookup address") => Reached::Surely,
            _ => Reached::Perhaps,
        },
        Error::BadUri(_)
        | Error::Http(_)
        | Error::InvalidProxyUrl
        | Error::Tls(_)
        | Error::Pem(_)
        | Error::Rustls(_) => Reached::InVain,
        _ => Reached::Perhaps,
    }
}

/// Whether to send a request again that came so far; `repeatable` says that the server may receive it twice.
pub(super) fn may_pass(reached: Reached, repeatable: bool) -> bool {
    match reached {
        Reached::Surely => true,
        Reached::Perhaps => repeatable,
        Reached::InVain => false,
    }
}

/// Whether to send a request again that was answered with `status`, which is none of those expected.
pub(super) fn may_pass_later(status: u16, repeatable: bool) -> bool {
    match status {
        // The server says that it has done nothing.
        429 | 503 => true,
        408 | 425 | 500 | 502 | 504 => repeatable,
        _ => false,
    }
}

/// Whether the server may receive a request of this method twice.
pub(super) fn is_repeatable(method: &str) -> bool {
    !matches!(method, "POST" | "PATCH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        for (text, good, bad, shown) in [
            ("2xx", 299, 300, "2xx"),
            ("204", 204, 200, "204"),
            ("200-204", 203, 205, "200-204"),
        ] {
            let rule = StatusRule::read(text).unwrap();
            assert!(rule.holds(good) && !rule.holds(bad), "{text}");
            assert_eq!(rule.to_string(), shown);
        }
        for text in ["", "xx", "9xx", "99", "600", "204-200", "2x"] {
            assert!(StatusRule::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_what_may_pass_and_may_be_repeated_is_sent_again() {
        let io = |kind: ErrorKind| Error::Io(kind.into());
        for (error, get, post) in [
            (Error::HostNotFound, true, true),
            (
                Error::Io(std::io::Error::other("failed to lookup address information: no")),
                true,
                true,
            ),
            (io(ErrorKind::ConnectionRefused), true, true),
            (Error::Timeout(Timeout::Connect), true, true),
            (io(ErrorKind::ConnectionReset), true, false),
            (Error::Timeout(Timeout::RecvResponse), true, false),
            (Error::Timeout(Timeout::Global), true, false),
            (io(ErrorKind::InvalidData), false, false),
            (Error::BadUri(String::new()), false, false),
        ] {
            let passes = |method| may_pass(reached(&error), is_repeatable(method));
            assert_eq!((passes("GET"), passes("POST")), (get, post), "{error}");
        }
        for (status, get, post) in [
            (429, true, true),
            (503, true, true),
            (500, true, false),
            (404, false, false),
            (301, false, false),
        ] {
            let passes = |method| may_pass_later(status, is_repeatable(method));
            assert_eq!((passes("PUT"), passes("PATCH")), (get, post), "{status}");
        }
    }
}
