//! The text of a message as HTML, for mails.

/// The text as HTML: links, line breaks, `**bold**` and `*italic*`. What could be read as a tag is not one.
pub(super) fn of(text: &str) -> String {
    let text = text.replace('<', "&lt;").replace('>', "&gt;");
    let lines: Vec<String> = link(&text)
        .split('\n')
        .map(|line| mark(&mark(line, "**", "strong"), "*", "em"))
        .collect();
    lines.join("<br>")
}

/// Makes every address a link.
fn link(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some(at) = ["http://", "https://"]
        .iter()
        .filter_map(|scheme| rest.find(scheme))
        .min()
    {
        let (before, address) = rest.split_at(at);
        let end = address
            .find(|c: char| c.is_whitespace() || c == '<' || c == '>')
            .unwrap_or(address.len());
        let (address, after) = address.split_at(end);
        let quoted = address.replace('"', "%22");
        html.push_str(before);
        html.push_str(&format_link(&quoted));
        rest = after;
    }
    html + rest
}

fn format_link(address: &str) -> String {
    format!("<a href=\"{address}\" target=\"_blank\">{address}</a>")
}

/// Puts what stands between two `sign`s into an element.
fn mark(line: &str, sign: &str, element: &str) -> String {
    let mut html = String::new();
    let mut rest = line;
    while let Some((before, (inside, after))) = rest
        .split_once(sign)
        .and_then(|(before, rest)| Some((before, rest.split_once(sign)?)))
    {
        html.extend([before, "<", element, ">", inside, "</", element, ">"]);
        rest = after;
    }
    html + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_html_and_never_tags_of_others() {
        for (text, html) in [
            ("a\nb", "a<br>b"),
            ("**bold** *it* **x", "<strong>bold</strong> <em>it</em> <em></em>x"),
            (
                "see https://x.example/a?b=c.",
                "see <a href=\"https://x.example/a?b=c.\" target=\"_blank\">https://x.example/a?b=c.</a>",
            ),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            (
                "http://x/\"onclick=y",
                "<a href=\"http://x/%22onclick=y\" target=\"_blank\">http://x/%22onclick=y</a>",
            ),
        ] {
            assert_eq!(of(text), html, "{text}");
        }
    }
}
