//! A message with its address, as the outbox keeps it and as a target gets it. No secret stands in it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::Message;
use crate::state::NewMessage;
use crate::values::{JobId, TargetId, iso};

/// Everything that is needed to send one message to one address, as the outbox keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Notification {
    pub address: Address,
    pub event: Event,
    pub about: About,
    pub message: Message,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Address {
    /// One that the application's integration knows, in its own words.
    Application(Value),
    Target(TargetId),
    /// One of the recipients of a declared target, so that one who is refused does not keep the others from it.
    Recipient {
        target: TargetId,
        to: String,
    },
}

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Overdue,
    /// Something is there that may be used.
    Found,
    Started,
    Succeeded,
    Failed,
    Recovered,
    Test,
}

impl Event {
    /// The word for it in webhooks and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Found => "found",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::Test => "test",
        }
    }
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum About {
    Backup {
        /// The application's database, where the delivery is noted.
        database: PathBuf,
        server_id: String,
        server_name: String,
        backup_name: String,
        /// The time of the check that found it, which is what the delivery is noted with.
        #[serde(default)]
        checked_at: Option<Timestamp>,
    },
    Job(JobId),
    Nothing,
}

impl Address {
    /// The declared target it belongs to.
    pub(crate) fn target(&self) -> Option<&TargetId> {
        match self {
            Self::Application(_) => None,
            Self::Target(id) | Self::Recipient { target: id, .. } => Some(id),
        }
    }

    /// What takes one message at a time: a target, or a channel of the application, whoever it is for.
    fn turn(&self) -> String {
        match self {
            Self::Target(id) | Self::Recipient { target: id, .. } => id.to_string(),
            // A channel is a word, or a table of one key where it is for someone in particular.
            Self::Application(own) => match &own["channel"] {
                Value::Object(channel) => channel.keys().next().cloned().unwrap_or_default(),
                channel => channel.as_str().unwrap_or_default().to_owned(),
            },
        }
    }
}

impl Notification {
    /// What the outbox takes of it; `cause` is the same for every attempt, and a message about the same `subject` with
    /// another cause takes its place, but for one that tells of a recovery.
    pub(crate) fn to_row(&self, subject: &str, cause: &str) -> Option<NewMessage> {
        Some(NewMessage {
            subject: subject.to_owned(),
            cause: cause.to_owned(),
            channel: serde_json::to_string(&self.address).ok()?,
            turn: self.address.turn(),
            notification: serde_json::to_string(self).ok()?,
            // What works again had failed, which nobody may have heard of yet.
            supersedes: self.event != Event::Recovered,
        })
    }
}

/// A notification on its way to one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery<'a> {
    /// Tells a repetition.
    pub id: &'a str,
    pub notification: &'a Notification,
    pub at: Timestamp,
}

impl Delivery<'_> {
    /// The names that templates of targets may use.
    pub(super) const FIELDS: &'static [&'static str] = &[
        "id", "event", "title", "message", "priority", "tags", "job", "server", "backup", "at",
    ];

    /// The value of one of [`Delivery::FIELDS`].
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let Notification { message, about, .. } = self.notification;
        let (job, server, backup) = match about {
            About::Backup {
                server_name,
                backup_name,
                ..
            } => ("", server_name.as_str(), backup_name.as_str()),
            About::Job(job) => (job.as_str(), "", ""),
            About::Nothing => ("", "", ""),
        };
        Some(match name {
            "id" => self.id.to_owned(),
            "event" => self.notification.event.as_str().to_owned(),
            "title" => message.title.clone(),
            "message" => message.text.clone(),
            "priority" => message.priority.clone(),
            "tags" => message.tags.clone(),
            "job" => job.to_owned(),
            "server" => server.to_owned(),
            "backup" => backup.to_owned(),
            "at" => iso(self.at),
            _ => return None,
        })
    }

    /// Every field that is not empty, as JSON.
    pub(super) fn to_json(self) -> Value {
        let filled = |name: &&str| {
            let value = self.field(name).filter(|value| !value.is_empty())?;
            Some(((*name).to_owned(), Value::from(value)))
        };
        Value::Object(Self::FIELDS.iter().filter_map(filled).collect())
    }
}
