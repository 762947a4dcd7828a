//! Messages on their way: takes letters from the outbox, sends each to its address, and notes in the application's
//! database what was delivered there. One file for each kind of target. What is said, and to whom, is decided
//! elsewhere, but for [`alert`]: what a job's runs have to tell.

pub(crate) mod alert;
mod application;
mod call;
mod courier;
mod email;
mod healthchecks;
mod html;
pub(crate) mod letter;
mod log;
mod ntfy;
mod opened;
mod redaction;
mod route;
mod target;
mod webhook;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::duplistatus::message::Message;
pub(crate) use courier::{Courier, Delivered};
pub(crate) use letter::Envelope;
use letter::{About, Address, Event, Parcel};
use route::Route;
pub(crate) use target::{Target, Targets};

/// Sends a message that says so to `target`, at once and past the outbox.
pub(crate) fn test(target: &Target, address: Address, now: Timestamp) -> Result<String, String> {
    let targets = match &address {
        Address::Target(id) | Address::Recipient { target: id, .. } => Targets::from([(id.clone(), target.clone())]),
        Address::Application { .. } => Targets::new(),
    };
    let route = Route::find(&address, &targets)?;
    let envelope = Envelope {
        address,
        event: Event::Test,
        about: About::Nothing,
        message: Message {
            title: "Test message".to_owned(),
            text: "duplistatus-cron can reach you here.".to_owned(),
            priority: "default".to_owned(),
            tags: "wave".to_owned(),
        },
    };
    let id = format!("{}-test", now.as_millisecond());
    let parcel = Parcel {
        id: &id,
        envelope: &envelope,
        at: now,
    };
    route.send(&parcel).map_err(|undelivered| undelivered.error)
}

/// Why a message was not delivered.
#[derive(Debug)]
struct Undelivered {
    error: String,
    /// How long the other side asks to wait.
    wait: Option<Duration>,
    /// Whether another attempt would be in vain.
    is_final: bool,
}

impl Undelivered {
    fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            wait: None,
            is_final: false,
        }
    }
}

/// The application's master key, beside its database.
pub(crate) fn key_file(database: &Path) -> PathBuf {
    database.with_file_name(".duplistatus.key")
}
