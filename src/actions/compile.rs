//! Declared SQL checked when it is loaded: its parameters, its grammar, and what it touches.

use std::cell::RefCell;

use rusqlite::Connection;

use super::fence::Fenced;
use super::ties::names;
use super::tokens::tokens;
use super::{Flaw, Weight};
use crate::values::with_suggestion;

/// The words a statement that writes can begin with.
pub(super) const WRITING: &[&str] = &["DELETE", "UPDATE", "INSERT", "REPLACE", "WITH"];
/// The words a query can begin with.
pub(super) const READING: &[&str] = &["SELECT", "WITH", "VALUES"];

/// Compiles `sql` inside the fence against the database, or, where that is not there, against none: then only its
/// grammar is checked.
pub(super) fn compile(
    key: &'static str,
    sql: &str,
    tables: &[&str],
    verbs: &[&str],
    database: Option<&Fenced>,
) -> Option<Flaw> {
    let verb = tokens(sql).first().map_or("", |token| token.text);
    if !verbs.contains(&verb.to_ascii_uppercase().as_str()) {
        let begins = if verb.is_empty() {
            "is empty".to_owned()
        } else {
            format!("begins with `{verb}`")
        };
        let message = format!("the SQL {begins}; {} is expected", verbs.join(", "));
        return Some(Flaw::broken(key, message));
    }
    match database {
        Some(database) => compile_in(database, true, key, sql, tables, verbs),
        // Made once: a declaration may have thousands of statements.
        None => NOTHING.with_borrow_mut(|nothing| {
            let nothing = match nothing {
                Some(nothing) => nothing,
                None => nothing.insert(Fenced::around(Connection::open_in_memory().ok()?).ok()?),
            };
            compile_in(nothing, false, key, sql, tables, verbs)
        }),
    }
}

thread_local! {
    /// A database without any table.
    static NOTHING: RefCell<Option<Fenced>> = const { RefCell::new(None) };
}

fn compile_in(
    connection: &Fenced,
    has_database: bool,
    key: &'static str,
    sql: &str,
    tables: &[&str],
    verbs: &[&str],
) -> Option<Flaw> {
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
        return Some(Flaw::broken(key, format!("the SQL is refused: {why}")));
    }
    let of_schema = message.starts_with("no such") || message.contains("has no column");
    if of_schema && !has_database {
        return None;
    }
    let weight = if of_schema { Weight::Mismatch } else { Weight::Broken };
    let message = match message.strip_prefix("no such table: ") {
        Some(table) => no_table(connection, table),
        None => format!("the SQL does not compile: {message}"),
    };
    Some(Flaw::weighing(weight, key, message))
}

/// What to say of a table that is not there.
pub(super) fn missing_table(database: &Connection, table: &str) -> Flaw {
    Flaw::weighing(Weight::Mismatch, "delete_from", no_table(database, table))
}

fn no_table(database: &Connection, table: &str) -> String {
    let tables = names(database).unwrap_or_default();
    let sentence = format!("the database has no table `{table}`");
    with_suggestion(sentence, table, tables.iter().map(String::as_str))
}

pub(super) fn unknown<'a>(key: &'static str, used: impl IntoIterator<Item = &'a str>, known: &[&str]) -> Vec<Flaw> {
    let refuse = |name: &str| {
        let why = match name {
            "cutoff" | "retention_days" => format!("`{name}` has no value: `retention` is missing"),
            _ => format!("`{name}` is not a parameter; the parameters are {}", known.join(", ")),
        };
        Flaw::broken(key, why)
    };
    used.into_iter()
        .filter(|name| !known.contains(name))
        .map(refuse)
        .collect()
}
