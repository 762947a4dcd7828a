//! Declared SQL as PostgreSQL cuts it, which is not as SQLite does: `::` casts, dollar quotes, nested comments. Named
//! parameters become numbered ones, which are all that the server knows.

use std::fmt::Write as _;

/// A piece of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// Blanks and comments.
    Gap,
    /// A keyword or a name.
    Word,
    /// A text or a name in quotes.
    Quoted,
    /// `:name`
    Named,
    /// `$1`
    Numbered,
    /// Anything else.
    Symbol,
}

/// A statement whose parameters are numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub sql: String,
    /// The name of each parameter, the first one's first.
    pub names: Vec<String>,
    /// Where a parameter ends, in bytes: here, and in the declared text.
    ends: Vec<(usize, usize)>,
}

impl Statement {
    /// Numbers the parameters of `sql`.
    pub(super) fn of(sql: &str) -> Self {
        let mut statement = Self {
            sql: String::with_capacity(sql.len()),
            names: Vec::new(),
            ends: Vec::new(),
        };
        let mut at = 0;
        for (piece, text) in pieces(sql) {
            at += text.len();
            if piece != Piece::Named {
                statement.sql.push_str(text);
                continue;
            }
            let name = &text[1..];
            let known = statement.names.iter().position(|known| known == name);
            let number = known.unwrap_or_else(|| {
                statement.names.push(name.to_owned());
                statement.names.len() - 1
            });
            let _ = write!(statement.sql, "${}", number + 1);
            statement.ends.push((statement.sql.len(), at));
        }
        statement
    }

    /// Where in the declared text the character of that number is, from 1, in bytes from 0.
    pub(super) fn declared_at(&self, position: usize) -> usize {
        let mut characters = self.sql.char_indices().map(|(at, _)| at);
        let at = characters.nth(position.saturating_sub(1)).unwrap_or(self.sql.len());
        let before = self.ends.iter().rev().find(|(end, _)| *end <= at);
        before.map_or(at, |(end, declared)| declared + (at - end))
    }
}

/// The names of the parameters in `sql`, and numbered ones as they are.
pub(crate) fn names_of_parameters(sql: &str) -> Vec<&str> {
    pieces(sql)
        .filter_map(|(piece, text)| match piece {
            Piece::Named => Some(&text[1..]),
            Piece::Numbered => Some(text),
            _ => None,
        })
        .collect()
}

/// The words of `sql`, keywords and names alike.
pub(super) fn words(sql: &str) -> impl Iterator<Item = &str> {
    pieces(sql).filter_map(|(piece, text)| (piece == Piece::Word).then_some(text))
}

/// What in `sql` may be a function of any kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Functions {
    /// Names that a bracket follows.
    pub bracketed: Vec<String>,
    /// Other names, which may be functions of a row.
    pub bare: Vec<String>,
    /// Operators.
    pub operators: Vec<String>,
}

/// Whatever may be a function in `sql`.
pub(super) fn called(sql: &str) -> Functions {
    const OF_OPERATORS: &str = "+-*/<>=~!@#%^&|`?";
    let solid: Vec<(Piece, &str)> = pieces(sql).filter(|(piece, _)| *piece != Piece::Gap).collect();
    let mut found = Functions::default();
    for (index, (piece, text)) in solid.iter().enumerate() {
        let name = match piece {
            Piece::Word => text.to_lowercase(),
            Piece::Quoted if text.starts_with('"') => text.trim_matches('"').replace("\"\"", "\""),
            _ => continue,
        };
        let is_called = solid.get(index + 1).is_some_and(|(_, next)| *next == "(");
        if is_called {
            &mut found.bracketed
        } else {
            &mut found.bare
        }
        .push(name);
    }
    let mut operator = String::new();
    for (piece, text) in pieces(sql).chain([(Piece::Gap, "")]) {
        if piece == Piece::Symbol && text.chars().all(|c| OF_OPERATORS.contains(c)) {
            operator += text;
        } else if !operator.is_empty() {
            found.operators.push(std::mem::take(&mut operator));
        }
    }
    found
}

/// Whether a text in `sql` stands for the time of the statement, such as 'now'.
pub(super) fn names_a_moment(sql: &str) -> bool {
    const MOMENTS: &[&str] = &["now", "today", "tomorrow", "yesterday"];
    let texts = pieces(sql).filter(|(piece, text)| *piece == Piece::Quoted && !text.starts_with('"'));
    texts
        .map(|(_, text)| text.to_lowercase())
        .any(|text| MOMENTS.iter().any(|moment| text.contains(moment)))
}

/// The word at a place, for showing it.
pub(super) fn word_at(sql: &str, at: usize) -> &str {
    let mut end = 0;
    for (_, text) in pieces(sql) {
        end += text.len();
        if end > at {
            return text;
        }
    }
    ""
}

/// Why `sql` is not one statement, where a `;` stands in it.
pub(crate) fn refuse_semicolon(sql: &str) -> Option<&'static str> {
    let has_one = pieces(sql).any(|(piece, text)| piece == Piece::Symbol && text == ";");
    has_one.then_some("`;` ends a statement; one statement without it is expected here")
}

/// Cuts `sql` into its pieces, of which nothing is lost.
fn pieces(sql: &str) -> impl Iterator<Item = (Piece, &str)> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (piece, length) = piece(rest, first);
        let (text, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some((piece, text))
    })
}

fn piece(rest: &str, first: char) -> (Piece, usize) {
    let second = rest[first.len_utf8()..].chars().next();
    match (first, second) {
        ('-', Some('-')) => (Piece::Gap, rest.find('\n').map_or(rest.len(), |at| at + 1)),
        ('/', Some('*')) => (Piece::Gap, length_of_comment(rest)),
        ('\'' | '"', _) => (Piece::Quoted, length_of_quoted(rest, 0, first, false)),
        ('e' | 'E', Some('\'')) => (Piece::Quoted, length_of_quoted(rest, 1, '\'', true)),
        ('$', Some('0'..='9')) => {
            let digits = rest[1..].find(|c: char| !c.is_ascii_digit());
            (Piece::Numbered, digits.map_or(rest.len(), |at| at + 1))
        }
        ('$', _) => length_of_dollar_quoted(rest).map_or((Piece::Symbol, 1), |length| (Piece::Quoted, length)),
        (':', Some(':' | '=')) => (Piece::Symbol, 2),
        (':', Some(next)) if next.is_alphabetic() || next == '_' => (Piece::Named, 1 + length_of_word(&rest[1..])),
        _ if first.is_whitespace() => {
            let end = rest.find(|c: char| !c.is_whitespace());
            (Piece::Gap, end.unwrap_or(rest.len()))
        }
        _ if is_of_word(first) => (Piece::Word, length_of_word(rest)),
        _ => (Piece::Symbol, first.len_utf8()),
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

fn length_of_word(rest: &str) -> usize {
    rest.find(|c| !is_of_word(c)).unwrap_or(rest.len())
}

/// Comments stand in each other.
fn length_of_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// How long what begins with `quote` at `start` is, where one inside is doubled, or escaped.
fn length_of_quoted(rest: &str, start: usize, quote: char, has_escapes: bool) -> usize {
    let mut at = start + 1;
    while let Some(next) = rest[at.min(rest.len())..].chars().next() {
        if has_escapes && next == '\\' {
            at += 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8);
        } else if next == quote {
            at += 1;
            if !rest[at..].starts_with(quote) {
                return at;
            }
            at += 1;
        } else {
            at += next.len_utf8();
        }
    }
    rest.len()
}

/// How long `$tag$ … $tag$` is.
fn length_of_dollar_quoted(rest: &str) -> Option<usize> {
    let end = 1 + rest[1..].find('$')?;
    let tag = &rest[..=end];
    let is_tag = tag[1..end].chars().all(|c| c.is_alphanumeric() || c == '_');
    is_tag.then(|| {
        let body = &rest[tag.len()..];
        body.find(tag).map_or(rest.len(), |at| 2 * tag.len() + at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_where_postgresql_would_find_them() {
        for (sql, numbered, names) in [
            ("a < :cutoff AND b = :job", "a < $1 AND b = $2", vec!["cutoff", "job"]),
            ("a < :now AND b > :now", "a < $1 AND b > $1", vec!["now"]),
            (
                "a = ':no' OR \":no\" = b::date -- :no",
                "a = ':no' OR \":no\" = b::date -- :no",
                vec![],
            ),
            (
                "/* /* :no */ :no */ a = :now",
                "/* /* :no */ :no */ a = $1",
                vec!["now"],
            ),
            (
                "$$ :no $$ = $t$ :no $$ $t$ || :job",
                "$$ :no $$ = $t$ :no $$ $t$ || $1",
                vec!["job"],
            ),
            (r"E'\' :no' = :job", r"E'\' :no' = $1", vec!["job"]),
            ("f(a := 1, b => :now::date)", "f(a := 1, b => $1::date)", vec!["now"]),
            ("'unclosed :no", "'unclosed :no", vec![]),
        ] {
            let statement = Statement::of(sql);
            assert_eq!(statement.sql, numbered, "{sql}");
            assert_eq!(statement.names, names, "{sql}");
        }
        assert_eq!(names_of_parameters("a = $1 AND b = :now"), ["$1", "now"]);
        assert!(refuse_semicolon("a = ';'").is_none() && refuse_semicolon("a; b").is_some());
    }

    #[test]
    fn a_place_is_found_in_the_declared_text() {
        let sql = "é < :cutoff AND :job = wrong";
        let statement = Statement::of(sql);
        let position = statement.sql.chars().position(|c| c == 'w').unwrap() + 1;
        let at = statement.declared_at(position);
        assert_eq!(word_at(sql, at), "wrong");
        assert_eq!(word_at(sql, statement.declared_at(1)), "é");
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(sql in "[-a:'\"/*$ eE\\\\;é1\n]{0,24}") {
            let all: String = pieces(&sql).map(|(_, text)| text).collect();
            proptest::prop_assert_eq!(&all, &sql);
            let _ = (Statement::of(&sql), names_of_parameters(&sql));
        }
    }
}
