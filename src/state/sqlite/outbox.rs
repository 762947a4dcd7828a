//! The outbox: messages on their way, kept until they are delivered or abandoned.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::{NewMessage, OutboxCounts, OutboxRow, StateError};
use super::{Sqlite, instant};
use crate::values::later;

/// How long whoever claimed a message may take to send it.
const LEASE: SignedDuration = SignedDuration::from_secs(60);

impl Sqlite {
    pub(in crate::state) fn post(&mut self, messages: &[NewMessage], now: Timestamp) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| put(transaction, messages, now))
    }

    pub(in crate::state) fn last_noted(
        &mut self,
        subjects: BTreeSet<String>,
    ) -> Result<BTreeMap<String, i64>, StateError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT max(id) FROM outbox WHERE subject = ?1 AND status = 'delivered' AND noted = 1",
            )?;
            let mut found = BTreeMap::new();
            for subject in subjects {
                let id: Option<i64> = query.query_row([&subject], |row| row.get(0))?;
                found.extend(id.map(|id| (subject, id)));
            }
            Ok(found)
        })
    }

    pub(in crate::state) fn claim_message(
        &mut self,
        now: Timestamp,
        except: &BTreeSet<String>,
    ) -> Result<Option<OutboxRow>, StateError> {
        let except = serde_json::json!(except).to_string();
        self.with(|connection| {
            connection
                .prepare_cached(
                    "UPDATE outbox SET next_attempt_at = ?2, attempts = attempts + 1 WHERE id = (
                         SELECT id FROM outbox WHERE status = 'pending' AND next_attempt_at <= ?1
                         AND channel NOT IN (SELECT value FROM json_each(?3))
                         AND NOT EXISTS (SELECT 1 FROM outbox AS older WHERE older.status = 'pending'
                             AND older.subject = outbox.subject AND older.channel = outbox.channel AND older.id < outbox.id)
                         ORDER BY next_attempt_at, id LIMIT 1)
                     RETURNING id, subject, channel, notification, attempts, created_at, finished_at",
                )?
                .query_row(
                    params![now.as_millisecond(), later(now, LEASE).as_millisecond(), except],
                    read_row,
                )
                .optional()
        })
    }

    pub(in crate::state) fn retry_now(
        &mut self,
        subjects: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.all_or_nothing(|transaction| {
            for subject in subjects {
                transaction
                    .prepare_cached("UPDATE outbox SET next_attempt_at = ?2 WHERE subject = ?1 AND status = 'pending'")?
                    .execute(params![subject, now.as_millisecond()])?;
            }
            Ok(())
        })
    }

    pub(in crate::state) fn hold(&mut self, channel: &str, until: Timestamp) -> Result<(), StateError> {
        self.execute(
            "UPDATE outbox SET next_attempt_at = ?2 WHERE channel = ?1 AND status = 'pending' AND next_attempt_at < ?2",
            params![channel, until.as_millisecond()],
        )
    }

    pub(in crate::state) fn delivered(&mut self, id: i64, now: Timestamp) -> Result<(), StateError> {
        self.execute(
            "UPDATE outbox SET status = 'delivered', finished_at = ?2, last_error = NULL WHERE id = ?1",
            params![id, now.as_millisecond()],
        )
    }

    pub(in crate::state) fn reschedule(&mut self, id: i64, at: Timestamp, error: &str) -> Result<(), StateError> {
        self.execute(
            "UPDATE outbox SET next_attempt_at = ?2, last_error = ?3 WHERE id = ?1",
            params![id, at.as_millisecond(), error],
        )
    }

    pub(in crate::state) fn abandon(&mut self, id: i64, now: Timestamp, error: &str) -> Result<(), StateError> {
        self.execute(
            "UPDATE outbox SET status = 'dead', finished_at = ?2, last_error = ?3, noted = 1 WHERE id = ?1",
            params![id, now.as_millisecond(), error],
        )
    }

    pub(in crate::state) fn unnoted(&mut self) -> Result<Vec<OutboxRow>, StateError> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, subject, channel, notification, attempts, created_at, finished_at FROM outbox
                     WHERE status = 'delivered' AND noted = 0 ORDER BY id",
                )?
                .query_map([], read_row)?
                .collect()
        })
    }

    pub(in crate::state) fn noted(&mut self, id: i64) -> Result<(), StateError> {
        self.execute("UPDATE outbox SET noted = 1 WHERE id = ?1", [id])
    }

    pub(in crate::state) fn outbox_counts(&mut self) -> Result<OutboxCounts, StateError> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'dead') FROM outbox",
                )?
                .query_row([], |row| {
                    Ok(OutboxCounts {
                        pending: row.get(0)?,
                        dead: row.get(1)?,
                    })
                })
        })
    }
}

/// Puts messages into the outbox, within a transaction of the caller.
pub(super) fn put(connection: &Connection, messages: &[NewMessage], now: Timestamp) -> rusqlite::Result<()> {
    for message in messages {
        if message.supersedes {
            connection
                .prepare_cached(
                    "DELETE FROM outbox WHERE subject = ?1 AND channel = ?3 AND cause <> ?2 AND status = 'pending'",
                )?
                .execute(params![message.subject, message.cause, message.channel])?;
        }
        connection
            .prepare_cached(
                "INSERT INTO outbox (subject, cause, channel, notification, created_at, next_attempt_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (subject, cause, channel) DO UPDATE SET notification = excluded.notification WHERE status = 'pending'",
            )?
            .execute(params![
                message.subject,
                message.cause,
                message.channel,
                message.notification,
                now.as_millisecond()
            ])?;
    }
    Ok(())
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    Ok(OutboxRow {
        id: row.get(0)?,
        subject: row.get(1)?,
        channel: row.get(2)?,
        notification: row.get(3)?,
        attempts: row.get(4)?,
        created_at: instant(row.get(5)?),
        finished_at: row.get::<_, Option<i64>>(6)?.map(instant),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(cause: &str, channel: &str) -> NewMessage {
        NewMessage {
            subject: "s".to_owned(),
            cause: cause.to_owned(),
            channel: channel.to_owned(),
            notification: "{}".to_owned(),
            supersedes: true,
        }
    }

    fn claim(outbox: &mut Sqlite, now: Timestamp, except: &[&str]) -> Option<OutboxRow> {
        let except = except.iter().map(ToString::to_string).collect();
        outbox.claim_message(now, &except).unwrap()
    }

    #[test]
    fn a_message_is_posted_once_claimed_once_and_replaced_by_a_newer_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Sqlite::new(&folder.path().join("state.db"));
        let now: Timestamp = "2026-11-20T12:30:00Z".parse().unwrap();
        outbox
            .post(&[message("first", "ntfy"), message("first", "mail")], now)
            .unwrap();
        outbox.post(&[message("first", "ntfy")], now).unwrap();
        assert_eq!(claim(&mut outbox, now, &["ntfy", "mail"]), None, "others serve both");
        let claimed = claim(&mut outbox, now, &[]).unwrap();
        assert_eq!((claimed.channel.as_str(), claimed.attempts), ("ntfy", 1));
        assert_eq!(claim(&mut outbox, now, &["ntfy"]).unwrap().channel, "mail");
        assert_eq!(claim(&mut outbox, now, &[]), None, "both are claimed");
        outbox.delivered(claimed.id, now).unwrap();
        let again = claim(&mut outbox, now + LEASE, &[]).unwrap();
        assert_eq!(again.channel, "mail", "the lease is over");
        outbox
            .post(&[message("second", "ntfy"), message("second", "mail")], now)
            .unwrap();
        assert_eq!(
            outbox.outbox_counts().unwrap(),
            OutboxCounts { pending: 2, dead: 0 },
            "the older mail is replaced"
        );
        assert_eq!(outbox.unnoted().unwrap().len(), 1);
        outbox.noted(claimed.id).unwrap();
        assert!(outbox.unnoted().unwrap().is_empty());
    }
}
