//! What the server's catalog says of a table: what it is, who refers to it, and how large it is by its statistics.

use super::access::Touched;
use super::session::ServerSession;
use super::statement::Functions;
use crate::postgres::PostgresError;
use crate::sql::SqlError;
use crate::values::Parameter;

/// A table that rows are deleted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub kind: Kind,
    /// Whether something else happens with each row that goes: triggers, rules, or keys that forbid it.
    pub is_entangled: bool,
    /// How rows are counted by the statistics; negative where they never were.
    pub estimate: i64,
    /// Pages of the table, or of its largest partition.
    pub pages: i64,
    /// Foreign keys that no index serves: the server looks through all of their table for every row that goes.
    pub unserved: Vec<String>,
    /// Whether it has partitions, or tables that inherit from it.
    pub has_parts: bool,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    Partitioned,
    View,
    Other,
}

// `tree` is the table with its partitions, `reach` whatever loses or changes rows with it.
const QUERY: &str = r"
WITH RECURSIVE tree AS (
    SELECT to_regclass(:table)::oid AS oid UNION SELECT h.inhrelid FROM pg_inherits h JOIN tree ON h.inhparent = tree.oid
), reach AS (
    SELECT oid FROM tree UNION SELECT k.conrelid FROM pg_constraint k JOIN reach ON k.confrelid = reach.oid AND k.contype = 'f'
)
SELECT c.relkind::text,
    EXISTS (SELECT 1 FROM pg_trigger t JOIN reach ON t.tgrelid = reach.oid WHERE NOT t.tgisinternal AND t.tgenabled <> 'D')
        OR EXISTS (SELECT 1 FROM pg_rewrite w JOIN reach ON w.ev_class = reach.oid WHERE w.ev_type IN ('2', '4'))
        OR EXISTS (SELECT 1 FROM pg_class f JOIN tree ON f.oid = tree.oid WHERE f.relkind = 'f')
        OR EXISTS (SELECT 1 FROM pg_constraint k JOIN reach ON k.confrelid = reach.oid WHERE k.contype = 'f'
            AND (k.confdeltype IN ('a', 'r') OR k.conrelid IN (SELECT oid FROM tree))),
    (SELECT CASE WHEN min(p.reltuples) < 0 THEN -1 ELSE coalesce(sum(p.reltuples), 0) END
        FROM pg_class p JOIN tree ON p.oid = tree.oid WHERE p.relkind = 'r')::bigint,
    (SELECT coalesce(max(pg_relation_size(p.oid)), 0) / current_setting('block_size')::bigint
        FROM pg_class p JOIN tree ON p.oid = tree.oid WHERE p.relkind = 'r')::bigint,
    ARRAY(SELECT k.conname || ' of ' || k.conrelid::regclass::text FROM pg_constraint k JOIN reach ON k.confrelid = reach.oid
        WHERE k.contype = 'f' AND NOT EXISTS (
            SELECT 1 FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indkey[0] = k.conkey[1] AND i.indpred IS NULL)),
    (SELECT count(*) FROM tree)
FROM pg_class c WHERE c.oid = to_regclass(:table)";

impl Target {
    /// What stands under the name of `table`; `None` where nothing does.
    pub(crate) fn of(session: &mut ServerSession, table: &str) -> Result<Option<Self>, PostgresError> {
        let quoted = Parameter::Text(format!("\"{table}\""));
        let rows = session.query(QUERY, &[("table", quoted)])?;
        Ok(rows.first().map(|row| {
            let kind: String = row.get(0);
            Self {
                kind: match kind.as_str() {
                    "r" => Kind::Table,
                    "p" => Kind::Partitioned,
                    "v" | "m" => Kind::View,
                    _ => Kind::Other,
                },
                is_entangled: row.get(1),
                estimate: row.get(2),
                pages: row.get(3),
                unserved: row.get(4),
                has_parts: row.get::<_, i64>(5) > 1,
            }
        }))
    }

    /// The first column of an index of `table` that keeps its values in their order, with its type; none where many rows have
    /// the same value there, among which the order is of no use.
    pub(super) fn leading_column(
        session: &mut ServerSession,
        table: &str,
        index: &str,
    ) -> Result<Option<(String, String)>, PostgresError> {
        let [table, index] = [table, index].map(|name| Parameter::Text(name.to_owned()));
        let rows = session.query(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
             WHERE i.indrelid = to_regclass(quote_ident(:table)) AND i.indexrelid = to_regclass(quote_ident(:index)) AND m.amname = 'btree' AND i.indpred IS NULL
                 AND coalesce((SELECT CASE WHEN s.n_distinct > 0 THEN t.reltuples / s.n_distinct ELSE -1 / s.n_distinct END
                     FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
                     JOIN pg_class t ON t.relname = s.tablename AND t.relnamespace = n.oid
                     WHERE t.oid = i.indrelid AND s.attname = a.attname AND s.n_distinct <> 0), 1) <= 1000",
            &[("table", table), ("index", index)],
        )?;
        Ok(rows.first().map(|row| (row.get(0), row.get(1))))
    }
}

/// Whether a function that may be called may give another result each time.
pub(super) fn may_vary(session: &mut ServerSession, functions: &Functions) -> Result<bool, PostgresError> {
    // What an application has defined may look at tables, under any name; the server's own is known by its brackets.
    const QUERY: &str = "SELECT EXISTS (SELECT 1 FROM pg_proc WHERE provolatile <> 'i' AND (proname::text = ANY (string_to_array(:called, chr(31)))
             OR (pronamespace <> 'pg_catalog'::regnamespace AND proname::text = ANY (string_to_array(:bare, chr(31))))))
         OR EXISTS (SELECT 1 FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode WHERE p.provolatile <> 'i'
             AND o.oprnamespace <> 'pg_catalog'::regnamespace AND o.oprname::text = ANY (string_to_array(:operators, chr(31))))";
    let list = |names: &[String]| Parameter::Text(names.join("\u{1f}"));
    let values = [
        ("called", list(&functions.bracketed)),
        ("bare", list(&functions.bare)),
        ("operators", list(&functions.operators)),
    ];
    let rows = session.query(QUERY, &values)?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// The columns of `tables`, among `names`, whose type is a timestamp without a time zone.
pub(super) fn without_zone(
    session: &mut ServerSession,
    tables: &[&str],
    names: &[&str],
) -> Result<Vec<String>, PostgresError> {
    let [tables, names] = [tables, names].map(|list| Parameter::Text(list.join(" ")));
    let rows = session.query(
        "SELECT DISTINCT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relname::text = ANY (string_to_array(:tables, ' ')) AND pg_table_is_visible(c.oid)
             AND a.atttypid = 'timestamp'::regtype AND a.attname::text = ANY (string_to_array(:names, ' ')) ORDER BY 1",
        &[("tables", tables), ("names", names)],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Every table the role can see, for telling which one was meant.
pub(super) fn tables(session: &mut ServerSession) -> Result<Vec<String>, PostgresError> {
    let rows = session.query(
        "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') AND pg_table_is_visible(oid)
         AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) ORDER BY 1",
        &[],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The first of the tables that are `touched` which is not among the `named` ones, is no part of one and stands behind no
/// view among them.
pub(super) fn unnamed(
    session: &mut ServerSession,
    touched: &[Touched],
    named: &[&str],
) -> Result<Option<String>, PostgresError> {
    let named = Parameter::Text(named.join("\u{1f}"));
    for Touched { schema, table, .. } in touched {
        let table = Parameter::Text(format!("\"{schema}\".\"{table}\""));
        let rows = session.query(
            "WITH RECURSIVE up AS (SELECT to_regclass(:table)::oid AS oid, 0 AS n
                 UNION ALL SELECT h.inhparent, n + 1 FROM pg_inherits h JOIN up ON h.inhrelid = up.oid WHERE n < 20),
             named AS (SELECT to_regclass(quote_ident(name))::oid AS oid FROM unnest(string_to_array(:named, chr(31))) AS name
                 UNION SELECT d.refobjid FROM named JOIN pg_rewrite w ON w.ev_class = named.oid
                     JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass)
             SELECT oid::regclass::text FROM up WHERE NOT EXISTS (SELECT 1 FROM up JOIN named USING (oid)) ORDER BY n DESC LIMIT 1",
            &[("table", table), ("named", named.clone())],
        )?;
        if let Some(row) = rows.first() {
            return Ok(Some(row.get(0)));
        }
    }
    Ok(None)
}

/// How many rows `table` has: by the statistics where they are there and the table is large, else counted.
pub(crate) fn estimate(session: &mut ServerSession, table: &str, found: &Target) -> Result<i64, SqlError> {
    const LARGE: i64 = 100_000;
    if found.estimate >= LARGE {
        return Ok(found.estimate);
    }
    count(session, table)
}

/// How many rows `table` has, counted.
pub(crate) fn count(session: &mut ServerSession, table: &str) -> Result<i64, SqlError> {
    count_up_to(session, table, i64::MAX)
}

/// How many rows `table` has, counted no further than `most`.
pub(crate) fn count_up_to(session: &mut ServerSession, table: &str, most: i64) -> Result<i64, SqlError> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM \"{table}\" LIMIT {most}) AS counted");
    let counted = session.query(&sql, &[]);
    let rows = counted.map_err(|error| session.explain(&error))?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}
