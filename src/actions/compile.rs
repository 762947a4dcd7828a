//! Declared SQL checked when it is loaded: its parameters, its grammar, and what it touches.

use std::cell::RefCell;

use rusqlite::Connection;

use super::fence::Fenced;
use super::{Flaw, Weight};

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
    let verb = sql
        .trim_start()
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
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
    connection.admit(tables).ok()?;
    let is_query = !verbs.contains(&"DELETE");
    let message = match connection.inside(|inner| inner.prepare(sql).map(|statement| statement.readonly())) {
        Ok(true) if !is_query => Some("it changes nothing".to_owned()),
        Ok(false) if is_query => Some("it changes something".to_owned()),
        Ok(_) => None,
        Err(rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg))) => Some(msg),
        Err(rusqlite::Error::MultipleStatement) => Some("it holds more than one statement".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = connection.refusal() {
        return Some(Flaw::broken(key, format!("the SQL is refused: {why}")));
    }
    let message = message?;
    let of_schema = message.starts_with("no such") || message.contains("has no column");
    if of_schema && !has_database {
        return None;
    }
    let weight = if of_schema { Weight::Mismatch } else { Weight::Broken };
    Some(Flaw::weighing(
        weight,
        key,
        format!("the SQL does not compile: {message}"),
    ))
}

pub(super) fn unknown<'a>(key: &'static str, used: impl IntoIterator<Item = &'a str>, known: &[&str]) -> Vec<Flaw> {
    let refuse = |name: &str| {
        let why = match name {
            "cutoff" | "retention_days" => format!("`{name}` has no value: `retention` is missing"),
            _ => format!("`{name}` is no parameter; there are {}", known.join(", ")),
        };
        Flaw::broken(key, why)
    };
    used.into_iter()
        .filter(|name| !known.contains(name))
        .map(refuse)
        .collect()
}

/// The names of the `:parameters` in `sql`, outside texts, quoted names and comments.
pub(super) fn parameters_of(sql: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = sql;
    while let Some(at) = rest.find([':', '@', '$', '?', '\'', '"', '`', '[', '-', '/']) {
        let (head, tail) = rest[at..].split_at(1);
        let skip = |end: &str| tail.find(end).map_or("", |at| &tail[at + end.len()..]);
        rest = match head {
            ":" => {
                let length = tail
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(tail.len());
                names.extend((length > 0).then_some(&tail[..length]));
                &tail[length..]
            }
            "@" | "$" | "?" => {
                // SQLite knows more forms than ours; they are given whole, so that they are refused.
                let length = tail
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(tail.len());
                names.push(&rest[at..=at + length]);
                &tail[length..]
            }
            "[" => skip("]"),
            "-" if tail.starts_with('-') => skip("\n"),
            "/" if tail.starts_with('*') => skip("*/"),
            "-" | "/" => tail,
            quote => skip(quote),
        };
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_where_sqlite_finds_them() {
        for (sql, names) in [
            ("timestamp < :cutoff AND a = :job", vec!["cutoff", "job"]),
            (
                "a = ':no' OR \":no\" = [:no] -- :no\n OR b = :now /* :no */",
                vec!["now"],
            ),
            ("a = 'it''s :no' AND b=:batch", vec!["batch"]),
            ("a = @no AND b > ?1 OR $x", vec!["@no", "?1", "$x"]),
            ("a - b / c", vec![]),
            ("'unclosed :no", vec![]),
        ] {
            assert_eq!(parameters_of(sql), names, "{sql}");
        }
    }
}
