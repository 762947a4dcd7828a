//! Jobs of the kind `http`: what a server is asked, how its answer is judged, what is tried again, and what stays secret.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Service, Workplace, eventually};

/// A server that answers each request as told, the last answer again and again, and remembers what it was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What a server does with a request.
#[derive(Clone)]
enum Act {
    Answer(String),
    /// Nothing, for ever.
    Hang,
    /// Closes the connection in the middle of its answer.
    Break,
}

fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

impl Server {
    fn start(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, mut acts) = (Arc::<Mutex<Vec<String>>>::default(), acts.to_vec());
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                seen.lock().unwrap().push(read_request(&stream));
                let act = if acts.len() > 1 {
                    acts.remove(0)
                } else {
                    acts[0].clone()
                };
                match act {
                    Act::Answer(text) => drop(stream.write_all(text.as_bytes())),
                    Act::Break => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")),
                    Act::Hang => hanging.push(stream),
                }
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") && reader.read_line(&mut text).unwrap() > 0 {}
    let length = header(&text, "content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

fn header(request: &str, name: &str) -> Option<String> {
    let lines = request.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.to_owned())
}

/// A job that comes only when it is asked for.
fn job(id: &str, keys: &str, request: &str) -> String {
    format!("[jobs.{id}]\nschedule = \"@yearly\"\n{keys}\n[jobs.{id}.http]\n{request}\n")
}

/// A job that comes every second and is tried three times.
fn tried(id: &str, request: &str) -> String {
    format!(
        "[jobs.{id}]\nschedule = \"* * * * * *\"\nconcurrency_policy = \"forbid\"\nretry = {{ max_attempts = 3, backoff = \"20ms\" }}\n[jobs.{id}.http]\n{request}\n"
    )
}

fn run(service: &Service, job: &str) -> Value {
    service.post(&format!("/trigger/{job}"));
    let (_, list) = service.get(&format!("/api/schedules/executions?limit=1&job={job}"));
    let id = &list["executions"][0]["id"];
    service.get(&format!("/api/schedules/executions/{id}")).1
}

/// What a run says of itself.
fn said(run: &Value) -> String {
    let text = if run["error"].is_null() {
        &run["message"]
    } else {
        &run["error"]
    };
    text.as_str().unwrap().to_owned()
}

#[test]
fn a_server_is_asked_what_is_declared_and_secrets_stay_secret() {
    let server = Server::start(&[answer("200 OK", "", "welcome t0ken-of-the-job, dG9rZW4\nsecond line")]);
    let place = Workplace::new();
    let url = server.url();
    place.write(
        "jobs.toml",
        &(job("warm", "", &format!("url = \"{url}/tasks/warm?key=v4lue\"\nbearer = {{ env = \"TOKEN\" }}\nheaders = {{ Accept = \"application/json\", X-Api-Key = \"inline-k3y\" }}\njson = {{ job = \"warm\", deep = [1, 2] }}"))
            + &job("plain", "", "url = { env = \"URL\" }\nmethod = \"PUT\"\nbody = \"text\"\nbasic = { username = \"cron\", password = { env = \"TOKEN\" } }")),
    );
    let service = place
        .service()
        .env("TOKEN", "t0ken-of-the-job")
        .env("URL", &format!("{url}/ping/s3cret-path"))
        .start();
    let warm = run(&service, "warm");
    assert_eq!(warm["status"], "success", "{warm}");
    assert!(said(&warm).starts_with("200 OK in "), "{warm}");
    let figures = &warm["statistics"];
    assert_eq!((&figures["status"], &figures["bytes"]), (&json!(200), &json!(45)));
    assert_eq!(warm["output"], "welcome [secret], dG9rZW4\nsecond line\n");
    let asked = server.asked().remove(0);
    assert!(asked.starts_with("POST /tasks/warm?key=v4lue HTTP/1.1\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\n{\"deep\":[1,2],\"job\":\"warm\"}"), "{asked}");
    for (name, value) in [
        ("authorization", "Bearer t0ken-of-the-job"),
        ("x-api-key", "inline-k3y"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("x-cron-job", "warm"),
        ("x-cron-attempt", "1"),
        ("x-cron-scheduled-at", warm["scheduled_at"].as_str().unwrap()),
    ] {
        assert_eq!(header(&asked, name).as_deref(), Some(value), "{name}");
    }
    assert!(header(&asked, "idempotency-key").unwrap().starts_with("warm-1-"));
    let plain = run(&service, "plain");
    assert_eq!(plain["status"], "success", "{plain}");
    let asked = server.asked().remove(1);
    assert!(
        asked.starts_with("PUT /ping/s3cret-path ") && asked.ends_with("\r\n\r\ntext"),
        "{asked}"
    );
    assert_eq!(
        header(&asked, "authorization").as_deref(),
        Some("Basic Y3Jvbjp0MGtlbi1vZi10aGUtam9i")
    );
    let planned = place
        .command()
        .env("TOKEN", "t0ken-of-the-job")
        .env("URL", &url)
        .args(["plan"])
        .output()
        .unwrap();
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(
        planned.contains(&format!("would send POST {url}/tasks/warm?key=…, 27 bytes")),
        "{planned}"
    );
    assert!(planned.contains(&format!("would send PUT {url}, 4 bytes")), "{planned}");
    let everything = format!("{}{planned}{}", service.log().join("\n"), service.get("/api/config").1);
    for secret in ["t0ken-of-the-job", "inline-k3y", "s3cret-path"] {
        assert!(!everything.contains(secret), "{secret}: {everything}");
    }
    assert_eq!(server.asked().len(), 2, "a plan asks nothing");
}

#[test]
fn answers_are_judged_as_declared() {
    let big = "x".repeat(5000) + "ready";
    let acts = |act: Act| Server::start(&[act]);
    let other = Server::start(&[answer("200 OK", "", "here")]);
    let away = Server::start(&[answer(
        "302 Found",
        &format!(
            "Location: {}/login?token=t\r\n",
            other.url().replace("//", "//bob:p4ss@")
        ),
        "",
    )]);
    let far = acts(answer("302 Found", &format!("Location: {}/\r\n", other.url()), ""));
    let round = Server::start(&[
        answer("301 Moved", "Location: /here\r\n", ""),
        answer("200 OK", "", "here"),
    ]);
    let wrong = acts(answer("500 Internal Server Error", "", "\nout of order\nmore"));
    let moved = acts(answer("204 No Content", "", ""));
    let large = acts(answer("200 OK", "", &big));
    let broken = acts(Act::Break);
    let url = |server: &Server, more: &str| format!("url = \"{}/a\"\n{more}", server.url());
    let place = Workplace::new();
    let jobs = [
        (
            "wrong",
            url(&wrong, ""),
            "failed",
            "the server answered 500 Internal Server Error: out of order",
        ),
        (
            "wanted",
            url(&wrong, "expect = { status = [500] }"),
            "success",
            "500 Internal Server Error in ",
        ),
        (
            "ranges",
            url(&moved, "expect = { status = [\"200-204\"] }"),
            "success",
            "204 No Content in ",
        ),
        (
            "away",
            url(&away, ""),
            "failed",
            &format!(
                "the server redirects (302) to {}/login, which is not followed",
                other.url()
            ),
        ),
        (
            "far",
            url(&far, "redirects = 3"),
            "failed",
            &format!(
                "the server redirects to {}; only redirects to the same server are followed",
                other.url()
            ),
        ),
        (
            "round",
            url(&round, "redirects = 1\nexpect = { body_contains = \"here\" }"),
            "success",
            "200 OK in ",
        ),
        (
            "large",
            url(&large, "expect = { body_contains = \"ready\" }"),
            "success",
            "200 OK in ",
        ),
        (
            "cut",
            url(&large, "expect = { body_contains = \"ready\", max_body = \"1KiB\" }"),
            "failed",
            "the answer (200 OK) does not contain the expected text in its first 1KiB",
        ),
        ("broken", url(&broken, ""), "failed", "broke off"),
    ];
    let declared: String = jobs.iter().map(|(id, request, ..)| job(id, "", request)).collect();
    place.write("jobs.toml", &declared);
    let service = place.start();
    for (id, _, status, text) in &jobs {
        let ended = run(&service, id);
        assert_eq!(ended["status"], *status, "{ended}");
        assert!(said(&ended).contains(text), "{id}: {}", said(&ended));
        let kept = ended["output"].as_str().unwrap_or_default();
        assert!(kept.len() < 4200, "{id}: {} bytes", kept.len());
        if *id == "large" {
            assert!(kept.starts_with(&"x".repeat(4096)), "the start of it");
        }
    }
    assert!(round.asked()[1].starts_with("GET /here "));
    assert_eq!(other.asked().len(), 0, "nobody is asked whom a server names");
}

#[test]
fn what_may_pass_is_tried_again_with_the_same_key() {
    let busy = Server::start(&[
        answer("503 Service Unavailable", "Retry-After: 1\r\n", ""),
        answer("500 Internal Server Error", "", ""),
        answer("200 OK", "", ""),
    ]);
    let once = Server::start(&[answer("500 Internal Server Error", "", "")]);
    let asked_away = Server::start(&[answer("429 Too Many Requests", "Retry-After: 7200\r\n", "")]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Workplace::new();
    let url = |server: &Server| format!("url = \"{}/\"\nbody = \"x\"\n", server.url());
    place.write(
        "jobs.toml",
        &(tried("busy", &(url(&busy) + "idempotent = true"))
            + &tried("once", &url(&once))
            + &tried("later", &url(&asked_away))
            + &tried("nobody", &format!("url = \"http://127.0.0.1:{nobody}/\"\nbody = \"x\""))),
    );
    let service = place.start();
    let first = |job: &str| {
        eventually(&format!("{job} to end"), || {
            let (_, found) = service.get(&format!("/api/schedules/executions?job={job}"));
            let ended = found["executions"]
                .as_array()?
                .iter()
                .rev()
                .find(|run| !run["finished_at"].is_null() && run["status"] != "skipped")?;
            Some(ended.clone())
        })
    };
    let ended = first("busy");
    assert_eq!(
        (&ended["status"], &ended["attempts"]),
        (&json!("success"), &json!(3)),
        "{ended}"
    );
    assert!(
        ended["duration_ms"].as_i64().unwrap() >= 1000,
        "it waits as long as the server asks"
    );
    let asked = busy.asked();
    let keys: Vec<_> = asked[..3]
        .iter()
        .map(|request| header(request, "idempotency-key"))
        .collect();
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let attempts: Vec<_> = asked[..3]
        .iter()
        .filter_map(|request| header(request, "x-cron-attempt"))
        .collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    assert_eq!(first("once")["attempts"], 1, "the server may have acted on it");
    let later = first("later");
    assert_eq!(later["attempts"], 1, "{later}");
    assert_eq!(
        said(&later),
        "the server answered 429 Too Many Requests; it asks to wait 7200 s"
    );
    let nobody = first("nobody");
    assert_eq!(nobody["attempts"], 3, "{nobody}");
    assert!(said(&nobody).contains("Connection refused"), "{nobody}");
}

#[test]
fn a_server_that_hangs_holds_up_neither_the_run_nor_the_end() {
    let server = Server::start(&[Act::Hang]);
    let place = Workplace::new();
    let url = format!("url = \"{}/\"\n", server.url());
    place.write(
        "jobs.toml",
        &(job("short", "", &(url.clone() + "attempt_timeout = \"300ms\""))
            + &job("long", "timeout = \"500ms\"", &url)
            + &job("endless", "timeout = \"1h\"", &(url + "attempt_timeout = \"1h\""))
            + "[server]\nshutdown_grace = \"100ms\"\n"),
    );
    let service = place.start();
    assert!(said(&run(&service, "short")).contains("timeout"));
    let began = Instant::now();
    let ended = run(&service, "long");
    assert_eq!(
        (&ended["status"], said(&ended).as_str()),
        (&json!("timed_out"), "timed out after 500ms; the request was cut off")
    );
    service.post("/trigger/endless?wait=false");
    eventually("the third request", || (server.asked().len() == 3).then_some(()));
    assert_eq!(service.terminate().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "nothing waits for the hour");
}

#[test]
fn a_run_that_repeats_one_which_was_cut_off_has_its_key() {
    let server = Server::start(&[Act::Hang, Act::Hang, answer("200 OK", "", "")]);
    let place = Workplace::new();
    let declared = tried("once", &format!("url = \"{}/\"\nbody = \"x\"", server.url()));
    place.write(
        "jobs.toml",
        &declared.replace("concurrency_policy", "on_interrupt = \"rerun\"\nconcurrency_policy"),
    );
    for requests in [1, 2] {
        let service = place.start();
        eventually("a request", || (server.asked().len() == requests).then_some(()));
        service.kill();
    }
    let service = place.start();
    eventually("the third request", || (server.asked().len() >= 3).then_some(()));
    let keys: Vec<_> = server
        .asked()
        .iter()
        .filter_map(|request| header(request, "idempotency-key"))
        .collect();
    assert_eq!((&keys[0], &keys[0]), (&keys[1], &keys[2]), "{keys:?}");
    eventually("other runs", || (server.asked().len() >= 4).then_some(()));
    let last = server.asked().pop().unwrap();
    assert_ne!(
        header(&last, "idempotency-key").as_ref(),
        Some(&keys[0]),
        "the next time is another one"
    );
    service.terminate();
}

/// A server behind a certificate of its own, ended with the test.
struct Tls(Child, u16);

impl Tls {
    fn start(place: &Workplace) -> Self {
        place.write("extensions", "subjectAltName = DNS:localhost\n");
        for arguments in [
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
            "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out leaf.csr",
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out leaf.pem",
        ] {
            let made = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(place.path())
                .output();
            let made = made.expect("openssl is missing; tests/run installs it");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let script = "import http.server, ssl\n\
            server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n\
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain('leaf.pem', 'key.pem')\n\
            server.socket = context.wrap_socket(server.socket, server_side=True)\n\
            print(server.server_port, flush=True); server.serve_forever()\n";
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .current_dir(place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self(child, line.trim().parse().unwrap())
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn certificates_are_checked_against_the_system_and_the_declared_ones() {
    let place = Workplace::new();
    let server = Tls::start(&place);
    let url = format!("url = \"https://localhost:{}/jobs.toml\"\n", server.1);
    place.write(
        "jobs.toml",
        &(tried("unknown", &url)
            + &job("known", "", &(url.clone() + "ca_file = \"ca.pem\""))
            + &job("any", "", &(url + "insecure = true"))),
    );
    let service = place.start();
    assert_eq!(run(&service, "known")["status"], "success");
    assert_eq!(run(&service, "any")["status"], "success");
    let refused = eventually("the other one", || {
        let (_, found) = service.get("/api/schedules/executions?job=unknown&status=failed");
        found["executions"].as_array()?.last().cloned()
    });
    assert!(said(&refused).contains("certificate"), "{refused}");
    assert_eq!(refused["attempts"], 1, "another attempt would be in vain");
}

#[test]
fn what_cannot_be_asked_is_told_before() {
    let place = Workplace::new();
    let good = "url = \"https://example.org/\"\n";
    for (request, error) in [
        (
            "url = \"example.org\"",
            "an address that begins with https:// or http:// is expected",
        ),
        (
            "url = \"https://u:p@example.org/\"",
            "a user or password in the address would be shown",
        ),
        (&(good.to_owned() + "method = \"FETCH\""), "one of GET, HEAD, POST"),
        (
            &(good.to_owned() + "method = \"GET\"\nbody = \"x\""),
            "a GET request has no body",
        ),
        (
            &(good.to_owned() + "body = \"x\"\njson = 1"),
            "declare `body` or `json`, not both",
        ),
        (
            &(good.to_owned() + "body = \"x\"\nredirects = 1"),
            "only the redirects of a GET or HEAD request can be followed",
        ),
        (
            &(good.to_owned() + "bearer = \"b\"\nbasic = { username = \"u\", password = \"p\" }"),
            "not both",
        ),
        (
            &(good.to_owned() + "headers = { \"a b\" = \"c\" }"),
            "`a b` cannot be set as a header",
        ),
        (
            &(good.to_owned() + "headers = { a = \"b\\r\\nc: d\" }"),
            "the value of `a` cannot stand in a header",
        ),
        (
            &(good.to_owned() + "headers = { Content-Length = \"0\" }"),
            "`Content-Length` cannot be set as a header",
        ),
        (
            &(good.to_owned() + "expect = { status = [\"2x\"] }"),
            "`2x` is no status",
        ),
        (
            &(good.to_owned() + "expect = { status = [] }"),
            "every answer would be a failure",
        ),
        (
            &(good.to_owned() + "expect = { max_body = \"1GiB\" }"),
            "at most 64MiB of an answer are read",
        ),
    ] {
        let (code, text) = place.validate(&job("j", "", request));
        assert!(code == 2 && text.contains(error), "{request}: {text}");
    }
    for (request, warning) in [
        (
            "url = \"http://example.org/\"\nbearer = \"secret-token\"",
            "the credentials are sent unencrypted",
        ),
        (
            &(good.to_owned() + "insecure = true"),
            "anyone on the way can read and change what is sent",
        ),
        (&(good.to_owned() + "ca_file = \"none.pem\""), "none.pem cannot be read"),
        (
            &(good.to_owned() + "ca_file = \"jobs.toml\""),
            "jobs.toml holds no certificate in PEM format",
        ),
    ] {
        let (code, text) = place.validate(&job("j", "", request));
        assert!(code == 0 && text.contains(warning), "{request}: {text}");
    }
}
