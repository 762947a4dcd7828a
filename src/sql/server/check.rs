//! Declared SQL checked when it is loaded: the server reads and explains it, as the role that will run it.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use super::access::{Operation, Touched, access, touched};
use super::catalog::{tables, unnamed, without_zone};
use super::session::{CHECK, ServerSession};
use super::statement::{Statement, names_of_parameters, refuse_semicolon, word_at, words};
use super::{Server, role};
use crate::postgres::{PostgresError, apart};
use crate::sql::tokens::refuse_start;
use crate::sql::{Parameters, SqlError};
use crate::values::{Issue, TimeZone, lock, with_suggestion};

/// The words a statement that writes can begin with.
pub(crate) const WRITING_ON_SERVER: &[&str] = &["DELETE", "UPDATE", "INSERT", "MERGE", "WITH"];
/// How long the server may take for each question.
const PATIENCE: Duration = Duration::from_secs(5);

/// A database on a server that declared SQL is checked against, or why it cannot be now.
#[derive(Debug)]
pub(crate) struct CheckedServer {
    session: Result<Mutex<ServerSession>, SqlError>,
    zone: TimeZone,
    /// Whether that is declared.
    has_zone: bool,
    /// The role that statements run as.
    role: String,
}

impl CheckedServer {
    /// Connects to `server`, where it answers in time.
    pub(crate) fn open(server: &Server) -> Self {
        let session = apart(|| ServerSession::open(server, CHECK, PATIENCE, Duration::from_secs(1)));
        Self {
            session: session.map(Mutex::new),
            zone: server.zone(),
            has_zone: server.time_zone.is_some(),
            role: server.address.user().unwrap_or("the role").to_owned(),
        }
    }

    /// The zone of columns that say none.
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// That there is no such table, with the one that was meant.
    pub(crate) fn no_table(&self, key: &str, table: &str) -> Issue {
        let sentence = format!("the database has no table `{table}`, or the role may not use its schema");
        let known = self.ask(tables).and_then(Result::ok).unwrap_or_default();
        Issue::mismatch(key, with_suggestion(sentence, table, known.iter().map(String::as_str)))
    }

    /// The columns of `tables` in `sql` that say no time zone, where none is declared for them.
    pub(crate) fn columns_without_zone(&self, sql: &str, tables: &[&str]) -> Vec<String> {
        if self.has_zone {
            return Vec::new();
        }
        let words: Vec<&str> = words(sql).collect();
        let found = self.ask(|session| without_zone(session, tables, &words));
        found.and_then(Result::ok).unwrap_or_default()
    }

    /// Why nothing could be checked.
    pub(crate) fn error(&self) -> Option<&SqlError> {
        self.session.as_ref().err()
    }

    /// Asks the server, where it is there; what it does not answer is not known.
    pub(crate) fn ask<T: Send>(
        &self,
        question: impl FnOnce(&mut ServerSession) -> Result<T, PostgresError> + Send,
    ) -> Option<Result<T, PostgresError>> {
        let session = self.session.as_ref().ok()?;
        Some(apart(|| question(&mut lock(session))))
    }

    /// What its role may do beyond `needed`, in words.
    pub(crate) fn excess(&self, needed: &role::Rights) -> Option<String> {
        self.ask(|session| role::excess(session, needed))?.ok()?
    }
}

/// What is wrong with `sql` as one of `verbs`, in which `declared` is the part that stands in the declaration.
pub(crate) fn compile_on_server(
    key: &'static str,
    (sql, declared): (&str, Range<usize>),
    tables: &[&str],
    (verbs, parameters): (&[&str], &Parameters),
    server: &CheckedServer,
) -> Option<Issue> {
    if let Some(why) = refuse_semicolon(&sql[declared.clone()]) {
        return Some(Issue::error(key, why));
    }
    let verb = words(sql).next().unwrap_or_default();
    if let Some(issue) = refuse_start(key, verb, verbs) {
        return Some(issue);
    }
    let is_query = !verbs.contains(&"DELETE");
    if is_query && words(sql).any(|word| word.eq_ignore_ascii_case("into")) {
        return Some(Issue::error(key, "the SQL is refused: INTO would make a table"));
    }
    let has_lock = words(sql).zip(words(sql).skip(1)).any(|(word, next)| {
        word.eq_ignore_ascii_case("for") && ["update", "share", "no", "key"].contains(&next.to_lowercase().as_str())
    });
    if is_query && has_lock {
        return Some(Issue::error(
            key,
            "the SQL is refused: a query that locks rows could not run in a transaction that changes nothing",
        ));
    }
    let read = server.ask(|session| {
        session.parameters.clone_from(parameters);
        let statement = Statement::of(sql);
        session.describe(&statement)?;
        Ok((access(session, sql)?.is_write, touched(session, sql)?))
    })?;
    match read {
        Ok((false, _)) if !is_query && names_of_parameters(sql).contains(&"batch") => {
            let why = "it ends with a query, which always gives a row: rounds of `:batch` would never end";
            Some(Issue::error(key, why))
        }
        Ok((_, touched)) => of_tables(key, &touched, tables, is_query, server),
        Err(error) => Some(of_error(key, &error, (sql, declared), server)),
    }
}

/// What is wrong with what a statement touches.
fn of_tables(key: &str, touched: &[Touched], tables: &[&str], is_query: bool, server: &CheckedServer) -> Option<Issue> {
    let writes = touched.iter().any(|touched| touched.operation != Operation::Read);
    if writes == is_query {
        let why = if is_query {
            "it changes something"
        } else {
            "it changes nothing"
        };
        return Some(Issue::error(key, format!("the SQL does not compile: {why}")));
    }
    let unnamed = server.ask(|session| unnamed(session, touched, tables))?.ok()??;
    let message = format!("the SQL is refused: it touches the table `{unnamed}`, which `tables` does not name");
    Some(Issue::error(key, message))
}

fn of_error(key: &str, error: &PostgresError, (sql, declared): (&str, Range<usize>), server: &CheckedServer) -> Issue {
    let code = error.code.as_deref().unwrap_or_default();
    let place = error.position.and_then(|position| {
        let at = Statement::of(sql).declared_at(position);
        declared
            .contains(&at)
            .then(|| place_in(&sql[declared.clone()], at - declared.start))
    });
    let place = place.unwrap_or_default();
    let why = error.why.trim_start_matches("reports: ");
    match code {
        "42P01" => server.no_table(key, why.split('"').nth(1).unwrap_or_default()),
        "42883" => Issue::mismatch(
            key,
            format!("the SQL does not compile: {}{place}", operator(why, &sql[declared])),
        ),
        "42703" | "42704" | "3F000" => Issue::mismatch(key, format!("the SQL does not compile: {why}{place}")),
        "42501" => Issue::mismatch(key, lacks(key, why, &server.role)),
        "" => Issue::warning(key, format!("could not be checked: the database {}", error.why)),
        _ if error.is_transient() => Issue::warning(key, format!("could not be checked: the database {}", error.why)),
        _ => Issue::error(key, format!("the SQL does not compile: {why}{place}")),
    }
}

/// What a role lacks, and the statement that gives it.
fn lacks(key: &str, why: &str, role: &str) -> String {
    let sentence = format!("the role `{role}` lacks a right: {why}");
    let Some(table) = why.strip_prefix("permission denied for table ") else {
        return sentence;
    };
    let rights = match key {
        "where" => "SELECT, DELETE",
        "query" => "SELECT",
        "record" => "INSERT",
        // A statement may read one table and change another.
        _ => {
            return format!(
                "{sentence}; the owner of the table gives it with GRANT SELECT, INSERT, UPDATE or DELETE ON \"{table}\" TO \"{role}\", whichever the statement needs"
            );
        }
    };
    format!("{sentence}; the owner of the table gives it with: GRANT {rights} ON \"{table}\" TO \"{role}\"")
}

/// What to say of a comparison of two types that cannot be compared.
fn operator(why: &str, sql: &str) -> String {
    let sentence = why.split(" (").next().unwrap_or(why);
    let held = sentence.strip_prefix("operator does not exist: ").unwrap_or_default();
    let formats = [
        ("timestamp without time zone", "timestamp"),
        ("timestamp with time zone", "timestamptz"),
        ("date ", "date"),
        ("bigint", "unix"),
        ("integer", "unix"),
        ("text", "rfc3339"),
        ("character varying", "rfc3339"),
    ];
    let fitting = formats.iter().find(|(kind, _)| held.starts_with(kind));
    match fitting.filter(|_| names_of_parameters(sql).contains(&"cutoff")) {
        Some((kind, format)) => format!(
            "{sentence}; for a column of the type {} , `cutoff_format = \"{format}\"` would fit",
            kind.trim()
        )
        .replace(" ,", ","),
        None => sentence.to_owned(),
    }
}

/// Where something stands in a text, for people.
fn place_in(text: &str, at: usize) -> String {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!(" (line {line}, column {column}, at `{}`)", word_at(text, at).trim())
}
