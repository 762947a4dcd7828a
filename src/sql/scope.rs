//! Which tables the names in a part of a statement may speak of.

use super::tokens::{Token, TokenKind, tokens};

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
