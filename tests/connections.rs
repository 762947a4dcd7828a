//! Clients that use a connection for several requests, as browsers, Node and Python do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::support::Workplace;

/// Reads one answer, to the end of its body and no further; gives its head.
fn read_one(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap()
        .parse()
        .unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Some(head)
}

#[test]
fn a_connection_is_kept_for_whoever_asks_and_says_so_when_it_ends() {
    let place = Workplace::new();
    let service = place.start();
    let mut stream = service.connect();
    for number in 1..=100 {
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        let head = read_one(&mut stream).expect("an answer");
        let (expected, other) = ("Connection: keep-alive", "Connection: close");
        let expected = if number < 100 { expected } else { other };
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains(expected),
            "{number}: {head}"
        );
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it has ended");
    for request in [
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert!(
            service.raw(request.as_bytes()).contains("\r\nConnection: close\r\n"),
            "{request}"
        );
    }
    // Two requests at once, the second with a body.
    let mut stream = service.connect();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\nPOST /stop/none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
        .unwrap();
    assert!(read_one(&mut stream).unwrap().starts_with("HTTP/1.1 200"));
    assert!(read_one(&mut stream).unwrap().starts_with("HTTP/1.1 404"));
}

#[test]
fn idle_connections_keep_nobody_out() {
    let place = Workplace::new();
    let service = place.start();
    let idle: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = service.connect();
            // A body that comes later than its head.
            stream
                .write_all(b"POST /stop/none HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n")
                .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
            stream.write_all(b"12345").unwrap();
            read_one(&mut stream).expect("an answer");
            stream
        })
        .collect();
    assert_eq!(service.get("/health").0, 200);
    drop(idle);
}

#[test]
fn a_python_client_reuses_its_connection_without_an_error() {
    let place = Workplace::new();
    let service = place.start();
    let script = format!(
        "import http.client\nc = http.client.HTTPConnection('localhost', {})\nfor headers in ({{}}, {{'Connection': 'keep-alive'}}):\n    for i in range(50):\n        c.request('GET', '/health', headers=headers)\n        r = c.getresponse()\n        r.read()\n        assert r.status == 200\nprint('fine')",
        service.port
    );
    let output = Command::new("/usr/bin/python3").args(["-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "fine\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
