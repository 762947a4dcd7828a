//! A declaration as it is kept for a start at which it is broken: without its secrets and its comments, which may hold
//! old ones.

use super::text::Text;

/// What stands in the place of a secret.
pub(super) const NOT_KEPT: &str = "not_kept";

/// The text of a declaration without what may be a secret.
pub(crate) fn without_secrets(text: &str) -> String {
    let text = without_comments(text);
    let mut secrets = Text::parse(text.clone()).text.not_to_be_kept();
    secrets.sort_by_key(|range| std::cmp::Reverse(range.start));
    let mut kept = text;
    for range in secrets {
        kept.replace_range(range, &format!("{{ {NOT_KEPT} = true }}"));
    }
    kept
}

/// The text without its comments, every line staying where it is.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '"' | '\'' => length_of_text(rest, first),
            other => other.len_utf8(),
        };
        kept.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    kept
}

/// How long the text in quotes is that `rest` begins with.
fn length_of_text(rest: &str, quote: char) -> usize {
    let long = quote.to_string().repeat(3);
    let end = if rest.starts_with(&long) {
        long.as_str()
    } else {
        &long[..1]
    };
    let mut at = end.len();
    while at < rest.len() {
        // What is escaped ends nothing; in single quotes, nothing is.
        if quote == '"' && rest[at..].starts_with('\\') {
            at += 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8);
        } else if rest[at..].starts_with(end) {
            // More quotes than three belong to the text.
            let after = &rest[at + end.len()..];
            let more = after.chars().take_while(|c| *c == quote).count();
            return at + end.len() + if end.len() == 3 { more } else { 0 };
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_comments_are_left_out_and_the_rest_stays_where_it_is() {
        let text = r#"# old: token = "s3cret-old"
[notifications.a]   # s3cret
ntfy = { topic = "t # no comment", token = "s3cret-1" }
[notifications.b]
webhook = { url = """https://x/s3cret""", headers = { A = 's3cret', B = { env = "NAME" } } }
[jobs.j.cleanup]
where = '''a # b \''' # s3cret
"#;
        let kept = without_secrets(text);
        assert!(!kept.contains("s3cret"), "{kept}");
        for part in [
            "t # no comment",
            "{ env = \"NAME\" }",
            "where = '''a # b \\'''",
            "token = { not_kept = true }",
        ] {
            assert!(kept.contains(part), "{part} in {kept}");
        }
        assert_eq!(kept.lines().count(), text.lines().count());
    }
}
