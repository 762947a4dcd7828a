//! What the queries of alerts found, compared with what is known.

use jiff::{SignedDuration, Timestamp};

use super::super::statements::{Connection, Fault, Row, values};
use super::super::{Change, Finding, NewMessage, StateError};
use super::{Tables, outbox};
use crate::values::{JobId, Moment};

impl Tables {
    pub(in crate::state) fn reconcile(
        &mut self,
        job: &JobId,
        found: &[Finding],
        at: (Moment, Option<SignedDuration>),
        write: &impl Fn(&Change) -> Vec<NewMessage>,
    ) -> Result<Vec<Change>, StateError> {
        self.change(|connection| reconcile(connection, job, found, at, write))
    }
}

fn reconcile(
    connection: &mut dyn Connection,
    job: &JobId,
    found: &[Finding],
    (now, resend): (Moment, Option<SignedDuration>),
    write: &impl Fn(&Change) -> Vec<NewMessage>,
) -> Result<Vec<Change>, Fault> {
    let known = read(connection, job)?;
    let mut changes = Vec::new();
    for finding in found {
        let before = known.iter().find(|(known, ..)| known.key == finding.key);
        let is_due =
            before.is_none_or(|(.., told)| resend.is_some_and(|resend| now.service.duration_since(*told) >= resend));
        if is_due {
            let since = before.map_or(now.wall, |(_, since, _)| *since);
            connection.execute(
                "INSERT INTO findings (job, key, message, since, told_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (job, key) DO UPDATE SET message = excluded.message, told_at = excluded.told_at",
                &values![job, &finding.key, &finding.message, since, now.service],
            )?;
            changes.push(Change::Told(finding.clone()));
        }
    }
    for (gone, since, _) in known {
        if !found.iter().any(|finding| finding.key == gone.key) {
            connection.execute(
                "DELETE FROM findings WHERE job = ?1 AND key = ?2",
                &values![job, &gone.key],
            )?;
            changes.push(Change::Gone(gone, since));
        }
    }
    let messages: Vec<NewMessage> = changes.iter().flat_map(write).collect();
    outbox::put(connection, &messages, now)?;
    Ok(changes)
}

/// What is known: since when it has been there, and when it was told.
fn read(connection: &mut dyn Connection, job: &JobId) -> Result<Vec<(Finding, Timestamp, Timestamp)>, Fault> {
    let rows = connection.query(
        "SELECT key, message, since, told_at FROM findings WHERE job = ?1",
        &values![job],
    )?;
    let read = |row: Row| {
        let found = Finding {
            key: row.get(0)?,
            message: row.get(1)?,
        };
        Ok((found, row.get(2)?, row.get(3)?))
    };
    rows.into_iter().map(read).collect()
}
