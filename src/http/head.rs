//! The head of a request, read strictly: what is doubtful is refused, so that two programs in a row cannot read it
//! differently.

/// The longest head.
pub(super) const LONGEST_HEAD: usize = 8 * 1024;
/// The longest body.
pub(super) const LONGEST_BODY: usize = 64 * 1024;
/// The longest one of those who tell of many commits at once.
const LONGEST_OF_HOOKS: usize = 256 * 1024;
const MOST_HEADERS: usize = 48;

/// Headers that speak of one connection only, or that the next server must not see.
const DROPPED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "content-length",
];

/// A head that is good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// How many bytes of what was read belong to it.
    pub length: usize,
    pub body: usize,
    /// The same head as the inner server is to get it.
    pub forwarded: Vec<u8>,
    /// Whether the client wants to send further requests by the same connection.
    pub keeps_alive: bool,
}

/// Why a request is refused: a status and a sentence.
pub(super) type Refused = (u16, &'static str);

/// Reads the head at the start of `read`; `None` when more must be read first.
pub(super) fn parse(read: &[u8]) -> Result<Option<Head>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(read) {
        Ok(httparse::Status::Complete(length)) if length <= LONGEST_HEAD => length,
        Ok(httparse::Status::Partial) if read.len() < LONGEST_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err((431, "the head is too large")),
        Err(_) => return Err((400, "this is not an HTTP request")),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err((400, "this is not an HTTP request"));
    };
    if !target.starts_with('/') || !target.is_ascii() {
        return Err((400, "the request target must be a path"));
    }
    let longest = if target.starts_with("/hooks/") {
        LONGEST_OF_HOOKS
    } else {
        LONGEST_BODY
    };
    let body = check_headers(request.headers, longest)?;
    // Only for those who ask, and ask for nothing else: many a small client reads until the end of the connection.
    let mut asked = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .peekable();
    let keeps_alive = request.version == Some(1)
        && asked.peek().is_some()
        && asked.all(|header| header.value.eq_ignore_ascii_case(b"keep-alive"));
    let mut forwarded = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for header in request.headers.iter().filter(|header| !is_one_of(header.name, DROPPED)) {
        forwarded.extend_from_slice(header.name.as_bytes());
        forwarded.extend_from_slice(b": ");
        forwarded.extend_from_slice(header.value);
        forwarded.extend_from_slice(b"\r\n");
    }
    forwarded.extend_from_slice(format!("Content-Length: {body}\r\nConnection: close\r\n\r\n").as_bytes());
    Ok(Some(Head {
        length,
        body,
        forwarded,
        keeps_alive,
    }))
}

/// Refuses headers that are no good; gives the length of the body.
fn check_headers(headers: &[httparse::Header<'_>], longest: usize) -> Result<usize, Refused> {
    let mut body = None;
    let (mut hosts, mut origins) = (0, 0);
    for header in headers {
        if !header
            .value
            .iter()
            .all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t')
        {
            return Err((400, "a header contains something other than plain text"));
        }
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err((411, "Content-Length is required; a chunked body is not accepted"));
        }
        if header.name.eq_ignore_ascii_case("expect") {
            return Err((417, "Expect is not supported; send the whole request"));
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = read_length(header.value).ok_or((400, "Content-Length is not a number"))?;
            if body.replace(length).is_some() {
                return Err((400, "there is more than one Content-Length"));
            }
        }
        hosts += usize::from(header.name.eq_ignore_ascii_case("host"));
        origins += usize::from(header.name.eq_ignore_ascii_case("origin"));
    }
    if hosts > 1 {
        return Err((400, "there is more than one Host"));
    }
    if origins > 1 {
        return Err((400, "there is more than one Origin"));
    }
    match body.unwrap_or(0) {
        length if length > longest as u64 => Err((413, "the body is too large")),
        length => Ok(usize::try_from(length).unwrap_or(longest)),
    }
}

fn read_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number too large to hold is too large for us in any case.
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

fn is_one_of(name: &str, list: &[&str]) -> bool {
    list.iter().any(|other| name.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_head_is_forwarded_without_what_concerns_the_connection() {
        let read =
            b"POST /trigger/a?wait=false HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}";
        let head = parse(read).unwrap().unwrap();
        assert_eq!((head.length, head.body), (read.len() - 2, 2));
        let forwarded = String::from_utf8(head.forwarded).unwrap();
        assert_eq!(
            forwarded,
            "POST /trigger/a?wait=false HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(parse(&read[..20]), Ok(None));
        for (rest, keeps_alive) in [
            ("HTTP/1.1\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HTTP/1.1\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.1\r\n\r\n", false),
            ("HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ] {
            let head = parse(format!("GET / {rest}").as_bytes()).unwrap().unwrap();
            assert_eq!(head.keeps_alive, keeps_alive, "{rest}");
        }
    }

    #[test]
    fn what_is_doubtful_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(LONGEST_HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MOST_HEADERS + 1));
        for (head, status) in [
            ("GET / HTTP/1.1\r\nContent-Length: 100000000000\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            ("GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", 417),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nOrigin: a\r\nOrigin: b\r\n\r\n", 400),
            ("GET http://x/ HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nA: \u{e9}\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1} tls\r\n\r\n", 400),
            (&long, 431),
            (&many, 431),
        ] {
            assert_eq!(parse(head.as_bytes()).unwrap_err().0, status, "{head}");
        }
    }
}
