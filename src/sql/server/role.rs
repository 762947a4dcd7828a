//! What the role of a database may do beyond what its jobs are declared to: there is no sandbox on a server, so that this
//! is what a mistake, or whoever changes the declaration, could reach.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::Target;
use super::session::ServerSession;
use crate::postgres::PostgresError;
use crate::values::{first_of, plural};

/// A right on a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    Select,
    Insert,
    Update,
    Delete,
}

impl Right {
    fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// The rights that jobs need, by table.
pub(crate) type Rights = BTreeMap<String, BTreeSet<Right>>;

/// What the role may do that none of `needed` is, and the statements that would make a role which may do only that;
/// `None` where it may do nothing else.
pub(crate) fn excess(session: &mut ServerSession, needed: &Rights) -> Result<Option<String>, PostgresError> {
    let rows = session.query(
        "SELECT current_user::text, array_remove(ARRAY[CASE WHEN rolsuper THEN 'is a superuser' END,
             CASE WHEN rolbypassrls THEN 'may bypass row security' END, CASE WHEN rolcreaterole THEN 'may create roles' END,
             CASE WHEN rolcreatedb THEN 'may create databases' END, CASE WHEN rolreplication THEN 'may replicate' END], NULL)
         FROM pg_roles WHERE rolname = current_user",
        &[],
    )?;
    let (role, mut excess): (String, Vec<String>) =
        rows.first().map(|row| (row.get(0), row.get(1))).unwrap_or_default();
    // Whoever is that may do everything, and no list would end.
    if !excess.iter().any(|what| what == "is a superuser") {
        excess.extend(writes(session, needed)?);
    }
    if excess.is_empty() {
        return Ok(None);
    }
    let grant = |(table, rights): (&String, &BTreeSet<Right>)| {
        let rights: Vec<&str> = rights.iter().map(|right| right.as_str()).collect();
        format!("GRANT {} ON \"{table}\" TO duplistatus_cron", rights.join(", "))
    };
    let mut there = Vec::new();
    for (table, rights) in needed {
        if Target::of(session, table)?.is_some() {
            there.push((table, rights));
        }
    }
    let grants: Vec<String> = there.into_iter().map(grant).collect();
    let enough = match grants.as_slice() {
        [] => String::new(),
        grants => format!("; these rights are enough: {}", grants.join("; ")),
    };
    Ok(Some(format!(
        "its role `{role}` {}; no job needs that{enough}",
        excess.join(", ")
    )))
}

/// The tables it may write in a way that no job does.
fn writes(session: &mut ServerSession, needed: &Rights) -> Result<Option<String>, PostgresError> {
    let rows = session.query(
        "SELECT c.relname::text, has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'UPDATE'),
             has_table_privilege(c.oid, 'DELETE') OR has_table_privilege(c.oid, 'TRUNCATE')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema')
             AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1",
        &[],
    )?;
    let mut tables = Vec::new();
    for row in rows {
        let table: String = row.get(0);
        let has = [
            (Right::Insert, row.get(1)),
            (Right::Update, row.get(2)),
            (Right::Delete, row.get(3)),
        ];
        let needed = needed.get(&table);
        let is_excess = |(right, has): &(Right, bool)| *has && !needed.is_some_and(|needed| needed.contains(right));
        if has.iter().any(is_excess) {
            tables.push(format!("`{table}`"));
        }
    }
    let count = tables.len();
    Ok((count > 0).then(|| {
        format!(
            "may do more than is declared to {} ({})",
            plural(count as u64, "table"),
            first_of(&tables, 5)
        )
    }))
}
