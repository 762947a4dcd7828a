//! The way one letter takes: its address, as the declaration or the application's settings say now that it is
//! reached. They are read, and stored credentials opened, once for a letter.

use std::path::Path;

use serde_json::{Value, json};

use super::letter::{Address, Parcel};
use super::target::{Target, Targets};
use super::{Undelivered, email, key_file, ntfy};
use crate::duplistatus::channels::{self, Channel, Smtp};
use crate::store::sqlite::open_write;

/// Where a letter goes, and how that is reached.
pub(super) enum Route {
    Ntfy { server: channels::Ntfy, topic: String },
    Mail { server: Smtp, recipient: String },
    Target(Target),
}

impl Route {
    /// The way to `address`.
    pub(super) fn find(address: &Address, targets: &Targets) -> Result<Self, String> {
        match address {
            Address::Application { database, channel } => Self::of_application(channel, database),
            Address::Target(id) | Address::Recipient { target: id, .. } => targets
                .get(id)
                .cloned()
                .map(Self::Target)
                .ok_or_else(|| format!("no target `{id}` is declared any more")),
        }
    }

    fn of_application(channel: &Channel, database: &Path) -> Result<Self, String> {
        let connection = open_write(database).map_err(|unusable| unusable.to_string())?;
        let ntfy = || channels::ntfy(&connection);
        let mail = || {
            channels::smtp(&connection, &key_file(database))?
                .ok_or_else(|| "mail is not configured in the application".to_owned())
        };
        Ok(match channel {
            Channel::Ntfy => {
                let server = ntfy()?;
                Self::Ntfy {
                    topic: server.topic.clone(),
                    server,
                }
            }
            Channel::AdditionalNtfy(topic) => Self::Ntfy {
                server: ntfy()?,
                topic: topic.clone(),
            },
            Channel::Email => {
                let server = mail()?;
                Self::Mail {
                    recipient: server.mailto.clone(),
                    server,
                }
            }
            Channel::AdditionalEmail(address) => Self::Mail {
                server: mail()?,
                recipient: address.clone(),
            },
        })
    }

    /// Sends the message, and gives what the other side said.
    pub(super) fn send(&self, parcel: &Parcel<'_>) -> Result<String, Undelivered> {
        let message = &parcel.envelope.message;
        match self {
            Self::Ntfy { server, topic } => ntfy::send(server, topic, message, parcel.id),
            Self::Mail { server, recipient } => email::send(server, recipient, message, parcel.id),
            Self::Target(target) => target.send(parcel),
        }
    }

    /// The way as the audit log tells it.
    pub(super) fn details(&self) -> Value {
        match self {
            Self::Ntfy { server, topic } => json!({ "url": server.url, "topic": topic }),
            Self::Mail { server, .. } => server.details(),
            Self::Target(target) => json!({ "kind": target.name() }),
        }
    }

    pub(super) fn is_mail(&self) -> bool {
        matches!(self, Self::Mail { .. } | Self::Target(Target::Email(_)))
    }
}
