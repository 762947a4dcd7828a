//! What a state learns that was put in the place of another one while a service ran: up to when that service claimed runs.
//! It is told by a file beside it, since opening it beside the other one's log would damage both.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::values::beside;

/// How the name of the file ends.
const END: &str = "-ran";

/// Tells the state that stands at `path` now that times up to `last_claim` were claimed in another one.
pub(super) fn tell(path: &Path, last_claim: Timestamp) {
    if last_claim > Timestamp::MIN {
        // Where it cannot be told, times may run twice, which is told by the error that led here.
        let _ = std::fs::write(beside(path, END), last_claim.as_millisecond().to_string());
    }
}

/// Has the state just opened at `path` go on from what it was told, if it was.
pub(super) fn take_over(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let told = beside(path, END);
    let Some(claimed) = std::fs::read_to_string(&told)
        .ok()
        .and_then(|text| text.parse::<i64>().ok())
    else {
        return Ok(());
    };
    connection.execute("UPDATE activations SET since = ?1 WHERE since < ?1", [claimed])?;
    connection.execute(
        "UPDATE runs SET status = 'skipped', finished_at = ?1, error = 'another state was in use at that time'
         WHERE status IN ('queued', 'running')",
        [claimed],
    )?;
    let _ = std::fs::remove_file(told);
    Ok(())
}
