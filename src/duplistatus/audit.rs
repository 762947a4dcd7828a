//! Entries this service writes into the application's audit log.

use crate::sql::sqlite::{self, Connection};
use serde_json::Value;

/// Writes one entry of the system; with `error`, one about a failure.
pub(crate) fn write(connection: &Connection, action: &str, details: &Value, error: Option<&str>) -> sqlite::Result<()> {
    let status = if error.is_some() { "error" } else { "success" };
    connection
        .execute(
            "INSERT INTO audit_log (username, action, category, details, status, error_message)
             VALUES ('system', ?1, 'system', ?2, ?3, ?4)",
            (action, details.to_string(), status, error),
        )
        .map(drop)
}
