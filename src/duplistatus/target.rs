//! The target `duplistatus`, the channels of the application's own settings, and what the application is told of
//! deliveries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::channels::{self, Channel};
use super::{key_file, stamps};
use crate::notifications::{
    About, Address, Delivery, Integration, NoRoute, Notification, NtfyServer, Smtp, Target, Undelivered, send_mail,
    send_ntfy,
};
use crate::sql::open_write;
use crate::sql::sqlite::{self, Connection, TransactionBehavior};
use crate::values::TargetId;

/// The keys of `duplistatus`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Application {
    #[serde(default = "yes")]
    pub ntfy: bool,
    #[serde(default = "yes")]
    pub email: bool,
}

fn yes() -> bool {
    true
}

impl Target for Application {
    fn name(&self) -> &'static str {
        "duplistatus"
    }

    fn needs_application(&self) -> bool {
        true
    }

    /// The channels, each an address of its own so that one that fails does not repeat the other.
    fn addresses(&self, _id: &TargetId, database: Option<&Path>) -> Vec<Address> {
        let Some(database) = database else { return Vec::new() };
        [(self.ntfy, Channel::Ntfy), (self.email, Channel::Email)]
            .into_iter()
            .filter_map(|(wanted, channel)| wanted.then_some(channel))
            .map(|channel| address(database, &channel))
            .collect()
    }

    fn send(&self, _delivery: &Delivery<'_>) -> Result<String, Undelivered> {
        Err(Undelivered::new("the application's channels are addressed one by one"))
    }
}

/// An address of the application, as the outbox keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct ApplicationAddress {
    database: PathBuf,
    channel: Channel,
}

/// The address of a channel of the settings in `database`.
pub(super) fn address(database: &Path, channel: &Channel) -> Address {
    Address::Application(json!({ "database": database, "channel": channel }))
}

fn read(address: &Value) -> Result<ApplicationAddress, String> {
    serde_json::from_value(address.clone()).map_err(|error| format!("the address cannot be read: {error}"))
}

/// A channel of the settings, and how it is reached now.
#[derive(Debug)]
enum Route {
    Ntfy { server: NtfyServer, topic: String },
    Mail { server: Smtp, recipient: String },
}

impl Route {
    /// The way to a channel; none to mail where the application has no mail server.
    fn of(ApplicationAddress { database, channel }: ApplicationAddress) -> Result<Option<Self>, String> {
        let connection = open_write(&database).map_err(|error| error.message)?;
        Ok(Some(match channel {
            Channel::Ntfy | Channel::AdditionalNtfy(_) => {
                let (server, topic) = channels::ntfy(&connection)?;
                let topic = match channel {
                    Channel::AdditionalNtfy(additional) => additional,
                    _ => topic,
                };
                Self::Ntfy { server, topic }
            }
            Channel::Email | Channel::AdditionalEmail(_) => {
                let Some((server, recipient)) = channels::smtp(&connection, &key_file(&database))? else {
                    return Ok(None);
                };
                let recipient = match channel {
                    Channel::AdditionalEmail(additional) => additional,
                    _ => recipient,
                };
                Self::Mail { server, recipient }
            }
        }))
    }
}

impl Target for Route {
    fn name(&self) -> &'static str {
        "duplistatus"
    }

    fn send(&self, delivery: &Delivery<'_>) -> Result<String, Undelivered> {
        let message = &delivery.notification.message;
        match self {
            Self::Ntfy { server, topic } => send_ntfy(server, topic, message, delivery.id),
            Self::Mail { server, recipient } => send_mail(server, recipient, message, delivery.id),
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::Ntfy { server, topic } => json!({ "url": server.url, "topic": topic }),
            Self::Mail { server, .. } => channels::details(server),
        }
    }

    fn is_mail(&self) -> bool {
        matches!(self, Self::Mail { .. })
    }
}

/// The application, as messages know it.
#[derive(Debug)]
pub(crate) struct Duplistatus;

impl Integration for Duplistatus {
    fn route(&self, address: &Value) -> Result<Arc<dyn Target>, NoRoute> {
        let found = read(address).and_then(Route::of).map_err(NoRoute::Because)?;
        Ok(Arc::new(found.ok_or(NoRoute::Nobody)?))
    }

    fn name_of(&self, address: &Value) -> String {
        read(address).map_or_else(
            |_| "duplistatus".to_owned(),
            |address| address.channel.label().to_owned(),
        )
    }

    fn note_delivery(
        &self,
        notification: &Notification,
        via: Option<&dyn Target>,
        at: Timestamp,
    ) -> Result<(), String> {
        let Some(told) = Told::of(notification, via) else {
            return Ok(());
        };
        let mut connection = open_write(told.database).map_err(|error| error.message)?;
        told.note(&mut connection, at).map_err(|error| error.to_string())
    }

    fn note_failure(&self, notification: &Notification, via: Option<&dyn Target>, error: &str) {
        let Some(told) = Told::of(notification, via) else {
            return;
        };
        // It may have no audit log; the outbox keeps the error in any case.
        if let Ok(connection) = open_write(told.database) {
            let action = if told.is_mail() {
                "email_failed"
            } else {
                "notification_failed"
            };
            let mut details = told.details();
            details["error"] = error.into();
            let _ = write_audit(&connection, action, &details, Some(error));
        }
    }
}

/// What the application is told of a message about a backup.
struct Told<'a> {
    database: &'a Path,
    server_id: &'a str,
    server_name: &'a str,
    backup_name: &'a str,
    checked_at: Option<Timestamp>,
    /// The channel's name in the application, or the target's id.
    channel: String,
    address: Option<ApplicationAddress>,
    via: Option<&'a dyn Target>,
}

impl<'a> Told<'a> {
    /// `None` of a message that is about something else.
    fn of(notification: &'a Notification, via: Option<&'a dyn Target>) -> Option<Self> {
        let About::Backup {
            database,
            server_id,
            server_name,
            backup_name,
            checked_at,
        } = &notification.about
        else {
            return None;
        };
        let address = match &notification.address {
            Address::Application(own) => read(own).ok(),
            Address::Target(_) | Address::Recipient { .. } => None,
        };
        Some(Self {
            database,
            server_id,
            server_name,
            backup_name,
            checked_at: *checked_at,
            channel: match (&address, notification.address.target()) {
                (Some(address), _) => address.channel.label().to_owned(),
                (None, id) => id.map_or_else(String::new, ToString::to_string),
            },
            address,
            via,
        })
    }

    fn note(&self, connection: &mut Connection, at: Timestamp) -> sqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let key = format!("{}:{}", self.server_id, self.backup_name);
        // The time of the check, as the application has it: with that of the delivery, what is told each day would be
        // told a little later each day.
        let stamp = self.checked_at.unwrap_or(at);
        stamps::set(&transaction, &key, self.server_name, stamp)?;
        let action = if self.is_mail() {
            "email_sent"
        } else {
            "notification_sent"
        };
        write_audit(&transaction, action, &self.details(), None)?;
        transaction.commit()
    }

    fn is_mail(&self) -> bool {
        let channel = self.address.as_ref().map(|address| &address.channel);
        matches!(channel, Some(Channel::Email | Channel::AdditionalEmail(_))) || self.via.is_some_and(Target::is_mail)
    }

    /// What the audit log tells of the message.
    fn details(&self) -> Value {
        let mut details = json!({
            "type": "overdue",
            "channel": self.channel,
            "serverId": self.server_id,
            "serverName": self.server_name,
            "backupName": self.backup_name,
        });
        if let Some(Channel::AdditionalEmail(recipient)) = self.address.as_ref().map(|address| &address.channel) {
            details["recipientEmail"] = recipient.clone().into();
        }
        let way = self.via.map(Target::details).unwrap_or_default();
        for (key, value) in way.as_object().into_iter().flatten() {
            details[key] = value.clone();
        }
        details
    }
}

/// Writes one entry of the system; with `error`, one about a failure.
fn write_audit(connection: &Connection, action: &str, details: &Value, error: Option<&str>) -> sqlite::Result<()> {
    let status = if error.is_some() { "error" } else { "success" };
    connection
        .execute(
            "INSERT INTO audit_log (username, action, category, details, status, error_message)
             VALUES ('system', ?1, 'system', ?2, ?3, ?4)",
            (action, details.to_string(), status, error),
        )
        .map(drop)
}
