//! What a state learns that was put in the place of another one while a service ran: up to when that service claimed runs.
//! It is told by a file beside it, since opening it beside the other one's log would damage both.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::values::{beside, identity};

/// How the name of the file ends.
const END: &str = "-ran";

/// Tells the state that stands at `path` now that times up to `last_claim` were claimed in `another` one.
pub(super) fn tell(path: &Path, last_claim: Timestamp, another: (u64, u64)) {
    if last_claim > Timestamp::MIN {
        let (device, number) = another;
        let told = format!("{} {device} {number}", last_claim.as_millisecond());
        // Where it cannot be told, times may run twice, which is told by the error that led here.
        let _ = std::fs::write(beside(path, END), told);
    }
}

/// Takes back what was told, as the other state is in its place again.
pub(super) fn take_back(path: &Path) {
    let _ = std::fs::remove_file(beside(path, END));
}

/// Has the state opened at `path` when a service starts go on from what it was told, if it was.
pub(super) fn take_over(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let Some((claimed, another)) = told(path) else {
        return Ok(());
    };
    if identity(path) != Some(another) {
        connection.execute("UPDATE activations SET since = ?1 WHERE since < ?1", [claimed])?;
        connection.execute(
            "UPDATE runs SET status = 'skipped', finished_at = ?1, error = 'another state was in use at that time'
             WHERE status IN ('queued', 'running')",
            [claimed],
        )?;
    }
    take_back(path);
    Ok(())
}

/// Up to when runs were claimed, in milliseconds, and in which file.
fn told(path: &Path) -> Option<(i64, (u64, u64))> {
    let text = std::fs::read_to_string(beside(path, END)).ok()?;
    let mut words = text.split(' ');
    let claimed = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse().ok();
    Some((claimed, (number()?, number()?)))
}
