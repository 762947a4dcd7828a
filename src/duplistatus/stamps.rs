//! When a message about a backup was last sent: the application's setting `overdue_notifications`.

use crate::sql::sqlite::{self, Connection};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::backups::read_instant;
use super::settings;
use crate::values::iso;

const STAMPS: &str = "overdue_notifications";

/// Every stamp there is, by the key of the backup job; none where the setting cannot be read.
pub(crate) fn read(connection: &Connection) -> sqlite::Result<Map<String, Value>> {
    let text = settings::get(connection, STAMPS)?.unwrap_or_default();
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// The stamp of one backup job, where there is one that can be read.
pub(crate) fn of(stamps: &Map<String, Value>, key: &str) -> Option<Timestamp> {
    read_instant(stamps.get(key)?["lastNotificationSent"].as_str()?)
}

/// Sets the stamp of one backup job, unless a later one is there; keeps everything else as it is. Call it in a
/// transaction that writes.
pub(crate) fn set(connection: &Connection, key: &str, server_name: &str, at: Timestamp) -> sqlite::Result<()> {
    let mut stamps = read(connection)?;
    if of(&stamps, key).is_some_and(|there| there >= at) {
        return Ok(());
    }
    let mut stamp = stamps
        .get(key)
        .filter(|stamp| stamp.is_object())
        .cloned()
        .unwrap_or_else(|| json!({}));
    stamp["lastNotificationSent"] = iso(at).into();
    stamp["serverName"] = server_name.into();
    stamps.insert(key.to_owned(), stamp);
    settings::set(connection, STAMPS, &Value::Object(stamps).to_string())
}

/// Writes the setting where there is none, as the application does.
pub(crate) fn ensure(connection: &Connection) -> sqlite::Result<()> {
    if settings::get(connection, STAMPS)?.is_none() {
        settings::set(connection, STAMPS, "{}")?;
    }
    Ok(())
}
