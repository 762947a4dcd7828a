//! A folder with a database in it, the service running there, and calls of it.

pub(crate) mod browser;
pub(crate) mod docker;
pub(crate) mod fake_engine;
pub(crate) mod git;
pub(crate) mod postgres;
pub(crate) mod receivers;
pub(crate) mod relay;
pub(crate) mod service;
pub(crate) mod workplace;

use std::time::{Duration, Instant};

pub(crate) use service::Service;
pub(crate) use workplace::Workplace;

/// Looks until `found` gives something; fails after a time that only a broken program takes: a message that was refused
/// is tried again after half a minute.
pub(crate) fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(45);
    while Instant::now() < deadline {
        if let Some(value) = found() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain: {what}");
}
