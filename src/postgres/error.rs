//! Why a database did not do what it was asked to, in words.

use std::error::Error;
use std::fmt;

use tokio_postgres::error::{DbError, ErrorPosition};

/// Why a database did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostgresError {
    /// The rest of a sentence that begins with the database.
    pub why: String,
    /// What the server calls it, where it has answered.
    pub code: Option<String>,
    /// Where in the statement it is, in characters from 1.
    pub position: Option<usize>,
    /// Whether the connection can be used no more.
    pub is_broken: bool,
    /// Whether the server has confirmed its end, by our own timeout, or as somebody asked.
    pub is_cut_off: bool,
}

/// Codes of what may pass; of a class, its first two characters.
const PASSING: &[&str] = &[
    "08", "53", "57P01", "57P02", "57P03", "57P04", "57P05", "57014", "40001", "40P01", "55P03", "25006", "25P03",
    "25P04",
];

impl PostgresError {
    /// One of our own, after which the connection is not used any more.
    pub(super) fn broken(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            code: None,
            position: None,
            is_broken: true,
            is_cut_off: false,
        }
    }

    /// One of a statement that was ended because it took too long, or as somebody asked.
    pub(super) fn cut_off(why: impl Into<String>) -> Self {
        Self {
            is_cut_off: true,
            ..Self::broken(why)
        }
    }

    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(told) => Self::told(told, error.is_closed()),
            None => Self::broken(in_words(error)),
        }
    }

    fn told(error: &DbError, is_closed: bool) -> Self {
        let code = error.code().code();
        let is_fatal = error.severity() == "FATAL" || error.severity() == "PANIC";
        Self {
            why: describe(error),
            position: match error.position() {
                Some(ErrorPosition::Original(at)) => usize::try_from(*at).ok(),
                _ => None,
            },
            is_broken: is_closed || is_fatal || code.starts_with("57P") || code.starts_with("25P0"),
            is_cut_off: code == "57014",
            code: Some(code.to_owned()),
        }
    }

    /// The same of a transaction that was to change nothing: there, it is the statement that is at fault.
    pub(crate) fn while_reading(self) -> Self {
        if !self.has_code("25006") {
            return self;
        }
        Self {
            why: "reports: it changes something, where it may only look".to_owned(),
            code: Some("0A000".to_owned()),
            ..self
        }
    }

    /// Whether another attempt may do better.
    pub(crate) fn is_transient(&self) -> bool {
        match &self.code {
            Some(code) => PASSING.iter().any(|passing| code.starts_with(passing)),
            None => self.is_broken,
        }
    }

    /// Whether the statement was certainly not carried out. One whose connection broke may have been.
    pub(crate) fn is_rolled_back(&self) -> bool {
        const UNCERTAIN: &[&str] = &["08", "40003", "57P02"];
        match &self.code {
            Some(code) => !UNCERTAIN.iter().any(|uncertain| code.starts_with(uncertain)),
            None => self.is_cut_off,
        }
    }

    /// Whether the server has said so.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

fn describe(error: &DbError) -> String {
    let message = error.message();
    match error.code().code() {
        "28P01" | "28000" => format!("refuses the login: {message}"),
        "3D000" => "does not exist".to_owned(),
        "53300" => "has no connection left".to_owned(),
        "57P03" => "is starting up or shutting down".to_owned(),
        "57P01" | "57P02" => "was shut down".to_owned(),
        "25006" => "cannot be written: it is a standby, or the session is read-only".to_owned(),
        "55P03" => "is locked by another transaction".to_owned(),
        "53100" => "cannot grow: its disk is full".to_owned(),
        "57014" => "ended the statement, which took too long or was cancelled".to_owned(),
        "08P01" if message.contains("options") => {
            "is reached through a connection pooler, which passes no session settings on; a direct connection is needed"
                .to_owned()
        }
        _ => match error.hint() {
            Some(hint) => format!("reports: {message} ({hint})"),
            None => format!("reports: {message}"),
        },
    }
}

/// What a library says of a connection, its causes last; without what it repeats.
fn in_words(error: &tokio_postgres::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let cause = innermost.to_string();
    if cause.contains("does not support TLS") {
        return "offers no TLS, which its address asks for; sslmode=disable does without".to_owned();
    }
    if cause.contains("password missing") {
        return "asks for a password, and its address has none".to_owned();
    }
    if error.to_string().contains("TLS") {
        return format!(
            "cannot be reached by TLS: {cause}; `sslrootcert` in its address may name a certificate to trust"
        );
    }
    if error.is_closed() {
        return "has closed the connection".to_owned();
    }
    format!("cannot be reached: {cause}")
}
