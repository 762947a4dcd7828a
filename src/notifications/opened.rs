//! A letter taken out of the outbox: sent by its way, and noted where the application looks for it.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Value, json};

use super::Undelivered;
use super::letter::{About, Address, Envelope, Parcel};
use super::route::Route;
use super::target::Targets;
use crate::duplistatus::channels::Channel;
use crate::duplistatus::{audit, stamps};
use crate::store::outbox::{Outbox, Posted};
use crate::store::sqlite::open_write;

/// A letter taken out of its envelope, and the way it takes, or why there is none.
pub(super) struct Opened {
    envelope: Envelope,
    route: Result<Route, String>,
}

impl Opened {
    pub(super) fn of(posted: &Posted, targets: &Targets) -> Option<Self> {
        let envelope: Envelope = serde_json::from_str(&posted.letter.envelope).ok()?;
        let route = Route::find(&envelope.address, targets);
        Some(Self { envelope, route })
    }

    pub(super) fn send(&self, posted: &Posted) -> Result<String, Undelivered> {
        let id = format!("{}-{}", posted.created_at.as_millisecond(), posted.id);
        let no_way = |why: &String| Undelivered {
            is_final: matches!(self.envelope.address, Address::Target(_) | Address::Recipient { .. }),
            ..Undelivered::new(why)
        };
        let route = self.route.as_ref().map_err(no_way)?;
        route.send(&Parcel {
            id: &id,
            envelope: &self.envelope,
            at: posted.created_at,
        })
    }

    /// Where it goes, for the log.
    pub(super) fn to(&self) -> &str {
        self.envelope.address.name()
    }

    /// Notes the delivery in the application's database. What cannot be noted now is noted the next time.
    pub(super) fn note(&self, outbox: &mut Outbox, id: i64, at: Timestamp) -> rusqlite::Result<()> {
        match self.note_in_application(at) {
            Ok(()) => outbox.noted(id),
            Err(why) => {
                tracing::error!(letter = id, "a delivery cannot be noted yet: {why}");
                Ok(())
            }
        }
    }

    fn note_in_application(&self, at: Timestamp) -> Result<(), String> {
        let Some(backup) = self.backup() else { return Ok(()) };
        let mut connection = open_write(backup.database).map_err(|unusable| unusable.to_string())?;
        let note = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let key = format!("{}:{}", backup.server_id, backup.name);
            // The time of the check, as the application has it: with that of the delivery, what is told each day would
            // be told a little later each day.
            let stamp = backup.checked_at.unwrap_or(at);
            stamps::set(&transaction, &key, backup.server_name, stamp)?;
            let action = if self.is_mail() {
                "email_sent"
            } else {
                "notification_sent"
            };
            audit::write(&transaction, action, &self.details(&backup, None), None)?;
            transaction.commit()
        };
        note(&mut connection).map_err(|error: rusqlite::Error| error.to_string())
    }

    /// Tells a failure in the application's audit log. It may have none; the outbox keeps the error in any case.
    pub(super) fn note_failure(&self, error: &str) {
        let Some(backup) = self.backup() else { return };
        if let Ok(connection) = open_write(backup.database) {
            let action = if self.is_mail() {
                "email_failed"
            } else {
                "notification_failed"
            };
            let _ = audit::write(&connection, action, &self.details(&backup, Some(error)), Some(error));
        }
    }

    fn is_mail(&self) -> bool {
        let by_address = match &self.envelope.address {
            Address::Application { channel, .. } => matches!(channel, Channel::Email | Channel::AdditionalEmail(_)),
            Address::Target(_) | Address::Recipient { .. } => false,
        };
        by_address || self.route.as_ref().is_ok_and(Route::is_mail)
    }

    fn backup(&self) -> Option<OfBackup<'_>> {
        match &self.envelope.about {
            About::Backup {
                database,
                server_id,
                server_name,
                backup_name,
                checked_at,
            } => Some(OfBackup {
                database,
                server_id,
                server_name,
                name: backup_name,
                checked_at: *checked_at,
            }),
            About::Job(_) | About::Nothing => None,
        }
    }

    /// What the audit log tells of the message.
    fn details(&self, backup: &OfBackup<'_>, error: Option<&str>) -> Value {
        let mut details = json!({
            "type": "overdue",
            "channel": self.to(),
            "serverId": backup.server_id,
            "serverName": backup.server_name,
            "backupName": backup.name,
        });
        if let Address::Application {
            channel: Channel::AdditionalEmail(address),
            ..
        } = &self.envelope.address
        {
            details["recipientEmail"] = address.clone().into();
        }
        let route = self.route.as_ref().map(Route::details).unwrap_or_default();
        for (key, value) in route.as_object().into_iter().flatten() {
            details[key] = value.clone();
        }
        if let Some(error) = error {
            details["error"] = error.into();
        }
        details
    }
}

/// The backup a message is about.
struct OfBackup<'a> {
    database: &'a Path,
    server_id: &'a str,
    server_name: &'a str,
    name: &'a str,
    checked_at: Option<Timestamp>,
}
