//! Requests made to bring the service down. It must answer /health afterwards, and stay small.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::{Service, Workplace, eventually};

/// By how much the process may grow in an attack.
const MOST_KB: u64 = 6 * 1024;

fn service() -> (Workplace, Service) {
    let place = Workplace::new();
    let service = place.start();
    (place, service)
}

/// The service answers, once the seats that an attack holds are free again, and has not grown.
fn is_well(service: &Service) {
    eventually("an answer after the attack", || {
        let answer =
            service.send(format!("GET /health HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", service.port).as_bytes());
        answer.filter(|(status, _)| *status == 200)
    });
    let grown = service.grown();
    assert!(grown < MOST_KB, "{grown} kB");
}

fn status_of(service: &Service, request: &str) -> Option<u16> {
    service.send(request.as_bytes()).map(|(status, _)| status)
}

#[test]
fn a_body_that_is_announced_and_never_sent() {
    let (_place, service) = service();
    for length in [
        "100000000000",
        "1000000000000000",
        "18446744073709551615",
        "99999999999999999999999",
    ] {
        let request =
            format!("POST /trigger/session-cleanup HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        assert_eq!(status_of(&service, &request), Some(413), "{length}");
    }
    let mut waiting = service.connect();
    waiting
        .write_all(b"POST /trigger/session-cleanup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
        .unwrap();
    assert_eq!(service.get("/health").0, 200, "another client is answered meanwhile");
    is_well(&service);
}

#[test]
fn requests_that_are_sent_and_reset_by_the_thousand() {
    let (_place, service) = service();
    let request = format!("GET /health HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", service.port);
    for _ in 0..3000 {
        let mut stream = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
        let _ = stream.write_all(request.as_bytes());
        // Unread data at the time of closing makes it a reset.
        drop(stream);
    }
    is_well(&service);
}

#[test]
fn half_open_connections_by_the_thousand() {
    let (_place, service) = service();
    let mut open = Vec::new();
    for _ in 0..900 {
        let mut stream = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
        let _ = stream.write_all(b"GET /health HT");
        open.push(stream);
    }
    is_well(&service);
}

#[test]
fn a_process_without_free_descriptors() {
    let place = Workplace::new();
    // So few that the service's own work is at the edge as well.
    let service = place.service().limited("ulimit -n 48").start();
    for _ in 0..5 {
        let mut open = Vec::new();
        for _ in 0..200 {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", service.port)) else {
                continue;
            };
            let _ = stream
                .write_all(format!("GET /health HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", service.port).as_bytes());
            open.push(stream);
        }
    }
    is_well(&service);
    assert_eq!(service.post("/trigger/session-cleanup").0, 200);
}

#[test]
fn heads_without_end() {
    let (_place, service) = service();
    let mut stream = service.connect();
    let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ");
    let block = vec![b'a'; 1 << 20];
    let mut sent = 0;
    while sent < 100 && stream.write_all(&block).is_ok() {
        sent += 1;
    }
    assert!(sent < 100, "the service took {sent} MB of a head");
    let many = "A: b\r\n".repeat(500);
    assert_eq!(
        status_of(
            &service,
            &format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")
        ),
        Some(431)
    );
    is_well(&service);
}

#[test]
fn a_request_smuggled_in_a_body_of_chunks() {
    let (place, service) = service();
    place.audit("2020-01-01 00:00:00", "old");
    let hidden = "POST /trigger/audit-log-cleanup HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let request = format!(
        "POST /start/session-cleanup HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    assert_eq!(status_of(&service, &request), Some(411));
    let request = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"
    );
    assert_eq!(status_of(&service, &request), Some(411));
    is_well(&service);
    assert_eq!(place.count("audit_log"), 1, "nothing was cleaned up");
}

#[test]
fn requests_one_behind_the_other_on_one_connection() {
    let (place, service) = service();
    place.audit("2020-01-01 00:00:00", "old");
    let mut stream = service.connect();
    let first = format!("GET /health HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", service.port);
    let second = format!(
        "POST /trigger/audit-log-cleanup HTTP/1.1\r\nHost: localhost:{}\r\n\r\n",
        service.port
    );
    let _ = stream.write_all(format!("{first}{}", second.repeat(2000)).as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = String::new();
    let _ = stream.read_to_string(&mut answers);
    assert!(answers.matches("HTTP/1.1 ").count() <= 1, "one connection, one answer");
    is_well(&service);
    assert_eq!(place.count("audit_log"), 1, "nothing was cleaned up");
}

#[test]
fn a_client_that_sends_nothing_is_told_so_in_time() {
    let (_place, service) = service();
    let mut stream = service.connect();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn bytes_that_are_no_request() {
    let (_place, service) = service();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        &[0xff; 64],
    ] {
        let mut stream = service.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    is_well(&service);
}
