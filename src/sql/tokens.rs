//! SQL cut into its tokens, as SQLite cuts it: for finding parameters and comparisons, never for deciding what may run.

use crate::values::Issue;

/// A piece of SQL; blanks and comments are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub kind: TokenKind,
    pub text: &'a str,
    /// Where it begins, in bytes.
    pub at: usize,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A keyword or a name.
    Word,
    /// A name in quotes or brackets.
    Quoted,
    /// A text in single quotes.
    Text,
    /// A number or a blob.
    Number,
    /// `:name` and the other forms of parameters.
    Parameter,
    /// An operator or a mark.
    Symbol,
}

impl Token<'_> {
    /// Whether it is the keyword `word`.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self.kind, TokenKind::Word | TokenKind::Symbol) && self.text.eq_ignore_ascii_case(word)
    }

    pub(crate) fn end(&self) -> usize {
        self.at + self.text.len()
    }
}

/// Operators of more than one character, longest first.
const OPERATORS: &[&str] = &["->>", "<=", ">=", "<>", "!=", "==", "||", "<<", ">>", "->"];

/// The tokens of `sql`.
pub(crate) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let length = match (length_of_gap(rest), token(rest, first)) {
            (Some(length), _) => length,
            (None, (kind, length)) => {
                let text = &rest[..length];
                found.push(Token { kind, text, at });
                length
            }
        };
        at += length;
    }
    found
}

/// How long the blanks or the comment at the start of `rest` are, where there are any.
fn length_of_gap(rest: &str) -> Option<usize> {
    let until = |end: &str, least: usize| rest[least..].find(end).map_or(rest.len(), |at| least + at + end.len());
    if rest.starts_with("--") {
        return Some(until("\n", 2));
    }
    if rest.starts_with("/*") {
        return Some(until("*/", 2));
    }
    let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']).len();
    (blanks > 0).then_some(blanks)
}

fn token(rest: &str, first: char) -> (TokenKind, usize) {
    let name_after = |start: usize| start + length_of_name(&rest[start..]);
    match first {
        '\'' => (TokenKind::Text, length_of_quoted(rest, '\'')),
        '"' | '`' => (TokenKind::Quoted, length_of_quoted(rest, first)),
        '[' => (TokenKind::Quoted, rest.find(']').map_or(rest.len(), |at| at + 1)),
        ':' | '@' | '$' | '#' | '?' if name_after(1) > 1 || first == '?' => (TokenKind::Parameter, name_after(1)),
        '0'..='9' => (TokenKind::Number, length_of_number(rest)),
        'x' | 'X' if rest[1..].starts_with('\'') => (TokenKind::Number, 1 + length_of_quoted(&rest[1..], '\'')),
        _ if is_of_name(first) => (TokenKind::Word, name_after(0)),
        _ => {
            let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
            (
                TokenKind::Symbol,
                operator.map_or(first.len_utf8(), |operator| operator.len()),
            )
        }
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
}

fn length_of_name(rest: &str) -> usize {
    rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())
}

fn length_of_number(rest: &str) -> usize {
    rest.find(|c: char| !(is_of_name(c) || c == '.')).unwrap_or(rest.len())
}

/// A quote inside is doubled.
fn length_of_quoted(rest: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = rest[at..].find(quote) {
        at += end + 1;
        if !rest[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    rest.len()
}

/// What is wrong with SQL that begins with `word`, where it is to be one of `verbs`.
pub(super) fn refuse_start(key: &str, word: &str, verbs: &[&str]) -> Option<Issue> {
    let begins = match word {
        word if verbs.iter().any(|verb| verb.eq_ignore_ascii_case(word)) => return None,
        "" => "is empty".to_owned(),
        word => format!("begins with `{word}`"),
    };
    let message = format!("the SQL {begins}; one of {} is expected", verbs.join(", "));
    Some(Issue::error(key, message))
}

/// The parameters in `sql`: the names of those in the form `:name`, the others whole.
pub(crate) fn parameters_of(sql: &str) -> Vec<&str> {
    tokens(sql)
        .into_iter()
        .filter(|token| token.kind == TokenKind::Parameter)
        .map(|token| token.text.strip_prefix(':').unwrap_or(token.text))
        .collect()
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
            ("a = @no AND b > ?1 OR $x OR ?", vec!["@no", "?1", "$x", "?"]),
            ("a < :cutoffé", vec!["cutoffé"]),
            ("a - b / c", vec![]),
            ("'unclosed :no", vec![]),
            ("x'3a6e6f' = a1:now", vec!["now"]),
        ] {
            assert_eq!(parameters_of(sql), names, "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost_but_gaps(sql in "[-a:'\"/* \\[\\]<é1x\n]{0,20}") {
            let mut after = 0;
            for token in tokens(&sql) {
                proptest::prop_assert!(token.at >= after && token.end() > token.at);
                after = token.end();
            }
            proptest::prop_assert!(after <= sql.len());
        }
    }
}
