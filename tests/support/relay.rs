//! A way to a server on which what is sent gets lost: nobody is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

const WHOLE: u8 = 0;
const CUT: u8 = 1;
const ONE_WAY: u8 = 2;

pub(crate) struct Relay {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cut: AtomicU8,
    /// How long an answer about the lease is under way, in milliseconds.
    delay: AtomicU32,
    /// After so many commits, the connection breaks before the answer to the next one arrives; never, where it is 0.
    commits: AtomicU32,
    seen: AtomicU32,
}

impl Relay {
    /// A way to the port of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::default(),
        };
        let state = Arc::clone(&relay.state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let [one, other] = [&client, &server].map(|stream| stream.try_clone().unwrap());
                let (of_client, of_server) = (Arc::clone(&state), Arc::clone(&state));
                let is_lease = Arc::new(AtomicBool::new(false));
                let told = Arc::clone(&is_lease);
                std::thread::spawn(move || ask((one, other), &of_client, &told));
                std::thread::spawn(move || answer((server, client), &of_server, &is_lease));
            }
        });
        relay
    }

    /// Has nothing get through from here on.
    pub(crate) fn cut(&self) {
        self.state.cut.store(CUT, Ordering::Relaxed);
    }

    /// Has questions get through, but no answers.
    pub(crate) fn cut_answers(&self) {
        self.state.cut.store(ONE_WAY, Ordering::Relaxed);
    }

    /// Has each answer about the lease be under way for so long.
    pub(crate) fn delay_lease(&self, millis: u32) {
        self.state.delay.store(millis, Ordering::Relaxed);
    }

    /// Has everything get through again.
    pub(crate) fn heal(&self) {
        self.state.cut.store(WHOLE, Ordering::Relaxed);
    }

    /// Breaks connections at the end of every so many transactions, once the server has been told to commit.
    pub(crate) fn break_commits(&self, every: u32) {
        self.state.commits.store(every, Ordering::Relaxed);
    }

    /// How many commits went through it while it was to break some.
    pub(crate) fn commits(&self) -> u32 {
        self.state.seen.load(Ordering::Relaxed)
    }
}

fn ask((mut from, mut to): (TcpStream, TcpStream), state: &State, is_lease: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut bytes) {
        wait_while(state, |cut| cut == CUT);
        let has = |what: &[u8]| bytes[..read].windows(what.len()).any(|text| text == what);
        // A session says at its start what it is for.
        is_lease.fetch_or(has(b"duplistatus-cron/lease"), Ordering::Relaxed);
        let is_commit = has(b"COMMIT\0");
        let every = state.commits.load(Ordering::Relaxed);
        let breaks = is_commit && every > 0 && state.seen.fetch_add(1, Ordering::Relaxed) % every == every - 1;
        if breaks {
            let _ = from.shutdown(Shutdown::Both);
        }
        if read == 0 || to.write_all(&bytes[..read]).is_err() || breaks {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn answer((mut from, mut to): (TcpStream, TcpStream), state: &State, is_lease: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut bytes) {
        // What was sent meanwhile arrives late, as over a network.
        wait_while(state, |cut| cut != WHOLE);
        if is_lease.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(state.delay.load(Ordering::Relaxed).into()));
        }
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

fn wait_while(state: &State, is_cut: impl Fn(u8) -> bool) {
    while is_cut(state.cut.load(Ordering::Relaxed)) {
        std::thread::sleep(Duration::from_millis(20));
    }
}
