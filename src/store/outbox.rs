//! The outbox: messages on their way, kept in the state database until they are delivered or given up.
//!
//! Two databases cannot commit together, so the order of writes is what makes a crash harmless:
//!
//! 1. the rows are written here, unique by subject, cause and channel;
//! 2. a row is claimed (its next attempt put off), then sent;
//! 3. it is marked delivered here;
//! 4. the delivery is noted in the application's database (stamp and audit row);
//! 5. it is marked noted here.
//!
//! A crash after 1 or 2 sends at the next attempt, after 3 or 4 notes at the next check. The cause holds the stamp
//! that was there before and the last letter that is noted, so that until step 5 the same cause comes up again and
//! finds its rows in place, and a stamp that the application drops or sets back afterwards is another cause. Only a
//! crash between sending and 3 can send twice, and then under the same id.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

pub(crate) use super::depth::Depth;
pub(crate) use super::letter::{Letter, Posted};
use super::run::instant;
use super::schema;
use super::sqlite::{Unusable, describe};
use crate::values::later;

/// How long whoever claimed a row may take to send it.
const LEASE: SignedDuration = SignedDuration::from_secs(60);
const BUSY: Duration = Duration::from_secs(5);

/// The outbox in a state database.
#[derive(Debug)]
pub(crate) struct Outbox {
    connection: Connection,
}

impl Outbox {
    /// Opens the outbox of the state database at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, Unusable> {
        let connection = schema::open(path)?;
        connection.busy_timeout(BUSY).map_err(|error| Unusable {
            path: path.to_owned(),
            why: describe(&error),
        })?;
        Ok(Self { connection })
    }

    /// Posts the letters, all or none. One that is there already is not posted again, but brought up to date while it
    /// waits; one that waits with an older cause for the same subject and channel is replaced.
    pub(crate) fn post(&mut self, letters: &[Letter], now: Timestamp) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        put(&transaction, letters, now)?;
        transaction.commit()
    }

    /// The newest letter about `subject` whose delivery is noted where the application looks for it.
    pub(crate) fn last_noted(&self, subject: &str) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT max(id) FROM outbox WHERE subject = ?1 AND status = 'delivered' AND noted = 1")?
            .query_row([subject], |row| row.get(0))
    }

    /// To how many channels letters are due at `now`.
    pub(crate) fn channels_due(&self, now: Timestamp) -> rusqlite::Result<u32> {
        self.connection
            .prepare_cached(
                "SELECT count(DISTINCT channel) FROM outbox WHERE status = 'pending' AND next_attempt_at <= ?1",
            )?
            .query_row([now.as_millisecond()], |row| row.get(0))
    }

    /// Claims the next letter that is due at `now` and goes to none of the channels `except`. Whoever has it must say
    /// how it went within the lease.
    pub(crate) fn claim(&mut self, now: Timestamp, except: &BTreeSet<String>) -> rusqlite::Result<Option<Posted>> {
        let except = serde_json::json!(except).to_string();
        self.connection
            .prepare_cached(
                "UPDATE outbox SET next_attempt_at = ?2, attempts = attempts + 1 WHERE id = (
                     SELECT id FROM outbox WHERE status = 'pending' AND next_attempt_at <= ?1
                     AND channel NOT IN (SELECT value FROM json_each(?3))
                     AND NOT EXISTS (SELECT 1 FROM outbox AS older WHERE older.status = 'pending'
                         AND older.subject = outbox.subject AND older.channel = outbox.channel AND older.id < outbox.id)
                     ORDER BY next_attempt_at, id LIMIT 1)
                 RETURNING id, subject, cause, channel, envelope, attempts, created_at, finished_at",
            )?
            .query_row(
                params![now.as_millisecond(), later(now, LEASE).as_millisecond(), except],
                read_row,
            )
            .optional()
    }

    /// Makes the letters about `subjects` that wait for another attempt due at once.
    pub(crate) fn hasten(&mut self, subjects: &BTreeSet<String>, now: Timestamp) -> rusqlite::Result<()> {
        for subject in subjects {
            self.connection
                .prepare_cached("UPDATE outbox SET next_attempt_at = ?2 WHERE subject = ?1 AND status = 'pending'")?
                .execute(params![subject, now.as_millisecond()])?;
        }
        Ok(())
    }

    /// Puts off whatever waits for `channel` until then.
    pub(crate) fn hold(&mut self, channel: &str, until: Timestamp) -> rusqlite::Result<()> {
        self.execute(
            "UPDATE outbox SET next_attempt_at = ?2 WHERE channel = ?1 AND status = 'pending' AND next_attempt_at < ?2",
            params![channel, until.as_millisecond()],
        )
    }

    /// Marks a letter delivered.
    pub(crate) fn delivered(&mut self, id: i64, now: Timestamp) -> rusqlite::Result<()> {
        self.execute(
            "UPDATE outbox SET status = 'delivered', finished_at = ?2, last_error = NULL WHERE id = ?1",
            params![id, now.as_millisecond()],
        )
    }

    /// Puts a letter off after a failed attempt.
    pub(crate) fn put_off(&mut self, id: i64, until: Timestamp, error: &str) -> rusqlite::Result<()> {
        self.execute(
            "UPDATE outbox SET next_attempt_at = ?2, last_error = ?3 WHERE id = ?1",
            params![id, until.as_millisecond(), error],
        )
    }

    /// Gives a letter up.
    pub(crate) fn give_up(&mut self, id: i64, now: Timestamp, error: &str) -> rusqlite::Result<()> {
        self.execute(
            "UPDATE outbox SET status = 'dead', finished_at = ?2, last_error = ?3, noted = 1 WHERE id = ?1",
            params![id, now.as_millisecond(), error],
        )
    }

    /// Letters that were delivered but not noted in the application's database yet.
    pub(crate) fn to_be_noted(&self) -> rusqlite::Result<Vec<Posted>> {
        self.connection
            .prepare_cached(
                "SELECT id, subject, cause, channel, envelope, attempts, created_at, finished_at FROM outbox
                 WHERE status = 'delivered' AND noted = 0 ORDER BY id",
            )?
            .query_map([], read_row)?
            .collect()
    }

    /// Marks a letter's delivery as noted.
    pub(crate) fn noted(&mut self, id: i64) -> rusqlite::Result<()> {
        self.execute("UPDATE outbox SET noted = 1 WHERE id = ?1", [id])
    }

    fn execute(&self, sql: &str, parameters: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(parameters).map(drop)
    }
}

/// Puts the letters into the outbox, within a transaction of the caller.
pub(super) fn put(connection: &Connection, letters: &[Letter], now: Timestamp) -> rusqlite::Result<()> {
    for letter in letters {
        if letter.supersedes {
            connection
                .prepare_cached(
                    "DELETE FROM outbox WHERE subject = ?1 AND channel = ?3 AND cause <> ?2 AND status = 'pending'",
                )?
                .execute(params![letter.subject, letter.cause, letter.channel])?;
        }
        connection
            .prepare_cached(
                "INSERT INTO outbox (subject, cause, channel, envelope, created_at, next_attempt_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (subject, cause, channel) DO UPDATE SET envelope = excluded.envelope WHERE status = 'pending'",
            )?
            .execute(params![
                letter.subject,
                letter.cause,
                letter.channel,
                letter.envelope,
                now.as_millisecond()
            ])?;
    }
    Ok(())
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<Posted> {
    Ok(Posted {
        id: row.get(0)?,
        letter: Letter {
            subject: row.get(1)?,
            cause: row.get(2)?,
            channel: row.get(3)?,
            envelope: row.get(4)?,
            supersedes: true,
        },
        attempts: row.get(5)?,
        created_at: instant(row.get(6)?),
        finished_at: row.get::<_, Option<i64>>(7)?.map(instant),
    })
}

#[cfg(test)]
mod tests {
    use super::super::depth::depth;
    use super::*;

    fn letter(cause: &str, channel: &str) -> Letter {
        Letter {
            subject: "s".to_owned(),
            cause: cause.to_owned(),
            channel: channel.to_owned(),
            envelope: "{}".to_owned(),
            supersedes: true,
        }
    }

    fn claim(outbox: &mut Outbox, now: Timestamp, except: &[&str]) -> Option<Posted> {
        let except = except.iter().map(ToString::to_string).collect();
        outbox.claim(now, &except).unwrap()
    }

    #[test]
    fn a_letter_is_posted_once_claimed_once_and_replaced_by_a_newer_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(&folder.path().join("state.db")).unwrap();
        let now: Timestamp = "2026-11-20T12:30:00Z".parse().unwrap();
        outbox
            .post(&[letter("first", "ntfy"), letter("first", "mail")], now)
            .unwrap();
        outbox.post(&[letter("first", "ntfy")], now).unwrap();
        assert_eq!(claim(&mut outbox, now, &["ntfy", "mail"]), None, "others serve both");
        let claimed = claim(&mut outbox, now, &[]).unwrap();
        assert_eq!((claimed.letter.channel.as_str(), claimed.attempts), ("ntfy", 1));
        assert_eq!(claim(&mut outbox, now, &["ntfy"]).unwrap().letter.channel, "mail");
        assert_eq!(claim(&mut outbox, now, &[]), None, "both are claimed");
        outbox.delivered(claimed.id, now).unwrap();
        let again = claim(&mut outbox, now + LEASE, &[]).unwrap();
        assert_eq!(again.letter.channel, "mail", "the lease is over");
        outbox
            .post(&[letter("second", "ntfy"), letter("second", "mail")], now)
            .unwrap();
        assert_eq!(
            depth(&outbox.connection).unwrap(),
            Depth { pending: 2, dead: 0 },
            "the older mail is replaced"
        );
        assert_eq!(outbox.to_be_noted().unwrap().len(), 1);
        outbox.noted(claimed.id).unwrap();
        assert!(outbox.to_be_noted().unwrap().is_empty());
    }
}
