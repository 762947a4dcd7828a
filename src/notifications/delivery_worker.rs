//! Delivers messages one after the other. Where one is held up, because its target hangs, the others go on beside it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Undelivered;
use super::notification::{Address, Delivery, Notification};
use super::target::{Integration, NoRoute, Target, Targets};
use crate::state::{OutboxRow, Outcome, StateError, Store};
use crate::values::{CancelReason, CancellationToken, Clock, Threads, counters, later, spread};

/// How many messages are on their way at once, at most: each to another server.
const AT_ONCE: usize = 64;
/// A message that takes so long is held up.
const HELD_UP: Duration = Duration::from_secs(1);
/// The wait after the first failed attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// An attempt that takes so long is one of a server that hangs.
const HANGING: Duration = Duration::from_secs(3);
/// How long a message is tried.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// What came of a batch of deliveries.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// The subjects of messages that were delivered.
    pub subjects: BTreeSet<String>,
}

/// Someone who delivers messages: a run its own, or the service what waits.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryWorker {
    pub store: Store,
    pub targets: Arc<Targets>,
    pub integration: &'static dyn Integration,
    pub clock: Clock,
    /// The threads that messages are sent on.
    pub threads: Threads,
    /// Whether every failed attempt is told in the audit log, or the last one only.
    pub tells_failures: bool,
    /// Asked for when no further message is to be taken up.
    pub cancel: CancellationToken,
}

impl DeliveryWorker {
    /// Delivers what is due, as long as `may_go_on` says so, which is asked before each message and may change where it
    /// goes.
    pub(crate) async fn deliver(
        &mut self,
        mut may_go_on: impl FnMut(&mut Self) -> bool,
    ) -> Result<Delivered, StateError> {
        let mut delivered = Delivered::default();
        let mut on_their_way = OnTheirWay::default();
        loop {
            let may_send = may_go_on(self) && !self.cancel.is_cancelled() && on_their_way.0.len() < AT_ONCE;
            let due = self.clock.service_time();
            if may_send && let Some(row) = self.store.claim_message(due).await? {
                on_their_way.0.spawn(self.clone().send_and_settle(row));
            } else if on_their_way.0.is_empty() || self.is_cut_short() {
                return Ok(delivered);
            }
            let ended = tokio::select! {
                ended = on_their_way.0.join_next() => ended,
                () = tokio::time::sleep(HELD_UP) => continue,
            };
            if let Some(Ok(sent)) = ended {
                delivered.subjects.extend(sent?);
            }
        }
    }

    /// Whether nobody waits any more for what is on its way. At the end of the service, it is waited for.
    fn is_cut_short(&self) -> bool {
        let reason = self.cancel.reason();
        reason.is_some_and(|reason| reason != CancelReason::Shutdown)
    }

    /// Notes deliveries in the application's database that could not be noted before.
    pub(crate) async fn note_what_was_not(&self) -> Result<(), StateError> {
        for row in self.store.unnoted().await? {
            let at = row.finished_at.unwrap_or(row.created_at);
            match self.open(&row).await {
                Some(opened) => self.note_delivery(row.id, opened, at).await?,
                None => self.store.noted(row.id).await?,
            }
        }
        Ok(())
    }

    /// Sends one message, and sees to it that what came of it is recorded whatever happens: nobody claims it before.
    async fn send_and_settle(self, row: OutboxRow) -> Result<Option<String>, StateError> {
        let (worker, id) = (self.clone(), row.id);
        match tokio::spawn(async move { worker.send(row).await }).await {
            Ok(sent) => sent,
            Err(panic) => {
                let now = self.clock.moment();
                let at = later(now.service, signed(FIRST_WAIT));
                let error = format!("sending it failed, a bug in this program: {panic}");
                self.store.settle(id, Outcome::Retry { at, error }, now).await?;
                Ok(None)
            }
        }
    }

    /// Sends one message, and records how that went; gives its subject where it was delivered.
    async fn send(&self, row: OutboxRow) -> Result<Option<String>, StateError> {
        let settle = |outcome| self.store.settle(row.id, outcome, self.clock.moment());
        let Some(opened) = self.open(&row).await else {
            let error = "the message cannot be read".to_owned();
            settle(Outcome::Dead { error }).await?;
            return Ok(None);
        };
        if let Err(NoRoute::Nobody) = opened.route {
            tracing::debug!(message_id = row.id, "there is nobody to send it to");
            settle(Outcome::Void).await?;
            return Ok(None);
        }
        let id = format!("{}-{}", row.created_at.as_millisecond(), row.id);
        let sent = self.threads.run(move || {
            let began = Instant::now();
            (opened.send(&id, row.created_at), began.elapsed() >= HANGING)
        });
        let ((opened, sent), was_hanging) = sent.await;
        let to = opened.to(self.integration);
        let result = if sent.is_ok() { "delivered" } else { "failed" };
        *counters().notifications.entry((row.turn.clone(), result)).or_default() += 1;
        match sent {
            Ok(said) => {
                tracing::info!(message_id = row.id, to, "delivered: {said}");
                settle(Outcome::Delivered).await?;
                self.note_delivery(row.id, opened, self.clock.now()).await?;
                Ok(Some(row.subject))
            }
            Err(undelivered) => {
                let outcome = self.give_up_or_retry(&row, opened, undelivered).await;
                settle(outcome).await?;
                if was_hanging {
                    // What else goes there would hang as well.
                    let until = later(self.clock.service_time(), signed(FIRST_WAIT));
                    self.store.hold(row.turn.clone(), until).await?;
                }
                Ok(None)
            }
        }
    }

    /// Reads a message, and finds its way: settings are read, and stored credentials opened, once for a message.
    async fn open(&self, row: &OutboxRow) -> Option<Opened> {
        let notification: Notification = serde_json::from_str(&row.notification).ok()?;
        let (targets, integration) = (Arc::clone(&self.targets), self.integration);
        let opened = self.threads.run(move || Opened {
            route: find_route(&notification.address, &targets, integration),
            notification,
        });
        Some(opened.await)
    }

    /// Notes a delivery in the application's database. What cannot be noted now is noted the next time.
    async fn note_delivery(&self, id: i64, opened: Opened, at: Timestamp) -> Result<(), StateError> {
        let integration = self.integration;
        let noted = self
            .threads
            .run(move || integration.note_delivery(&opened.notification, opened.way(), at));
        match noted.await {
            Ok(()) => self.store.noted(id).await,
            Err(why) => {
                tracing::error!(message_id = id, "a delivery cannot be recorded yet: {why}");
                Ok(())
            }
        }
    }

    /// What comes of a message that was not delivered; tells that it was not.
    async fn give_up_or_retry(&self, row: &OutboxRow, opened: Opened, failed: Undelivered) -> Outcome {
        let (now, error) = (self.clock.service_time(), failed.error);
        let is_dead = failed.is_final || now.duration_since(row.posted_at) >= ABANDONED_AFTER;
        let to = opened.to(self.integration);
        tracing::warn!(
            message_id = row.id,
            to,
            attempt = row.attempts,
            dead = is_dead,
            "not delivered: {error}"
        );
        if is_dead || self.tells_failures {
            let (integration, error) = (self.integration, error.clone());
            let note = move || integration.note_failure(&opened.notification, opened.way(), &error);
            self.threads.run(note).await;
        }
        if is_dead {
            return Outcome::Dead { error };
        }
        let wait = failed.wait.unwrap_or_default().max(wait_after(row));
        Outcome::Retry {
            at: later(now, signed(wait)),
            error,
        }
    }
}

/// Messages that are being sent. What nobody waits for any more is sent, and recorded, all the same: a message that is
/// sent and not recorded would come twice.
#[derive(Default)]
struct OnTheirWay(JoinSet<Result<Option<String>, StateError>>);

impl Drop for OnTheirWay {
    fn drop(&mut self) {
        self.0.detach_all();
    }
}

/// A message taken out of the outbox, and the way it takes.
struct Opened {
    notification: Notification,
    route: Result<Arc<dyn Target>, NoRoute>,
}

impl Opened {
    fn send(self, id: &str, at: Timestamp) -> (Self, Result<String, Undelivered>) {
        let delivery = Delivery {
            id,
            notification: &self.notification,
            at,
        };
        let sent = match &self.route {
            Ok(target) => target.send(&delivery),
            Err(NoRoute::Nobody) => Err(Undelivered {
                is_final: true,
                ..Undelivered::new("it is not set up any more")
            }),
            Err(NoRoute::Because(why)) => Err(Undelivered {
                // A target that is gone from the declaration does not come back by waiting.
                is_final: self.notification.address.target().is_some(),
                ..Undelivered::new(why)
            }),
        };
        (self, sent)
    }

    fn way(&self) -> Option<&dyn Target> {
        self.route.as_deref().ok()
    }

    /// Where it goes, for the log.
    fn to(&self, integration: &dyn Integration) -> String {
        name_of(&self.notification.address, integration)
    }
}

/// What people call an address: the target's id, or the channel's name in the application.
pub(crate) fn name_of(address: &Address, integration: &dyn Integration) -> String {
    match address {
        Address::Application(own) => integration.name_of(own),
        Address::Target(id) | Address::Recipient { target: id, .. } => id.to_string(),
    }
}

/// The way to an address.
pub(super) fn find_route(
    address: &Address,
    targets: &Targets,
    integration: &dyn Integration,
) -> Result<Arc<dyn Target>, NoRoute> {
    match address {
        Address::Application(own) => integration.route(own),
        Address::Target(id) | Address::Recipient { target: id, .. } => targets
            .get(id)
            .cloned()
            .ok_or_else(|| NoRoute::Because(format!("target `{id}` is no longer declared"))),
    }
}

fn signed(wait: Duration) -> SignedDuration {
    SignedDuration::try_from(wait).unwrap_or_default()
}

/// The wait after an attempt.
fn wait_after(row: &OutboxRow) -> Duration {
    let doubled = FIRST_WAIT
        .saturating_mul(1 << row.attempts.saturating_sub(1).min(10))
        .min(LONGEST_WAIT);
    let number = u32::try_from((row.id * 7919).rem_euclid(41)).unwrap_or(20);
    spread(doubled, number)
}
