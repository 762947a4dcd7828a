//! Messages on their way: takes them from the outbox, sends each to its address, and has the application note what was
//! delivered. One file for each kind of target. What is said, and to whom, is decided elsewhere, but for [`alert`]:
//! what a job's runs have to tell.

pub(crate) mod alert;
mod call;
mod delivery_worker;
mod email;
mod healthchecks;
mod html;
mod log;
mod message;
mod notification;
mod ntfy;
mod target;
mod webhook;

use std::time::Duration;

use jiff::Timestamp;

pub(crate) use delivery_worker::{Delivered, DeliveryWorker, name_of};
pub(crate) use email::{Email, Protection, Smtp, send as send_mail};
pub(crate) use healthchecks::Healthchecks;
pub(crate) use log::Log;
pub(crate) use message::Message;
pub(crate) use notification::{About, Address, Delivery, Event, Notification};
pub(crate) use ntfy::{Ntfy, NtfyServer, send as send_ntfy};
pub(crate) use target::{Integration, NoRoute, Target, Targets, Withheld, addresses};
pub(crate) use webhook::Webhook;

/// Sends a message that says so to an address, at once and past the outbox. It may wait.
pub(crate) fn test(
    address: Address,
    targets: &Targets,
    integration: &dyn Integration,
    now: Timestamp,
) -> Result<String, String> {
    let route = match delivery_worker::find_route(&address, targets, integration) {
        Ok(route) => route,
        Err(NoRoute::Nobody) => return Err("it is not set up in the application".to_owned()),
        Err(NoRoute::Because(why)) => return Err(why),
    };
    let text = "duplistatus-cron can reach you here.";
    let notification = Notification {
        address,
        event: Event::Test,
        about: About::Nothing,
        message: Message::new("Test message", text, "default", "wave"),
    };
    let delivery = Delivery {
        id: &format!("{}-test", now.as_millisecond()),
        notification: &notification,
        at: now,
    };
    route.send(&delivery).map_err(|undelivered| undelivered.error)
}

/// Why a message was not delivered.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub error: String,
    /// How long the other side asks to wait.
    pub wait: Option<Duration>,
    /// Whether another attempt would be in vain.
    pub is_final: bool,
}

impl Undelivered {
    pub(crate) fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            wait: None,
            is_final: false,
        }
    }
}
