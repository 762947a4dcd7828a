//! What the queries of alerts found: each is told when it is new, again from time to time, and when it is gone.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, TransactionBehavior, params};

use super::outbox::{self, Letter};
use super::run::instant;
use super::schema;
use super::sqlite::Unusable;
use crate::values::JobId;

/// A finding as it was found now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What makes it the same as one of another run.
    pub key: String,
    /// What it says.
    pub message: String,
}

/// What changed about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is there since now, or is due to be told again.
    Told(Found),
    /// It is gone, and was there since then.
    Gone(Found, Timestamp),
}

/// Compares what `job` found with what is known, takes down what changed, and posts the letters that `write` makes of
/// it, all at once. Gives the changes.
pub(crate) fn reconcile(
    state: &Path,
    job: &JobId,
    found: &[Found],
    at: (Timestamp, Option<SignedDuration>),
    write: impl Fn(&Change) -> Vec<Letter>,
) -> Result<Vec<Change>, Unusable> {
    let mut connection = schema::open(state)?;
    let unusable = |error: rusqlite::Error| Unusable::from_sqlite(state, &error);
    reconcile_in(&mut connection, job, found, at, write).map_err(unusable)
}

fn reconcile_in(
    connection: &mut Connection,
    job: &JobId,
    found: &[Found],
    (now, resend): (Timestamp, Option<SignedDuration>),
    write: impl Fn(&Change) -> Vec<Letter>,
) -> rusqlite::Result<Vec<Change>> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known: Vec<(Found, Timestamp, Timestamp)> = transaction
        .prepare("SELECT key, message, since, told_at FROM findings WHERE job = ?1")?
        .query_map([job.as_str()], |row| {
            let found = Found {
                key: row.get(0)?,
                message: row.get(1)?,
            };
            Ok((found, instant(row.get(2)?), instant(row.get(3)?)))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut changes = Vec::new();
    for finding in found {
        let before = known.iter().find(|(known, ..)| known.key == finding.key);
        let is_due = before.is_none_or(|(.., told)| resend.is_some_and(|resend| now.duration_since(*told) >= resend));
        if is_due {
            let since = before.map_or(now, |(_, since, _)| *since);
            transaction.execute(
                "INSERT OR REPLACE INTO findings VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    job.as_str(),
                    finding.key,
                    finding.message,
                    since.as_millisecond(),
                    now.as_millisecond()
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
    let letters: Vec<Letter> = changes.iter().flat_map(write).collect();
    outbox::put(&transaction, &letters, now)?;
    transaction.commit()?;
    Ok(changes)
}
