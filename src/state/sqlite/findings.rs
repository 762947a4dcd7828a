//! What the queries of alerts found, compared with what is known.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use super::super::{Change, Finding, NewMessage, StateError};
use super::{Sqlite, instant, outbox};
use crate::values::{JobId, Moment};

impl Sqlite {
    pub(in crate::state) fn reconcile(
        &mut self,
        job: &JobId,
        found: &[Finding],
        at: (Moment, Option<SignedDuration>),
        write: &impl Fn(&Change) -> Vec<NewMessage>,
    ) -> Result<Vec<Change>, StateError> {
        self.all_or_nothing(|transaction| reconcile(transaction, job, found, at, write))
    }
}

fn reconcile(
    transaction: &Connection,
    job: &JobId,
    found: &[Finding],
    (now, resend): (Moment, Option<SignedDuration>),
    write: &impl Fn(&Change) -> Vec<NewMessage>,
) -> rusqlite::Result<Vec<Change>> {
    let known: Vec<(Finding, Timestamp, Timestamp)> = transaction
        .prepare("SELECT key, message, since, told_at FROM findings WHERE job = ?1")?
        .query_map([job.as_str()], |row| {
            let found = Finding {
                key: row.get(0)?,
                message: row.get(1)?,
            };
            Ok((found, instant(row.get(2)?), instant(row.get(3)?)))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut changes = Vec::new();
    for finding in found {
        let before = known.iter().find(|(known, ..)| known.key == finding.key);
        let is_due =
            before.is_none_or(|(.., told)| resend.is_some_and(|resend| now.service.duration_since(*told) >= resend));
        if is_due {
            let since = before.map_or(now.wall, |(_, since, _)| *since);
            transaction.execute(
                "INSERT INTO findings (job, key, message, since, told_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (job, key) DO UPDATE SET message = excluded.message, told_at = excluded.told_at",
                params![
                    job.as_str(),
                    finding.key,
                    finding.message,
                    since.as_millisecond(),
                    now.service.as_millisecond()
                ],
            )?;
            changes.push(Change::Told(finding.clone()));
        }
    }
    for (gone, since, _) in known {
        if !found.iter().any(|finding| finding.key == gone.key) {
            transaction.execute(
                "DELETE FROM findings WHERE job = ?1 AND key = ?2",
                params![job.as_str(), gone.key],
            )?;
            changes.push(Change::Gone(gone, since));
        }
    }
    let messages: Vec<NewMessage> = changes.iter().flat_map(write).collect();
    outbox::put(transaction, &messages, now)?;
    Ok(changes)
}
