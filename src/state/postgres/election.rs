//! Who of the replicas leads: one row is the lease. It is taken where it has run out, by the server's clock, and renewed by
//! its holder, who goes by it for less time than it lasts.
//!
//! Here is what is asked of the server; when, and what follows from it, is left to the engine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::lease::{Lease, Term};
use super::{Postgres, StateError, StateServer};
use crate::postgres::{Connection, Parameters, Row, Type};
use crate::values::{Deadline, Threads, VERSION, awake_and_asleep, lock};

/// How long a lease lasts.
const LEASE: &str = "10 seconds";
/// How long its holder goes by it, from when it asked for it.
const HELD: Duration = Duration::from_secs(8);
/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a replica says that it is there.
const BETWEEN_SIGNS: Duration = Duration::from_secs(3);

/// A replica that may lead.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    inner: Arc<Mutex<Inner>>,
    /// The one thread that asks, so that nothing else holds it up.
    thread: Threads,
    lease: Lease,
}

#[derive(Debug)]
struct Inner {
    server: Arc<StateServer>,
    connection: Option<Connection>,
    lease: Lease,
    name: String,
    /// The renewals that the server has confirmed last.
    confirmed: i64,
    /// When this replica has said that it is there, and with which plan.
    seen: Option<(Duration, String)>,
}

/// A leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub id: String,
    pub since: Timestamp,
}

/// A replica that was seen a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    pub id: String,
    pub name: String,
    pub version: String,
    /// What tells its plan from others.
    pub plan: String,
    pub started_at: Timestamp,
}

/// What somebody has asked of a standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub id: i64,
    pub question: String,
}

/// What a look at the lease has shown.
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    /// Whether the lease was taken or renewed.
    pub is_renewed: bool,
    /// Whether changes are gone that were confirmed: the server is not the one it was.
    pub has_lost: bool,
    pub leader: Option<Leader>,
    pub replicas: Vec<Replica>,
    pub requests: Vec<Request>,
    /// What the server's clock has shown, and when that was, as [`awake_and_asleep`] counts.
    pub clock: (Timestamp, Duration),
}

/// What a replica does about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseAction {
    /// Takes it, where it has run out.
    Take,
    /// Renews it, having handled what was due up to then.
    Renew(Timestamp),
    /// Only looks.
    Look,
}

impl Candidate {
    /// A candidate for leading where the state is on `server`.
    pub(in crate::state) fn new(server: Arc<StateServer>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host = host.replace(|c: char| !(c.is_ascii_alphanumeric() || "-._".contains(c)), "_");
        // No two starts on one host have both in common.
        let lease = Lease::of(&format!(
            "{host}-{}-{}",
            std::process::id(),
            awake_and_asleep().as_millis()
        ));
        let inner = Inner {
            server,
            connection: None,
            lease: lease.clone(),
            name: host,
            confirmed: 0,
            seen: None,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            thread: Threads::new(1),
            lease,
        }
    }

    /// The state on `server`, which may be changed while this replica leads.
    pub(in crate::state) fn state(&self, server: &Arc<StateServer>) -> Postgres {
        Postgres::new(Arc::clone(server), self.lease.clone())
    }

    /// Its name among the replicas, new at every start.
    pub(crate) fn id(&self) -> &str {
        &self.lease.holder
    }

    /// Until when it may lead.
    pub(in crate::state) fn deadline(&self) -> Deadline {
        self.lease.deadline.clone()
    }

    /// Takes the lease, which nobody else has.
    #[cfg(test)]
    pub(in crate::state) fn lead(&self) {
        let tick = lock(&self.inner).tick(LeaseAction::Take, "").unwrap();
        assert!(self.term().is_some(), "{tick:?}");
    }

    /// Holds the first lease, without a server.
    #[cfg(test)]
    pub(crate) fn hold(&self) {
        let term = Term {
            number: 1,
            ..Term::default()
        };
        self.lease.take(term, awake_and_asleep() + HELD);
    }

    /// The term in which this replica leads, if it does.
    pub(crate) fn term(&self) -> Option<Term> {
        self.lease.term()
    }

    /// Leads no more in the term of that number.
    pub(crate) fn step_down(&self, term: i64) {
        self.lease.end(term);
    }

    /// Takes or renews the lease, says that this replica is there, with `plan` in force, and looks who else is.
    pub(crate) async fn tick(&self, action: LeaseAction, plan: String) -> Result<Tick, StateError> {
        self.ask(move |inner| inner.tick(action, &plan)).await
    }

    /// Gives the lease back, at an orderly end.
    pub(crate) async fn resign(&self, handled_until: Timestamp) -> Result<(), StateError> {
        self.ask(move |inner| inner.resign(handled_until)).await
    }

    /// Asks the leader, who may take that up for as long as `patience`; gives the number of the request.
    pub(crate) async fn request(&self, question: String, patience: Duration) -> Result<i64, StateError> {
        self.ask(move |inner| inner.request(&question, patience)).await
    }

    /// What the leader has answered, if it has.
    pub(crate) async fn answer_to(&self, request: i64) -> Result<Option<String>, StateError> {
        self.ask(move |inner| inner.answer_to(request)).await
    }

    /// Takes a request back that no leader has taken up; false where one has.
    pub(crate) async fn withdraw(&self, request: i64) -> Result<bool, StateError> {
        self.ask(move |inner| inner.withdraw(request)).await
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: i64, answer: String) -> Result<(), StateError> {
        self.ask(move |inner| inner.answer(request, &answer)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Inner) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let inner = Arc::clone(&self.inner);
        self.thread.run(move || question(&mut lock(&inner))).await
    }
}

impl Inner {
    fn tick(&mut self, action: LeaseAction, plan: &str) -> Result<Tick, StateError> {
        let led = self.lease.term().is_some();
        let is_renewed = match action {
            // It was taken by a tick that nobody waited for any more.
            LeaseAction::Take if led => false,
            LeaseAction::Take => self.take()?,
            LeaseAction::Renew(handled_until) => self.renew(handled_until)?,
            LeaseAction::Look => false,
        };
        self.be_seen(plan)?;
        self.look(is_renewed, led)
    }

    /// Takes the lease where it has run out; whether it had.
    fn take(&mut self) -> Result<bool, StateError> {
        let asked_at = awake_and_asleep();
        let id = Arc::clone(&self.lease.holder);
        let version = i64::try_from(super::schema::VERSION).unwrap_or(0);
        let rows = self.query(
            "WITH free AS (SELECT handled_until AS handled FROM {schema}.leader WHERE name = 'main' AND expires_at < now()
                 AND (SELECT version FROM {schema}.version) <= $3 FOR UPDATE)
             UPDATE {schema}.leader SET holder = $1, term = term + 1, since = now(), expires_at = now() + $2::interval, renewals = renewals + 1 FROM free
             WHERE name = 'main' RETURNING term, handled_until, EXISTS (SELECT 1 FROM {schema}.replicas
                 WHERE id = $1 AND extract(epoch FROM started_at) * 1000 <= free.handled)",
            &vec![(&&*id, Type::TEXT), (&LEASE, Type::TEXT), (&version, Type::INT8)],
        )?;
        let term = rows.first().map(|row| Term {
            number: row.get(0),
            handled_until: row.get::<_, Option<i64>>(1).map(instant),
            is_handover: row.get(2),
        });
        let is_taken = term.is_some();
        if let Some(term) = term {
            self.lease.take(term, asked_at + HELD);
            self.tidy()?;
        }
        Ok(is_taken)
    }

    /// Renews the lease; whether this replica still has it.
    fn renew(&mut self, handled_until: Timestamp) -> Result<bool, StateError> {
        let asked_at = awake_and_asleep();
        let Some(Term { number, .. }) = self.lease.term() else {
            return Ok(false);
        };
        let id = Arc::clone(&self.lease.holder);
        let rows = self.query(
            "UPDATE {schema}.leader SET expires_at = now() + $3::interval, handled_until = greatest(handled_until, $4), renewals = renewals + 1
             WHERE name = 'main' AND holder = $1 AND term = $2 AND expires_at >= now() RETURNING term",
            &vec![
                (&&*id, Type::TEXT),
                (&number, Type::INT8),
                (&LEASE, Type::TEXT),
                (&handled_until.as_millisecond(), Type::INT8),
            ],
        )?;
        let is_renewed = !rows.is_empty();
        if is_renewed {
            self.lease.extend(number, asked_at + HELD);
        } else {
            self.lease.end(number);
        }
        Ok(is_renewed)
    }

    fn resign(&mut self, handled_until: Timestamp) -> Result<(), StateError> {
        let id = Arc::clone(&self.lease.holder);
        if let Some(Term { number, .. }) = self.lease.term() {
            self.lease.end(number);
            self.query(
                "UPDATE {schema}.leader SET expires_at = 'epoch', handled_until = greatest(handled_until, $3)
                 WHERE name = 'main' AND holder = $1 AND term = $2",
                &vec![
                    (&&*id, Type::TEXT),
                    (&number, Type::INT8),
                    (&handled_until.as_millisecond(), Type::INT8),
                ],
            )?;
        }
        let gone = "DELETE FROM {schema}.replicas WHERE id = $1";
        // Whoever looks sees that it is there no more.
        let _ = self.query(gone, &vec![(&&*id, Type::TEXT)]);
        Ok(())
    }

    /// Says that this replica is there.
    fn be_seen(&mut self, plan: &str) -> Result<(), StateError> {
        let now = awake_and_asleep();
        let is_fresh = |(at, known): &(Duration, String)| known == plan && now < *at + BETWEEN_SIGNS;
        if self.seen.as_ref().is_some_and(is_fresh) {
            return Ok(());
        }
        let (id, name) = (Arc::clone(&self.lease.holder), self.name.clone());
        self.query(
            "INSERT INTO {schema}.replicas (id, name, version, plan, started_at, seen_at) VALUES ($1, $2, $3, $4, now(), now())
             ON CONFLICT (id) DO UPDATE SET plan = excluded.plan, seen_at = excluded.seen_at",
            &vec![
                (&&*id, Type::TEXT),
                (&name, Type::TEXT),
                (&VERSION, Type::TEXT),
                (&plan, Type::TEXT),
            ],
        )?;
        self.seen = Some((now, plan.to_owned()));
        Ok(())
    }

    /// Forgets replicas that are gone, and requests that nobody waits for.
    fn tidy(&mut self) -> Result<(), StateError> {
        let stale = "DELETE FROM {schema}.replicas WHERE seen_at < now() - interval '1 hour'";
        self.query(stale, &Vec::new())?;
        let old = "DELETE FROM {schema}.requests WHERE asked_at < now() - interval '1 hour'";
        self.query(old, &Vec::new()).map(drop)
    }

    /// Looks who leads and who is there. What was asked of standbys is taken up by one that `led` already: whoever has just
    /// begun is not told yet that it leads.
    fn look(&mut self, is_renewed: bool, led: bool) -> Result<Tick, StateError> {
        let asked_at = awake_and_asleep();
        let rows = self.query(
            "SELECT clock_timestamp(), holder, since, expires_at > now(), renewals FROM {schema}.leader WHERE name = 'main'",
            &Vec::new(),
        )?;
        let took = awake_and_asleep().saturating_sub(asked_at);
        let gone = || StateError {
            message: format!("state database {} has lost the row of the lease", self.server.shown()),
            is_transient: false,
            is_not_leading: false,
        };
        let row = rows.first().ok_or_else(gone)?;
        let (clock, renewals): (Timestamp, i64) = (row.get(0), row.get(4));
        let leader = row.get::<_, bool>(3).then(|| Leader {
            id: row.get::<_, Option<String>>(1).unwrap_or_default(),
            // There are dates that no calendar of ours has.
            since: row
                .try_get::<_, Option<Timestamp>>(2)
                .ok()
                .flatten()
                .unwrap_or_default(),
        });
        let has_lost = renewals - i64::from(is_renewed) < self.confirmed;
        self.confirmed = renewals;
        if is_renewed && renewals % 1000 == 0 {
            self.tidy()?;
        }
        Ok(Tick {
            is_renewed,
            has_lost,
            leader,
            replicas: self.replicas()?,
            requests: if led && self.lease.term().is_some() {
                self.requests()?
            } else {
                Vec::new()
            },
            clock: (clock, asked_at + took / 2),
        })
    }

    fn replicas(&mut self) -> Result<Vec<Replica>, StateError> {
        let rows = self.query(
            "SELECT id, name, version, plan, started_at FROM {schema}.replicas WHERE seen_at > now() - interval '10 seconds' ORDER BY started_at, id",
            &Vec::new(),
        )?;
        let replica = |row: &Row| Replica {
            id: row.get(0),
            name: row.get(1),
            version: row.get(2),
            plan: row.get(3),
            started_at: row.try_get(4).unwrap_or_default(),
        };
        Ok(rows.iter().map(replica).collect())
    }

    /// What was asked and nobody has taken up, which this takes up: should it fail in the middle, nobody does it twice.
    fn requests(&mut self) -> Result<Vec<Request>, StateError> {
        let rows = self.query(
            "UPDATE {schema}.requests SET answered_at = now() WHERE answered_at IS NULL AND expires_at > now() RETURNING id, question",
            &Vec::new(),
        )?;
        let request = |row: &Row| Request {
            id: row.get(0),
            question: row.get(1),
        };
        Ok(rows.iter().map(request).collect())
    }

    fn request(&mut self, question: &str, patience: Duration) -> Result<i64, StateError> {
        let seconds = patience.as_secs_f64();
        let rows = self.query(
            "INSERT INTO {schema}.requests (question, expires_at) VALUES ($1, now() + $2 * interval '1 s') RETURNING id",
            &vec![(&question, Type::TEXT), (&seconds, Type::FLOAT8)],
        )?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    fn answer_to(&mut self, request: i64) -> Result<Option<String>, StateError> {
        let answer = "SELECT answer FROM {schema}.requests WHERE id = $1";
        let rows = self.query(answer, &vec![(&request, Type::INT8)])?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    fn withdraw(&mut self, request: i64) -> Result<bool, StateError> {
        let take =
            "UPDATE {schema}.requests SET answered_at = now() WHERE id = $1 AND answered_at IS NULL RETURNING id";
        Ok(!self.query(take, &vec![(&request, Type::INT8)])?.is_empty())
    }

    fn answer(&mut self, request: i64, answer: &str) -> Result<(), StateError> {
        let put = "UPDATE {schema}.requests SET answer = $2 WHERE id = $1";
        self.query(put, &vec![(&request, Type::INT8), (&answer, Type::TEXT)])
            .map(drop)
    }

    /// Runs one statement, in which `{schema}` stands for the schema, in a transaction of its own.
    fn query(&mut self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, StateError> {
        let mut connection = match self.connection.take().filter(|connection| !connection.is_broken()) {
            Some(connection) => connection,
            None => self.server.connect("duplistatus-cron/lease")?,
        };
        let sql = sql.replace("{schema}", &format!("\"{}\"", self.server.schema));
        let found = connection.query(&sql, parameters, PATIENCE);
        self.connection = Some(connection).filter(|connection| !connection.is_broken());
        found.map_err(|error| self.server.error(&error))
    }
}

fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}
