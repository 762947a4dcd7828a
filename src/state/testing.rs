//! The same tests on every engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::postgres::{Candidate, StateServer};
use super::tables::Tables;
use crate::postgres::Address;

#[expect(dead_code, reason = "the tests of the whole program need more of it")]
#[path = "../../tests/support/postgres.rs"]
mod server;

/// Runs `test` with a new state of each kind, which it may open again and again, as one process after another does.
pub(super) fn on_each(test: impl Fn(&dyn Fn() -> Tables)) {
    let folder = tempfile::tempdir().unwrap();
    test(&|| Tables::at(&folder.path().join("new/state.db")));
    let server = server::Server::shared();
    let database = server.database();
    let at = Arc::new(StateServer {
        address: Address::read(&server.url("postgres", &database)).unwrap(),
        schema: "own_schema".to_owned(),
    });
    test(&|| {
        // The one before has ended.
        let _ = server.try_sql(&database, "UPDATE own_schema.leader SET expires_at = 'epoch'");
        let candidate = Candidate::new(Arc::clone(&at));
        candidate.lead();
        Tables::on(&at, &candidate)
    });
}

fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(45) {
        if let Some(value) = found() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain: {what}");
}
