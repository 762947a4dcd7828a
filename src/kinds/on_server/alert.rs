//! The kind `alert` on a server: the server itself turns rows into texts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::statement::Declared;
use crate::run::{Failure, RunContext};
use crate::sql::server::{CheckedServer, Right, Rights, Server};

/// The rows of the query, by the names of their columns; no more than `most` and one.
pub(in crate::kinds) fn rows(
    declared: &Declared<'_>,
    server: &Server,
    ctx: &RunContext,
    most: usize,
) -> Result<Vec<BTreeMap<String, String>>, Failure> {
    let mut session = declared.session_on(server, ctx)?;
    let sql = format!(
        "SELECT row_to_json(\"one of the rows\".*)::text FROM ({}\n) AS \"one of the rows\" LIMIT {}",
        declared.sql,
        most + 1
    );
    let found = session.read(&sql);
    let found = found.map_err(|error| session.explain(&error))?;
    Ok(found.iter().map(|row| columns(row.get(0))).collect())
}

fn columns(row: &str) -> BTreeMap<String, String> {
    let row: serde_json::Map<String, Value> = serde_json::from_str(row).unwrap_or_default();
    let in_words = |value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    row.into_iter()
        .map(|(column, value)| (column, in_words(value)))
        .collect()
}

/// The columns of the query, where the server tells them.
pub(in crate::kinds) fn columns_of(declared: &Declared<'_>, server: &CheckedServer) -> Option<Vec<String>> {
    let parameters = declared.sample_on_server(server.zone());
    let asked = server.ask(|session| {
        session.parameters = parameters;
        session.columns(&declared.sql)
    });
    asked?.ok()
}

/// The rights that the query needs.
pub(in crate::kinds) fn rights(declared: &Declared<'_>) -> Rights {
    let tables = declared.tables.iter();
    tables
        .map(|table| ((*table).to_owned(), [Right::Select].into()))
        .collect()
}
