//! What a program prints: each line to the log with its run, and head and tail kept, as text that is safe to show and
//! without secrets. However much it prints, it never waits for whoever reads this.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memchr::memchr2;

use crate::values::{JobId, Redactor, Size, lock};

/// How long a line without an end may become; then it is taken for two.
const LONGEST: usize = 16 * 1024;
/// How many lines of a run are logged in [`WINDOW`]; others are counted.
const MOST_LOGGED: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// What is kept of the output of a run: its beginning and its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    head: String,
    is_head_full: bool,
    /// More than is kept of it: it is cut now and then.
    tail: String,
    /// How many bytes of it are kept.
    most: usize,
    /// The bytes between them that are gone.
    left_out: usize,
}

impl Ends {
    /// How much of the tail is not kept: whole lines, where that is enough.
    fn surplus(&self) -> usize {
        let least = self.tail.len().saturating_sub(self.most);
        if least == 0 {
            return 0;
        }
        let after = |at: usize| self.tail[at..].find('\n').map(|end| at + end + 1);
        let least = self.tail.ceil_char_boundary(least);
        // The line that is cut may be all there is.
        after(least - 1).filter(|cut| *cut < self.tail.len()).unwrap_or(least)
    }

    fn cut(&mut self) {
        let surplus = self.surplus();
        self.tail.drain(..surplus);
        self.left_out += surplus;
    }
}

impl Kept {
    /// What is kept so far; none where nothing was printed.
    pub(crate) fn text(&self) -> Option<String> {
        let ends = lock(&self.0);
        let surplus = ends.surplus();
        let mut text = ends.head.clone();
        if ends.left_out + surplus > 0 {
            let _ = writeln!(text, "[{} bytes left out]", ends.left_out + surplus);
        }
        text.push_str(&ends.tail[surplus..]);
        (!text.is_empty()).then_some(text)
    }

    /// The last line that says something.
    pub(crate) fn last_line(&self) -> Option<String> {
        let ends = lock(&self.0);
        let mut lines = ends.tail.lines().rev().chain(ends.head.lines().rev()).map(str::trim);
        lines.find(|line| !line.is_empty()).map(str::to_owned)
    }

    /// Keeps the first `most` bytes of a text that came as a whole.
    pub(crate) fn keep_start(&self, text: &str, most: usize) {
        let (start, rest) = text.split_at(text.floor_char_boundary(most));
        let mut ends = lock(&self.0);
        for line in start.lines() {
            ends.head.push_str(&safe(line));
            ends.head.push('\n');
        }
        ends.left_out += rest.len();
        ends.is_head_full = true;
    }

    fn add(&self, line: &str, most: usize) {
        let mut ends = lock(&self.0);
        if !ends.is_head_full && ends.head.len() + line.len() < most / 4 {
            ends.head.push_str(line);
            ends.head.push('\n');
            return;
        }
        ends.is_head_full = true;
        ends.most = most - most / 4;
        ends.tail.push_str(line);
        ends.tail.push('\n');
        if ends.tail.len() > 2 * ends.most {
            ends.cut();
        }
    }
}

/// Where what a program prints goes: its output, which is number 0, and its errors, which are number 1.
pub(crate) trait Sink {
    /// Takes what has come.
    fn take(&mut self, stream: usize, bytes: &[u8]);
    /// Learns that nothing more comes.
    fn end(&mut self) {}
    /// Whether more has come than may, so that the program is to end.
    fn is_full(&self) -> bool {
        false
    }
}

/// Takes in what a program prints, line by line, for people.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    pub job: &'a JobId,
    /// The number of the run.
    pub run: i64,
    pub redactor: &'a Redactor,
    pub kept: &'a Kept,
    /// How much is kept.
    pub keep: Size,
    /// Where lines go to the log.
    pub log: Option<Log>,
    pub streams: Streams,
}

/// What has come of the lines of a program's two streams.
#[derive(Debug, Default)]
pub(crate) struct Streams([Stream; 2]);

impl Sink for Output<'_> {
    fn take(&mut self, stream: usize, bytes: &[u8]) {
        let mut lines = std::mem::take(&mut self.streams.0[stream]);
        lines.take(NAMES[stream], bytes, self);
        self.streams.0[stream] = lines;
    }

    fn end(&mut self) {
        for (lines, name) in std::mem::take(&mut self.streams).0.into_iter().zip(NAMES) {
            lines.end(name, self);
        }
        self.tell_left_out();
    }
}

/// What the streams are called.
const NAMES: [&str; 2] = ["stdout", "stderr"];

/// Takes in what a program prints, as it is, for this program.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    pub output: Vec<u8>,
    /// The end of its errors.
    pub errors: Vec<u8>,
    /// How much output there may be, in bytes.
    pub most: usize,
}

/// How much is kept of the errors of a program whose output is captured, in bytes.
const LAST_ERRORS: usize = 4096;

impl Sink for Captured {
    fn take(&mut self, stream: usize, bytes: &[u8]) {
        if stream == 0 {
            let room = (self.most + 1).saturating_sub(self.output.len());
            self.output.extend_from_slice(&bytes[..bytes.len().min(room)]);
            return;
        }
        self.errors.extend_from_slice(bytes);
        let surplus = self.errors.len().saturating_sub(LAST_ERRORS);
        self.errors.drain(..surplus);
    }

    fn is_full(&self) -> bool {
        self.output.len() > self.most
    }
}

/// How many lines of a run were logged lately, and were not.
#[derive(Debug)]
pub(crate) struct Log {
    window: Instant,
    logged: u32,
    left_out: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            window: Instant::now(),
            logged: 0,
            left_out: 0,
        }
    }
}

impl Output<'_> {
    fn line(&mut self, stream: &'static str, line: &str) {
        self.kept.add(line, self.keep.bytes());
        if self.log.as_ref().is_some_and(|log| log.window.elapsed() >= WINDOW) {
            self.tell_left_out();
            self.log = Some(Log::default());
        }
        let Some(log) = &mut self.log else { return };
        if log.logged >= MOST_LOGGED {
            log.left_out += 1;
            return;
        }
        log.logged += 1;
        tracing::info!(job = %self.job, run = self.run, stream, "{line}");
    }

    /// Tells how many lines were not logged since that was last told.
    fn tell_left_out(&self) {
        let lines = self.log.as_ref().map_or(0, |log| log.left_out);
        if lines > 0 {
            tracing::warn!(job = %self.job, run = self.run, lines, "more output came than is logged");
        }
    }
}

/// One of a program's two streams: bytes come in, lines go out.
#[derive(Debug, Default)]
struct Stream {
    /// What has come of a line that has not ended.
    rest: Vec<u8>,
}

impl Stream {
    /// Takes what has come.
    fn take(&mut self, name: &'static str, bytes: &[u8], output: &mut Output<'_>) {
        let mut bytes = bytes;
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let is_empty = self.rest.is_empty() && end == 0;
            // The end of a line may be a pair, and half of one is no line.
            if !is_empty || bytes[end] == b'\n' {
                self.rest.extend_from_slice(&bytes[..end]);
                let line = std::mem::take(&mut self.rest);
                output.line(name, &shown(&line, output.redactor));
            }
            let is_pair = bytes[end] == b'\r' && bytes.get(end + 1) == Some(&b'\n');
            bytes = &bytes[end + 1 + usize::from(is_pair)..];
        }
        self.rest.extend_from_slice(bytes);
        while self.rest.len() > LONGEST {
            self.split(name, output);
        }
    }

    /// Takes a line that is too long for two. The second half is kept: a secret may stand across the end of what has come.
    fn split(&mut self, name: &'static str, output: &mut Output<'_>) {
        let (whole, part) = self.rest.split_at(whole_characters(&self.rest));
        let text = output.redactor.redact(&String::from_utf8_lossy(whole));
        let middle = text.floor_char_boundary(text.len() / 2);
        output.line(name, &safe(&text[..middle]));
        self.rest = [&text.as_bytes()[middle..], part].concat();
    }

    /// Takes what is left when nothing more comes.
    fn end(self, name: &'static str, output: &mut Output<'_>) {
        if !self.rest.is_empty() {
            output.line(name, &shown(&self.rest, output.redactor));
        }
    }
}

/// How many of `bytes` come before a character that has only come in part.
fn whole_characters(bytes: &[u8]) -> usize {
    let is_start = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    let Some(start) = bytes.iter().rposition(is_start) else {
        return bytes.len();
    };
    let length = match bytes[start] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if bytes.len() - start < length {
        start
    } else {
        bytes.len()
    }
}

fn shown(line: &[u8], redactor: &Redactor) -> String {
    safe(&redactor.redact(&String::from_utf8_lossy(line)))
}

/// `text` with what would act on a terminal or a page made visible.
fn safe(text: &str) -> String {
    if text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return text.to_owned();
    }
    text.chars().map(visible).collect()
}

fn visible(c: char) -> char {
    match c {
        '\t' => c,
        // Unicode has a picture of each.
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(c),
        '\x7f' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(pieces: &[&[u8]], keep: u64, secret: &str) -> Option<String> {
        let (job, kept, redactor) = ("j".parse().unwrap(), Kept::default(), Redactor::new([secret]));
        let mut output = Output {
            job: &job,
            run: 1,
            redactor: &redactor,
            kept: &kept,
            keep: Size::from_bytes(keep),
            log: Some(Log::default()),
            streams: Streams::default(),
        };
        for piece in pieces {
            output.take(0, piece);
        }
        output.end();
        kept.text()
    }

    #[test]
    fn bytes_become_lines_that_are_safe_to_show() {
        for (pieces, expected) in [
            (
                &[b"one\ntw".as_slice(), b"o\r\nthree\n\n"] as &[&[u8]],
                "one\ntwo\nthree\n\n",
            ),
            (&[b"50 %\r100 %\r", b"\ndone"], "50 %\n100 %\n\ndone\n"),
            (
                &[b"\x1b[31mred\0\xff \xe2\x80\xae"],
                "\u{241b}[31mred\u{2400}\u{fffd} \u{fffd}\n",
            ),
            (&[b"caf\xc3", b"\xa9\n"], "café\n"),
            (&[b"the s3c", b"ret!\n"], "the [secret]!\n"),
            (&[b"czNjcmV0\n"], "[secret]\n"),
        ] {
            assert_eq!(printed(pieces, 65536, "s3cret").as_deref(), Some(expected));
        }
        assert_eq!(printed(&[], 65536, "s3cret"), None);
    }

    #[test]
    fn a_line_without_an_end_is_bounded_and_hides_what_stands_across_its_pieces() {
        let mut text = "x".repeat(LONGEST / 2 - 3) + "s3cret" + &"é".repeat(LONGEST);
        text.push_str(&("s3cret".repeat(9000) + "end"));
        for size in [1, 2, 3, 4093, 4096, 8191, 16_384, 65_536] {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let shown = printed(&pieces, 10 << 20, "s3cret").unwrap();
            assert!(!shown.contains("s3cret") && shown.ends_with("end\n"));
            assert_eq!(shown.matches('é').count(), LONGEST, "no character is cut");
            assert!(shown.lines().count() > 2);
        }
    }

    #[test]
    fn one_long_line_is_kept_in_part() {
        let line = "x".repeat(5000) + "end\n";
        let shown = printed(&[line.as_bytes()], 1000, "s3cret").unwrap();
        assert!(
            shown.starts_with("[4254 bytes left out]\nxxx") && shown.ends_with("xend\n"),
            "{shown}"
        );
        let kept = Kept::default();
        kept.keep_start(&("é\n".to_owned() + &line), 100);
        let shown = kept.text().unwrap();
        assert!(
            shown.starts_with("é\nxxx") && shown.ends_with("bytes left out]\n"),
            "{shown}"
        );
        assert_eq!(shown.matches('x').count(), 97);
    }

    #[test]
    fn head_and_tail_are_kept_and_what_is_between_is_counted() {
        let lines: String = (0..1000).fold(String::new(), |lines, number| format!("{lines}line {number:04}\n"));
        let shown = printed(&[lines.as_bytes()], 400, "s3cret").unwrap();
        assert!(shown.len() < 450, "{}", shown.len());
        assert!(shown.starts_with("line 0000\n") && shown.ends_with("line 0999\n"));
        assert!(shown.contains("\n[9600 bytes left out]\n"), "{shown}");
    }
}
