//! Sends a message by mail. The only place that knows lettre.

use std::time::Duration;

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters, TlsVersion};
use lettre::{Message as Mail, SmtpTransport, Transport};

use super::Undelivered;
use crate::duplistatus::channels::{Protection, Smtp};
use crate::duplistatus::message::Message;

/// How long the mail server may take for each answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `message` to `recipient`; `id` becomes the Message-ID, so that a receiver can tell a repetition.
pub(super) fn send(smtp: &Smtp, recipient: &str, message: &Message, id: &str) -> Result<(), Undelivered> {
    let mail = write(smtp, recipient, message, id)
        .map_err(|error| Undelivered::new(format!("the mail cannot be written: {error}")))?;
    let transport =
        connect(smtp).map_err(|error| Undelivered::new(format!("the mail server cannot be used: {error}")))?;
    let server = format!("{}:{}", smtp.host, smtp.port);
    transport
        .send(&mail)
        .map(drop)
        .map_err(|error| Undelivered::new(format!("the mail server {server} did not take the mail: {error}")))
}

fn write(smtp: &Smtp, recipient: &str, message: &Message, id: &str) -> Result<Mail, Box<dyn std::error::Error>> {
    let mail = Mail::builder()
        .from(Mailbox::new(Some(smtp.sender_name.clone()), smtp.from.parse()?))
        .to(recipient.parse()?)
        .subject(message.title.clone())
        .message_id(Some(format!("<{id}@duplistatus-cron>")))
        .multipart(MultiPart::alternative_plain_html(
            message.text.clone(),
            to_html(&message.text),
        ))?;
    Ok(mail)
}

fn connect(smtp: &Smtp) -> Result<SmtpTransport, lettre::transport::smtp::Error> {
    // The application's mail servers are often in the same house, with certificates of their own: it does not
    // verify them, and a message that does not come is worse.
    let parameters = || {
        TlsParameters::builder(smtp.host.clone())
            .dangerous_accept_invalid_certs(true)
            .dangerous_accept_invalid_hostnames(true)
            .set_min_tls_version(TlsVersion::Tlsv12)
            .build_rustls()
    };
    let tls = match smtp.protection {
        Protection::Plain => Tls::None,
        Protection::StartTls => Tls::Required(parameters()?),
        Protection::Tls => Tls::Wrapper(parameters()?),
    };
    let builder = SmtpTransport::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .tls(tls)
        .timeout(Some(PATIENCE));
    Ok(match &smtp.credentials {
        Some((name, password)) => builder
            .credentials(Credentials::new(name.reveal().to_owned(), password.reveal().to_owned()))
            .build(),
        None => builder.build(),
    })
}

/// The text as HTML: links, line breaks, `**bold**` and `*italic*`. What could be read as a tag is not one.
fn to_html(text: &str) -> String {
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
            assert_eq!(to_html(text), html, "{text}");
        }
    }
}
