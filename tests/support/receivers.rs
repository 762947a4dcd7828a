//! Servers that receive messages, and remember what they got.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

type Received = Arc<Mutex<Vec<Value>>>;

/// A server that answers as told and remembers requests.
pub(crate) struct Ntfy {
    pub port: u16,
    received: Received,
    answer: Arc<Mutex<String>>,
    /// Held while no request is answered.
    pub gate: Arc<Mutex<()>>,
}

impl Ntfy {
    pub(crate) fn start(status: u16) -> Self {
        let (port, received, answer) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            Received::default(),
            Arc::default(),
        );
        let ntfy = Self {
            port: port.local_addr().unwrap().port(),
            received: Arc::clone(&received),
            answer: Arc::clone(&answer),
            gate: Arc::default(),
        };
        ntfy.answer_with(status, "");
        let gate = Arc::clone(&ntfy.gate);
        std::thread::spawn(move || {
            for stream in port.incoming().map_while(Result::ok) {
                let (received, answer, gate) = (Arc::clone(&received), Arc::clone(&answer), Arc::clone(&gate));
                std::thread::spawn(move || serve_http(stream, &received, &answer, &gate));
            }
        });
        ntfy
    }

    /// Changes what every request is answered with; `headers` end with a line break each.
    pub(crate) fn answer_with(&self, status: u16, headers: &str) {
        let body = match status {
            200 => json!({ "id": "x" }),
            429 => json!({ "code": 42901, "http": 429, "error": "limit reached" }),
            _ => json!({ "error": "no" }),
        };
        self.answer(status, headers, &body.to_string());
    }

    /// Changes what every request is answered with, down to the body.
    pub(crate) fn answer_body(&self, status: u16, body: &str) {
        self.answer(status, "", body);
    }

    fn answer(&self, status: u16, headers: &str, body: &str) {
        *self.answer.lock().unwrap() = format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }

    /// What came in so far, in a fixed order.
    pub(crate) fn received(&self) -> Vec<Value> {
        sorted(&self.received)
    }

    /// What came in so far, as it came.
    pub(crate) fn in_order(&self) -> Vec<Value> {
        self.received.lock().unwrap().clone()
    }
}

fn sorted(received: &Received) -> Vec<Value> {
    let mut received = received.lock().unwrap().clone();
    received.sort_by_key(ToString::to_string);
    received
}

fn serve_http(mut stream: TcpStream, received: &Received, answer: &Mutex<String>, gate: &Mutex<()>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization, mut content_type) = (0, Value::Null, Value::Null);
    let mut extra = serde_json::Map::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => authorization = value.into(),
            "content-type" => content_type = value.into(),
            name if name.starts_with("x-") && name != "x-sequence-id" => {
                extra.insert(name.to_owned(), value.into());
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut request = json!({
        "path": path, "authorization": authorization, "content_type": content_type, "body": String::from_utf8(body).unwrap(),
    });
    request.as_object_mut().unwrap().extend(extra);
    received.lock().unwrap().push(request);
    drop(gate.lock());
    let answer = answer.lock().unwrap().clone();
    let _ = stream.write_all(answer.as_bytes());
}

/// A mail server that takes everything and remembers mails.
pub(crate) struct Smtp {
    pub port: u16,
    received: Received,
}

impl Smtp {
    pub(crate) fn start() -> Self {
        Self::with_fault("")
    }

    /// One that refuses the recipient (`RCPT`) or hangs up in the middle of a mail (`DATA`).
    pub(crate) fn with_fault(fault: &'static str) -> Self {
        let (listener, received) = (TcpListener::bind("127.0.0.1:0").unwrap(), Received::default());
        let smtp = Self {
            port: listener.local_addr().unwrap().port(),
            received: Arc::clone(&received),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let received = Arc::clone(&received);
                std::thread::spawn(move || serve_smtp(stream, &received, fault));
            }
        });
        smtp
    }

    /// What came in so far, in a fixed order.
    pub(crate) fn received(&self) -> Vec<Value> {
        sorted(&self.received)
    }
}

fn serve_smtp(mut stream: TcpStream, received: &Received, fault: &str) {
    let reader = BufReader::new(stream.try_clone().unwrap());
    let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).is_ok();
    say("220 test");
    let (mut from, mut recipients, mut data) = (String::new(), Vec::new(), None::<String>);
    for line in reader.lines().map_while(Result::ok) {
        if let Some(text) = &mut data {
            if line == "." {
                received.lock().unwrap().push(describe(&from, &recipients, text));
                data = None;
                recipients.clear();
                say("250 ok");
            } else {
                text.push_str(line.strip_prefix('.').unwrap_or(&line));
                text.push_str("\r\n");
            }
            continue;
        }
        let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "MAIL" => from = address(),
            "RCPT" => recipients.push(address()),
            "DATA" => data = Some(String::new()),
            _ => {}
        }
        let going_on = match &line[..4.min(line.len())] {
            "RCPT" if fault == "RCPT" => say("550 no such user"),
            "DATA" if fault == "DATA" => {
                say("354 go on");
                return;
            }
            "DATA" => say("354 go on"),
            "QUIT" => say("221 bye"),
            _ => say("250 ok"),
        };
        if !going_on {
            return;
        }
    }
}

/// A mail as a recording writes it.
fn describe(from: &str, recipients: &[String], raw: &str) -> Value {
    let mail = mail_parser::MessageParser::default().parse(raw.as_bytes()).unwrap();
    let name = |address: Option<&mail_parser::Address<'_>>| -> String {
        let first = address.unwrap().first().unwrap();
        let address = first.address().unwrap();
        first
            .name()
            .map_or_else(|| address.to_owned(), |name| format!("{name} <{address}>"))
    };
    json!({
        "mail_from": from, "rcpt": recipients, "subject": mail.subject().unwrap(),
        "from": name(mail.from()), "to": name(mail.to()),
        "parts": { "text/plain": mail.body_text(0).unwrap(), "text/html": mail.body_html(0).unwrap() },
    })
}

/// A real mail server, which wants TLS and a login; its certificate is its own.
pub(crate) struct GuardedSmtp {
    process: std::process::Child,
    pub port: u16,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl GuardedSmtp {
    /// Starts one; `mode` is starttls or tls.
    pub(crate) fn start(folder: &std::path::Path, mode: &str, name: &str, password: &str) -> Self {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let created = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=mail.test",
                "-keyout",
            ])
            .args([key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
            .output()
            .expect("openssl is missing; tests/run installs it");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/smtp_server.py");
        let mut process = Command::new("/usr/bin/python3")
            .args([
                script.as_ref(),
                mode.as_ref(),
                certificate.as_os_str(),
                key.as_os_str(),
                name.as_ref(),
                password.as_ref(),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines
            .next()
            .expect("python3-aiosmtpd is missing; tests/run installs it")
            .unwrap()
            .parse()
            .unwrap();
        Self { process, port, lines }
    }

    /// The next mail it took.
    pub(crate) fn mail(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for GuardedSmtp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
