//! The outbox: messages on their way, kept until they are delivered or abandoned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use jiff::{SignedDuration, Timestamp};

use super::super::statements::{Connection, Durability, Fault, Row, Value, query_one, values};
use super::super::{NewMessage, OutboxCounts, OutboxRow, Outcome, StateError, Undelivered};
use super::Tables;
use crate::values::{Moment, later};

/// How long a message that was on its way when the process ended is not tried again. No attempt takes so long.
const LEASE: SignedDuration = SignedDuration::from_secs(60);

/// The messages that this process has claimed.
pub(super) type Claimed = BTreeMap<i64, Claim>;

/// A message that this process has claimed.
#[derive(Debug)]
pub(super) struct Claim {
    turn: String,
    /// Gone when whoever claimed it is gone.
    claimant: Weak<()>,
    /// What came of it, where that is known but not recorded yet.
    outcome: Option<(Outcome, Moment)>,
}

const COLUMNS: &str = "id, subject, coalesce(turn, channel), notification, attempts, created_at, coalesce(posted_at, created_at), finished_at";

impl Tables {
    pub(in crate::state) fn post(&mut self, messages: &[NewMessage], now: Moment) -> Result<(), StateError> {
        self.change(|connection| put(connection, messages, now))
    }

    pub(in crate::state) fn last_noted(
        &mut self,
        subjects: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, i64>, StateError> {
        self.read(|connection| {
            let rows: Vec<_> = subjects.iter().map(|subject| values![subject].to_vec()).collect();
            let newest = connection.each(
                "SELECT max(id) FROM outbox WHERE subject = ?1 AND status = 'delivered' AND noted = 1",
                &rows,
            )?;
            let mut found = BTreeMap::new();
            for (subject, rows) in subjects.iter().zip(newest) {
                let id: Option<i64> = rows.first().map_or(Ok(None), |row| row.get(0))?;
                found.extend(id.map(|id| (subject.clone(), id)));
            }
            Ok(found)
        })
    }

    /// Claims the next message that is due at `now`, in service time, and whose turn it is.
    pub(in crate::state) fn claim_message(&mut self, now: Timestamp) -> Result<Option<OutboxRow>, StateError> {
        self.record_outcomes()?;
        // What nobody will settle any more is tried again when its lease is over.
        self.claimed
            .retain(|_, claim| claim.outcome.is_some() || claim.claimant.strong_count() > 0);
        let turns: Vec<&String> = self.claimed.values().map(|claim| &claim.turn).collect();
        let row = self
            .engine
            .change(Durability::Disk, |connection| claim_next(connection, &turns, now))?;
        self.claimed.extend(row.iter().map(|row| {
            let claim = Claim {
                turn: row.turn.clone(),
                claimant: Arc::downgrade(&row.claimant),
                outcome: None,
            };
            (row.id, claim)
        }));
        Ok(row)
    }

    /// Records what came of a message that was claimed; remembers it where that fails.
    pub(in crate::state) fn settle(&mut self, id: i64, outcome: Outcome, now: Moment) -> Result<(), StateError> {
        if let Some(claim) = self.claimed.get_mut(&id) {
            claim.outcome = Some((outcome, now));
        }
        self.record_outcomes()
    }

    /// Records what came of messages and is not recorded yet, all or nothing.
    fn record_outcomes(&mut self) -> Result<(), StateError> {
        let mut claimed = std::mem::take(&mut self.claimed);
        let known = |(id, claim): (&i64, &Claim)| Some((*id, claim.outcome.clone()?));
        let outcomes: Vec<_> = claimed.iter().filter_map(known).collect();
        let recorded = if outcomes.is_empty() {
            Ok(())
        } else {
            self.change(|connection| {
                outcomes
                    .iter()
                    .try_for_each(|(id, (outcome, now))| record(connection, *id, outcome, *now))
            })
        };
        if recorded.is_ok() {
            claimed.retain(|_, claim| claim.outcome.is_none());
        }
        self.claimed = claimed;
        recorded
    }

    pub(in crate::state) fn retry_now(
        &mut self,
        subjects: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.change(|connection| {
            let rows: Vec<_> = subjects.iter().map(|subject| values![subject, now].to_vec()).collect();
            let retry = "UPDATE outbox SET next_attempt_at = ?2 WHERE subject = ?1 AND status = 'pending'";
            connection.each(retry, &rows).map(drop)
        })
    }

    pub(in crate::state) fn hold(&mut self, turn: &str, until: Timestamp) -> Result<(), StateError> {
        self.change(|connection| {
            let hold = "UPDATE outbox SET next_attempt_at = ?2
                 WHERE coalesce(turn, channel) = ?1 AND status = 'pending' AND next_attempt_at < ?2";
            connection.execute(hold, &values![turn, until]).map(drop)
        })
    }

    pub(in crate::state) fn unnoted(&mut self) -> Result<Vec<OutboxRow>, StateError> {
        self.read(|connection| {
            let query = format!("SELECT {COLUMNS} FROM outbox WHERE status = 'delivered' AND noted = 0 ORDER BY id");
            connection.query(&query, &[])?.iter().map(read_row).collect()
        })
    }

    pub(in crate::state) fn noted(&mut self, id: i64) -> Result<(), StateError> {
        self.change(|connection| {
            let note = "UPDATE outbox SET noted = 1 WHERE id = ?1";
            connection.execute(note, &values![id]).map(drop)
        })
    }

    pub(in crate::state) fn undelivered(&mut self, most: u32) -> Result<Vec<Undelivered>, StateError> {
        self.read(|connection| {
            let rows = connection.query(
                "SELECT id, subject, coalesce(turn, channel), status, created_at, attempts, substr(last_error, 1, 1000) FROM outbox
                 WHERE status IN ('pending', 'dead') ORDER BY id DESC LIMIT ?1",
                &values![most],
            )?;
            let read = |row: Row| {
                Ok(Undelivered {
                    id: row.get(0)?,
                    subject: row.get(1)?,
                    channel: row.get(2)?,
                    status: row.get(3)?,
                    created_at: row.get(4)?,
                    attempts: row.get(5)?,
                    last_error: row.get(6)?,
                })
            };
            rows.into_iter().map(read).collect()
        })
    }

    pub(in crate::state) fn outbox_counts(&mut self) -> Result<OutboxCounts, StateError> {
        self.read(|connection| {
            let counts = query_one(
                connection,
                "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'dead'),
                     min(created_at) FILTER (WHERE status = 'pending') FROM outbox",
                &[],
            )?;
            let read = |row: Row| {
                Ok(OutboxCounts {
                    pending: row.get(0)?,
                    dead: row.get(1)?,
                    oldest: row.get(2)?,
                })
            };
            counts.map_or_else(|| Ok(OutboxCounts::default()), read)
        })
    }
}

/// Claims the next message that is due and takes none of `turns`.
fn claim_next(connection: &mut dyn Connection, turns: &[&String], now: Timestamp) -> Result<Option<OutboxRow>, Fault> {
    let mut values: Vec<Value<'_>> = values![now, later(now, LEASE)].to_vec();
    values.extend(turns.iter().map(|turn| Value::from(*turn)));
    let taken: Vec<String> = (3..=values.len()).map(|number| format!(", ?{number}")).collect();
    let taken = taken.concat();
    let row = query_one(
        connection,
        &format!(
            "UPDATE outbox SET next_attempt_at = ?2, attempts = attempts + 1 WHERE id = (
                 SELECT id FROM outbox WHERE status = 'pending' AND next_attempt_at <= ?1
                 AND coalesce(turn, channel) NOT IN (''{taken})
                 AND NOT EXISTS (SELECT 1 FROM outbox AS older WHERE older.status = 'pending'
                     AND older.subject = outbox.subject AND older.channel = outbox.channel AND older.id < outbox.id)
                 ORDER BY next_attempt_at, id LIMIT 1)
             RETURNING {COLUMNS}"
        ),
        &values,
    )?;
    row.as_ref().map(read_row).transpose()
}

/// Puts messages into the outbox.
pub(super) fn put(connection: &mut dyn Connection, messages: &[NewMessage], now: Moment) -> Result<(), Fault> {
    for message in messages {
        let NewMessage {
            subject,
            cause,
            channel,
            turn,
            notification,
            supersedes,
        } = message;
        if *supersedes {
            let replaced = connection.execute(
                "DELETE FROM outbox WHERE subject = ?1 AND channel = ?3 AND cause <> ?2 AND status = 'pending'",
                &values![subject, cause, channel],
            )?;
            if replaced > 0 {
                tracing::info!(subject, "a message that was not sent yet gives way to a newer one");
            }
        }
        connection.execute(
            "INSERT INTO outbox (subject, cause, channel, turn, notification, created_at, posted_at, next_attempt_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
             ON CONFLICT (subject, cause, channel) DO UPDATE SET notification = excluded.notification WHERE outbox.status = 'pending'",
            &values![subject, cause, channel, turn, notification, now.wall, now.service],
        )?;
    }
    Ok(())
}

/// Records what came of a message.
fn record(connection: &mut dyn Connection, id: i64, outcome: &Outcome, now: Moment) -> Result<(), Fault> {
    let now = now.wall;
    match outcome {
        Outcome::Delivered => connection.execute(
            "UPDATE outbox SET status = 'delivered', finished_at = ?2, last_error = NULL WHERE id = ?1",
            &values![id, now],
        ),
        Outcome::Retry { at, error } => connection.execute(
            "UPDATE outbox SET next_attempt_at = ?2, last_error = ?3 WHERE id = ?1",
            &values![id, *at, error],
        ),
        Outcome::Dead { error } => connection.execute(
            "UPDATE outbox SET status = 'dead', finished_at = ?2, last_error = ?3, noted = 1 WHERE id = ?1",
            &values![id, now, error],
        ),
        Outcome::Void => connection.execute(
            "UPDATE outbox SET status = 'void', finished_at = ?2, noted = 1 WHERE id = ?1",
            &values![id, now],
        ),
    }
    .map(drop)
}

fn read_row(row: &Row) -> Result<OutboxRow, Fault> {
    Ok(OutboxRow {
        id: row.get(0)?,
        subject: row.get(1)?,
        turn: row.get(2)?,
        notification: row.get(3)?,
        attempts: row.get(4)?,
        created_at: row.get(5)?,
        posted_at: row.get(6)?,
        finished_at: row.get(7)?,
        claimant: Arc::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::on_each;
    use super::*;

    fn message(cause: &str, channel: &str) -> NewMessage {
        NewMessage {
            subject: "s".to_owned(),
            cause: cause.to_owned(),
            channel: channel.to_owned(),
            turn: channel.to_owned(),
            notification: "{}".to_owned(),
            supersedes: true,
        }
    }

    fn claim(outbox: &mut Tables, now: Timestamp) -> Option<OutboxRow> {
        outbox.claim_message(now).unwrap()
    }

    fn at(time: &str) -> Moment {
        let time = time.parse().unwrap();
        Moment {
            wall: time,
            service: time,
        }
    }

    #[test]
    fn a_message_is_posted_once_claimed_once_and_replaced_by_a_newer_one() {
        on_each(|open| {
            let mut outbox = open();
            let moment = at("2026-11-20T12:30:00Z");
            let now = moment.service;
            outbox
                .post(&[message("first", "ntfy"), message("first", "mail")], moment)
                .unwrap();
            outbox.post(&[message("first", "ntfy")], moment).unwrap();
            let claimed = claim(&mut outbox, now).unwrap();
            assert_eq!((claimed.turn.as_str(), claimed.attempts), ("ntfy", 1));
            let mail = claim(&mut outbox, now).unwrap();
            assert_eq!(mail.turn, "mail");
            assert_eq!(claim(&mut outbox, now), None, "both are claimed");
            outbox.settle(claimed.id, Outcome::Delivered, moment).unwrap();
            assert_eq!(claim(&mut outbox, now + LEASE), None, "it is still on its way");
            drop((outbox, mail));
            let mut outbox = open();
            assert_eq!(claim(&mut outbox, now), None, "it was on its way a moment ago");
            let again = claim(&mut outbox, now + LEASE).unwrap();
            assert_eq!(again.turn, "mail", "the lease is over");
            outbox
                .post(&[message("second", "ntfy"), message("second", "mail")], moment)
                .unwrap();
            assert_eq!(
                outbox.outbox_counts().map(|counts| (counts.pending, counts.dead)),
                Ok((2, 0)),
                "the older mail is replaced"
            );
            assert_eq!(outbox.unnoted().unwrap().len(), 1);
            outbox.noted(claimed.id).unwrap();
            assert!(outbox.unnoted().unwrap().is_empty());
        });
    }

    #[test]
    fn what_came_of_a_message_is_recorded_once_that_can_be_and_before_anything_is_claimed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let aside = folder.path().join("aside.db");
        let mut outbox = Tables::at(&path);
        let moment = at("2026-11-20T12:30:00Z");
        outbox.post(&[message("first", "ntfy")], moment).unwrap();
        let claimed = claim(&mut outbox, moment.service).unwrap();
        std::fs::rename(&path, &aside).unwrap();
        assert!(outbox.settle(claimed.id, Outcome::Delivered, moment).is_err());
        assert!(outbox.claim_message(moment.service).is_err());
        std::fs::rename(&aside, &path).unwrap();
        let much_later = later(moment.service, LEASE * 5);
        assert_eq!(claim(&mut outbox, much_later), None, "it was sent");
        assert_eq!(outbox.outbox_counts().unwrap().pending, 0);
    }
}
