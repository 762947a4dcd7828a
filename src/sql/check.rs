//! Declared SQL checked when it is loaded: its parameters, its grammar, and what it touches.

use std::path::Path;

use rusqlite::Connection;

use super::schema::names;
use super::server::CheckedServer;
use super::tokens::{refuse_start, tokens};
use super::{Database, Place, Sandbox, open_read_in_time};
use crate::values::{Issue, with_suggestion};

/// The words a statement that writes can begin with.
pub(crate) const WRITING: &[&str] = &["DELETE", "UPDATE", "INSERT", "REPLACE", "WITH"];
/// The words a query can begin with.
pub(crate) const READING: &[&str] = &["SELECT", "WITH", "VALUES"];

/// A database that declared SQL is compiled against.
#[derive(Debug)]
pub(crate) enum CheckedDatabase {
    File(CheckedFile),
    Server(Box<CheckedServer>),
}

impl CheckedDatabase {
    /// Opens `database` for reading; `None` where SQLite has no memory for it.
    pub(crate) fn open(database: &Database) -> Option<Self> {
        match &database.place {
            Place::File(path) => CheckedFile::open(path).map(Self::File),
            Place::Server(server) => Some(Self::Server(Box::new(CheckedServer::open(server)))),
        }
    }

    /// The file, where it is one.
    pub(crate) fn file(&self) -> Option<&CheckedFile> {
        match self {
            Self::File(file) => Some(file),
            Self::Server(_) => None,
        }
    }
}

/// A file that declared SQL is compiled against; one without any table stands in for it where it is not there.
#[derive(Debug)]
pub(crate) struct CheckedFile {
    sandbox: Sandbox,
    is_there: bool,
}

impl CheckedFile {
    /// Opens the database at `path` for reading; `None` where SQLite has no memory for it.
    fn open(path: &Path) -> Option<Self> {
        let found = open_read_in_time(path)
            .ok()
            .and_then(|found| Sandbox::around(found).ok());
        let is_there = found.is_some();
        let sandbox = found.or_else(|| Sandbox::around(Connection::open_in_memory().ok()?).ok())?;
        Some(Self { sandbox, is_there })
    }

    /// The database, where it is there.
    pub(crate) fn found(&self) -> Option<&Sandbox> {
        self.is_there.then_some(&self.sandbox)
    }
}

/// Compiles `sql` inside the sandbox; where the database is not there, only its grammar is checked.
pub(crate) fn compile(
    key: &'static str,
    sql: &str,
    tables: &[&str],
    verbs: &[&str],
    database: &CheckedFile,
) -> Option<Issue> {
    let verb = tokens(sql).first().map_or("", |token| token.text);
    if let Some(issue) = refuse_start(key, verb, verbs) {
        return Some(issue);
    }
    let connection = &database.sandbox;
    let is_query = !verbs.contains(&"DELETE");
    let compiled = connection
        .admit(tables)
        .and_then(|()| connection.touched_alone(sql))
        .and_then(|_| connection.touched(sql));
    let message = match compiled {
        Ok(touched) if touched.is_read_only == is_query => return None,
        Ok(_) if is_query => "it changes something".to_owned(),
        Ok(_) => "it changes nothing".to_owned(),
        Err(rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg))) => msg,
        Err(rusqlite::Error::MultipleStatement) => "it holds more than one statement".to_owned(),
        Err(error) => error.to_string(),
    };
    if let Some(why) = connection.refusal() {
        return Some(Issue::error(key, format!("the SQL is refused: {why}")));
    }
    let of_schema = message.starts_with("no such") || message.contains("has no column");
    if of_schema && !database.is_there {
        return None;
    }
    let message = match message.strip_prefix("no such table: ") {
        Some(table) => no_table(connection, table),
        None => format!("the SQL does not compile: {message}"),
    };
    Some(if of_schema {
        Issue::mismatch(key, message)
    } else {
        Issue::error(key, message)
    })
}

/// What to say of a table that is not there.
pub(crate) fn missing_table(database: &Connection, key: &str, table: &str) -> Issue {
    Issue::mismatch(key, no_table(database, table))
}

fn no_table(database: &Connection, table: &str) -> String {
    let tables = names(database).unwrap_or_default();
    let sentence = format!("the database has no table `{table}`");
    with_suggestion(sentence, table, tables.iter().map(String::as_str))
}
