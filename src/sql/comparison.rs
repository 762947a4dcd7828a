//! The comparisons of a statement with a point in time, found in its text, with the tables that
//! each operand can come from.

use super::tokens::{Token, TokenKind, tokens};

/// Parameters that are points in time.
const TIMES: &[&str] = &[":cutoff", ":now", ":scheduled_at"];
/// Words that are points in time, or functions that give the present one.
const NOW: &[&str] = &["current_timestamp", "current_date", "unixepoch"];
/// Words an operand cannot reach beyond.
const BOUNDARIES: &[&str] = &[
    "and",
    "or",
    "not",
    "where",
    "on",
    "having",
    "when",
    "then",
    "else",
    "case",
    "end",
    "select",
    "set",
    "from",
    "group",
    "order",
    "limit",
    "union",
    "except",
    "intersect",
    "returning",
    "between",
    "is",
    "in",
    "like",
    "glob",
    "match",
    "exists",
    "values",
    "window",
    "filter",
    "over",
    "=",
    "==",
    "<>",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    ",",
    ";",
];

/// A comparison of something that a row holds with a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comparison<'a> {
    /// What the row holds.
    pub held: &'a str,
    /// The point in time.
    pub time: &'a str,
    /// Whether it selects what is older than that.
    pub selects_older: bool,
    /// The tables whose rows may be meant, nearest first.
    pub tables: Vec<&'a str>,
}

/// The comparisons with points in time in `sql`, which is a statement, or a condition on rows of `table`.
pub(crate) fn comparisons<'a>(sql: &'a str, table: Option<&'a str>) -> Vec<Comparison<'a>> {
    let tokens = tokens(sql);
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let mut add = |sides, is_less| {
            let scopes = || around(&tokens, index, table);
            found.extend(comparison(sides, is_less).map(|found: Comparison<'a>| Comparison {
                tables: tables_of(found.held, &scopes()),
                ..found
            }));
        };
        let is_order = ["<", "<=", ">", ">="].iter().any(|order| token.is(order));
        if is_order {
            let sides = (before(sql, &tokens, index), after(sql, &tokens, index + 1));
            add(sides, token.text.starts_with('<'));
        } else if token.is("between") {
            let is_negated = index > 0 && tokens[index - 1].is("not");
            let held = before(sql, &tokens, index - usize::from(is_negated));
            let least = after(sql, &tokens, index + 1);
            let and = tokens[index..].iter().position(|token| token.is("and"));
            let most = and.and_then(|and| after(sql, &tokens, index + and + 1));
            add((held.clone(), least), is_negated);
            add((held, most), !is_negated);
        }
    }
    found
}

type Operand<'a> = (&'a str, Vec<Token<'a>>);

/// The comparison of two operands, where one is a point in time and the other is held by the row.
fn comparison<'a>(sides: (Option<Operand<'a>>, Option<Operand<'a>>), is_less: bool) -> Option<Comparison<'a>> {
    let (left, right) = (sides.0?, sides.1?);
    match (is_time(&left.1), is_time(&right.1)) {
        (false, true) if holds(&left.1) => Some(Comparison {
            held: left.0,
            time: right.0,
            selects_older: is_less,
            tables: Vec::new(),
        }),
        (true, false) if holds(&right.1) => Some(Comparison {
            held: right.0,
            time: left.0,
            selects_older: !is_less,
            tables: Vec::new(),
        }),
        _ => None,
    }
}

fn is_time(operand: &[Token<'_>]) -> bool {
    operand.iter().any(|token| match token.kind {
        TokenKind::Parameter => TIMES.contains(&token.text),
        TokenKind::Text => token.text.eq_ignore_ascii_case("'now'"),
        TokenKind::Word => NOW.iter().any(|word| token.is(word)) && !is_given_something(token, operand),
        _ => false,
    })
}

/// Whether the function `name` is called with an argument: then it gives the time of that.
fn is_given_something(name: &Token<'_>, operand: &[Token<'_>]) -> bool {
    let mut after = operand.iter().skip_while(|token| token.at <= name.at);
    after.next().is_some_and(|token| token.is("(")) && after.next().is_some_and(|token| !token.is(")"))
}

fn holds(operand: &[Token<'_>]) -> bool {
    operand
        .iter()
        .any(|token| matches!(token.kind, TokenKind::Word | TokenKind::Quoted))
}

/// The operand that ends before the token at `index`.
fn before<'a>(sql: &'a str, tokens: &[Token<'a>], index: usize) -> Option<Operand<'a>> {
    let mut depth = 0_i32;
    let mut start = index;
    while start > 0 {
        let token = &tokens[start - 1];
        depth += i32::from(token.is(")")) - i32::from(token.is("("));
        if depth < 0 || (depth == 0 && !token.is("(") && BOUNDARIES.iter().any(|word| token.is(word))) {
            break;
        }
        start -= 1;
    }
    operand(sql, &tokens[start..index])
}

/// The operand that begins with the token at `index`.
fn after<'a>(sql: &'a str, tokens: &[Token<'a>], index: usize) -> Option<Operand<'a>> {
    let mut depth = 0_i32;
    let mut end = index;
    while let Some(token) = tokens.get(end) {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        if depth < 0 || (depth == 0 && !token.is(")") && BOUNDARIES.iter().any(|word| token.is(word))) {
            break;
        }
        end += 1;
    }
    operand(sql, &tokens[index..end])
}

fn operand<'a>(sql: &'a str, tokens: &[Token<'a>]) -> Option<Operand<'a>> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    Some((&sql[first.at..last.end()], tokens.to_vec()))
}

/// A table, by the name it has in its part of the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    name: &'a str,
    table: &'a str,
}

/// Words after which a table stands.
const BEFORE_TABLES: &[&str] = &["from", "join", "update", "into"];
/// Words that are no other name of a table before them.
const AFTER_TABLES: &[&str] = &[
    "where",
    "join",
    "left",
    "right",
    "full",
    "inner",
    "outer",
    "cross",
    "natural",
    "on",
    "using",
    "group",
    "order",
    "limit",
    "set",
    "union",
    "except",
    "intersect",
    "returning",
    "having",
    "window",
    "values",
    "select",
    "default",
    "indexed",
    "not",
];

/// The tables of every query around the token at `index`, the innermost first; `table` is the one of the whole.
pub(super) fn around<'a>(tokens: &[Token<'a>], index: usize, table: Option<&'a str>) -> Vec<Vec<Named<'a>>> {
    let mut open = Vec::new();
    for (at, token) in tokens[..index].iter().enumerate() {
        if token.is("(") {
            open.push(at + 1);
        } else if token.is(")") {
            open.pop();
        }
    }
    let whole = table.map(|table| Named { name: table, table });
    let inner = open.iter().rev().map(|start| tables_from(&tokens[*start..]));
    let outer = whole.map_or_else(|| tables_from(tokens), |table| vec![table]);
    inner.chain([outer]).collect()
}

/// The tables that stand at the top of `tokens`, up to the bracket that ends them.
fn tables_from<'a>(tokens: &[Token<'a>]) -> Vec<Named<'a>> {
    let mut found = Vec::new();
    let (mut depth, mut in_list) = (0_i32, false);
    for (at, token) in tokens.iter().enumerate() {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        if depth < 0 {
            break;
        }
        if depth > 0 {
            continue;
        }
        let begins = BEFORE_TABLES.iter().any(|word| token.is(word));
        if begins || (in_list && token.is(",")) {
            found.extend(table_at(&tokens[at + 1..]));
        }
        in_list = begins || (in_list && !["where", "set", "group", "order"].iter().any(|word| token.is(word)));
    }
    found
}

/// The table that `tokens` begin with, by its own name or the other one it is given.
fn table_at<'a>(tokens: &[Token<'a>]) -> Option<Named<'a>> {
    let is_name = |token: &&Token<'a>| matches!(token.kind, TokenKind::Word | TokenKind::Quoted);
    let after_schema = tokens.get(1).is_some_and(|token| token.is("."));
    let rest = if after_schema { tokens.get(2..)? } else { tokens };
    let table = bare(rest.first().filter(is_name)?.text);
    let rest = match rest.get(1) {
        Some(word) if word.is("as") => &rest[2..],
        _ => &rest[1..],
    };
    let other = rest.first().filter(is_name);
    let other = other.filter(|token| !AFTER_TABLES.iter().any(|word| token.is(word)));
    Some(Named {
        name: other.map_or(table, |token| bare(token.text)),
        table,
    })
}

/// The tables that `held`, which may name one itself, may speak of.
pub(super) fn tables_of<'a>(held: &str, scopes: &[Vec<Named<'a>>]) -> Vec<&'a str> {
    let all = scopes.iter().flatten();
    match tokens(held).as_slice() {
        [qualifier, dot, _] if dot.is(".") => {
            let wanted = bare(qualifier.text);
            all.filter(|named| named.name.eq_ignore_ascii_case(wanted))
                .map(|named| named.table)
                .take(1)
                .collect()
        }
        _ => all.map(|named| named.table).collect(),
    }
}

/// A name without its quotes.
fn bare(name: &str) -> &str {
    name.trim_matches(['"', '`', '[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_with_points_in_time_are_found() {
        for (sql, expected) in [
            ("at < :cutoff", vec![("at", ":cutoff", true)]),
            (":cutoff > s.\"at\" AND done", vec![("s.\"at\"", ":cutoff", true)]),
            (
                "done AND (a OR coalesce(b, c) <= :cutoff)",
                vec![("coalesce(b, c)", ":cutoff", true)],
            ),
            (
                "expires_at < datetime('now', '-1 day')",
                vec![("expires_at", "datetime('now', '-1 day')", true)],
            ),
            (
                "unixepoch(at) < unixepoch() - 5",
                vec![("unixepoch(at)", "unixepoch() - 5", true)],
            ),
            ("at BETWEEN 0 AND :cutoff AND x", vec![("at", ":cutoff", true)]),
            (
                "at > :cutoff OR at >= :now",
                vec![("at", ":cutoff", false), ("at", ":now", false)],
            ),
            (
                "rowid IN (SELECT rowid FROM m WHERE ts < :cutoff LIMIT :batch)",
                vec![("ts", ":cutoff", true)],
            ),
            (
                "at NOT BETWEEN :cutoff AND :now",
                vec![("at", ":cutoff", true), ("at", ":now", false)],
            ),
            ("1 < :cutoff", vec![]),
            ("at < 5 AND b = :cutoff", vec![]),
            ("at < 'x :cutoff' -- at < :cutoff", vec![]),
            ("unixepoch() - at > 5", vec![]),
        ] {
            let found = comparisons(sql, Some("t"));
            let found: Vec<_> = found
                .iter()
                .map(|found| (found.held, found.time, found.selects_older))
                .collect();
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn the_table_of_a_column_is_the_nearest_that_is_meant() {
        for (sql, table, tables) in [
            ("at < :cutoff", Some("t"), vec!["t"]),
            ("t.at < :cutoff", Some("t"), vec!["t"]),
            ("id IN (SELECT id FROM u WHERE at < :cutoff)", Some("t"), vec!["u", "t"]),
            (
                "EXISTS (SELECT 1 FROM u AS x JOIN v y ON true WHERE x.at < :cutoff)",
                Some("t"),
                vec!["u"],
            ),
            ("EXISTS (SELECT 1 FROM u, v WHERE t.at < :cutoff)", Some("t"), vec!["t"]),
            (
                "DELETE FROM a WHERE at < :cutoff AND id NOT IN (SELECT id FROM b)",
                None,
                vec!["a"],
            ),
            ("UPDATE a SET n = 1 WHERE (at < :cutoff)", None, vec!["a"]),
            (
                "WITH c AS (SELECT id FROM \"u\" WHERE at < :cutoff) DELETE FROM a",
                None,
                vec!["u", "a"],
            ),
        ] {
            let found = comparisons(sql, table);
            assert_eq!(found.len(), 1, "{sql}");
            assert_eq!(found[0].tables, tables, "{sql}");
        }
    }
}
