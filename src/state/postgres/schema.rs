//! The tables of the state in a schema of their own: made where they are missing, brought up to date, and left alone where
//! a newer version has made them.

use crate::postgres::{Connection, PostgresError, Type};

use super::PATIENCE;

/// The steps that led to the tables as they are; how many of them a schema has taken stands in its table `version`.
const STEPS: &[&str] = &[include_str!("schema.sql")];
/// How many there are.
pub(super) const VERSION: usize = STEPS.len();
/// Keeps replicas that start at the same time from taking the steps twice.
const LOCK: i64 = 0x6475_706c_6973_7461;

/// Why the tables cannot be used.
#[derive(Debug)]
pub(super) enum SchemaError {
    Postgres(PostgresError),
    Newer(i64),
    /// There is a table of ours that is not ours.
    Foreign,
}

impl From<PostgresError> for SchemaError {
    fn from(error: PostgresError) -> Self {
        Self::Postgres(error)
    }
}

/// Whether there are tables of ours in the schema.
pub(super) fn is_there(connection: &mut Connection, schema: &str) -> Result<bool, PostgresError> {
    let table = format!("\"{schema}\".version");
    let found = connection.query(
        "SELECT to_regclass($1) IS NOT NULL",
        &vec![(&table, Type::TEXT)],
        PATIENCE,
    )?;
    Ok(found.first().is_some_and(|row| row.get(0)))
}

/// Why the schema could not be used, or made where it is missing.
pub(super) fn may_be_made(connection: &mut Connection, schema: &str) -> Result<Option<String>, PostgresError> {
    let found = connection.query(
        "SELECT CASE WHEN to_regnamespace(quote_ident($1)) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
             ELSE has_schema_privilege(quote_ident($1), 'USAGE') AND (has_schema_privilege(quote_ident($1), 'CREATE')
                 OR to_regclass(quote_ident($1) || '.version') IS NOT NULL) END, current_database()::text, current_user::text,
             to_regnamespace(quote_ident($1)) IS NULL",
        &vec![(&schema, Type::TEXT)],
        PATIENCE,
    )?;
    let Some(row) = found
        .first()
        .filter(|row| !row.get::<_, Option<bool>>(0).unwrap_or(false))
    else {
        return Ok(None);
    };
    let (database, role, is_missing): (String, String, bool) = (row.get(1), row.get(2), row.get(3));
    Ok(Some(if is_missing {
        format!(
            "has no such schema, and its role may not make it: GRANT CREATE ON DATABASE \"{database}\" TO \"{role}\" lets it"
        )
    } else {
        format!("has a schema that its role `{role}` may not use; it must own it")
    }))
}

/// Sees to it that the tables are there and as they should be.
pub(super) fn prepare(connection: &mut Connection, schema: &str) -> Result<(), SchemaError> {
    if is_there(connection, schema)? && missing(connection, schema)?.is_empty() {
        return Ok(());
    }
    connection.batch(
        &format!(
            "BEGIN; SET LOCAL lock_timeout = '20s'; SET LOCAL statement_timeout = '30s'; SELECT pg_advisory_xact_lock({LOCK})"
        ),
        PATIENCE * 2,
    )?;
    let done = take_steps(connection, schema);
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.batch(end, PATIENCE);
    done?;
    Ok(ended?)
}

fn take_steps(connection: &mut Connection, schema: &str) -> Result<(), SchemaError> {
    if !is_there(connection, schema)? {
        let found = connection.query(
            "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL",
            &vec![(&schema, Type::TEXT)],
            PATIENCE,
        )?;
        // Whoever may not make schemas may have been given one.
        let make = match found.first() {
            Some(row) if row.get(0) => String::new(),
            _ => format!("CREATE SCHEMA \"{schema}\";"),
        };
        connection.batch(
            &format!(
                "{make} CREATE TABLE \"{schema}\".version (version bigint NOT NULL);
                 INSERT INTO \"{schema}\".version VALUES (0)"
            ),
            PATIENCE,
        )?;
    }
    let steps = missing(connection, schema)?.concat();
    let version = STEPS.len();
    connection.batch(
        &format!("SET LOCAL search_path = \"{schema}\"; {steps} UPDATE version SET version = {version}"),
        PATIENCE,
    )?;
    Ok(())
}

/// The steps that the schema has not taken.
fn missing(connection: &mut Connection, schema: &str) -> Result<&'static [&'static str], SchemaError> {
    let version = format!("SELECT version FROM \"{schema}\".version");
    let found = match connection.query(&version, &Vec::new(), PATIENCE) {
        Err(error) if error.has_code("42703") => return Err(SchemaError::Foreign),
        found => found?,
    };
    let version = found.first().and_then(|row| row.try_get::<_, i64>(0).ok());
    let version = version.filter(|_| found.len() == 1).ok_or(SchemaError::Foreign)?;
    let taken = usize::try_from(version).ok();
    taken
        .and_then(|taken| STEPS.get(taken..))
        .ok_or(SchemaError::Newer(version))
}
