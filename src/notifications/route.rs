//! The way one letter takes: its channel, as the application's settings say now that it is reached. They are read,
//! and stored credentials opened, once for a letter.

use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Undelivered, email, key_file, ntfy};
use crate::duplistatus::channels::{self, Channel, Ntfy, Smtp};
use crate::duplistatus::message::Message;

/// Where a letter goes, and how that is reached.
pub(super) enum Route {
    Ntfy { server: Ntfy, topic: String },
    Mail { server: Smtp, recipient: String },
}

impl Route {
    /// The way by `channel`, by the settings in the application's database.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn find(channel: &Channel, database: &Path, connection: &Connection) -> Result<Self, String> {
        let ntfy = || channels::ntfy(connection);
        let mail = || {
            channels::smtp(connection, &key_file(database))?.ok_or_else(|| "mail is not configured any more".to_owned())
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

    /// Sends `message`; `id` lets a receiver tell a repetition.
    pub(super) fn send(&self, message: &Message, id: &str) -> Result<(), Undelivered> {
        match self {
            Self::Ntfy { server, topic } => ntfy::send(server, topic, message, id),
            Self::Mail { server, recipient } => email::send(server, recipient, message, id),
        }
    }

    /// The way as the audit log tells it.
    pub(super) fn details(&self) -> Value {
        match self {
            Self::Ntfy { server, topic } => json!({ "url": server.url, "topic": topic }),
            Self::Mail { server, .. } => server.details(),
        }
    }
}
