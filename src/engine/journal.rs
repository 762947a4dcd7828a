//! The engine's hold on the state: keeps what could not be written yet, looks after it now and then, and tells the
//! delivery worker of messages.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use crate::state::{EndedRun, MOST_CLEARED, NewMessage, Store};
use crate::values::{Duration, JobId, later};

/// How often the state is tried; in between, what was found the last time counts.
const BETWEEN_LOOKS: SignedDuration = SignedDuration::from_secs(5);
const BEFORE_CLEARING: SignedDuration = SignedDuration::from_hours(1);
const BETWEEN_CLEARINGS: SignedDuration = SignedDuration::from_hours(24);

/// The state as the engine sees it.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) store: Store,
    /// Whether what an earlier process left behind is seen to: nothing begins before.
    pub(super) is_recovered: bool,
    pub(super) stopped: BTreeSet<JobId>,
    /// Told when messages are posted.
    posted: Arc<Notify>,
    unwritten: Vec<EndedRun>,
    next_clearing: Timestamp,
    last_look: Timestamp,
}

impl Journal {
    pub(super) fn new(store: Store, posted: Arc<Notify>) -> Self {
        Self {
            store,
            is_recovered: false,
            stopped: BTreeSet::new(),
            posted,
            unwritten: Vec::new(),
            next_clearing: Timestamp::MIN,
            last_look: Timestamp::MIN,
        }
    }

    /// Whether the state could be used the last time.
    pub(super) fn is_well(&self) -> bool {
        self.store.error().is_none()
    }

    /// What is wrong with the state, tried again when the last look was a while ago.
    pub(super) async fn look(&mut self, now: Timestamp) -> Option<String> {
        if now.duration_since(self.last_look).abs() >= BETWEEN_LOOKS {
            self.last_look = now;
            // The store remembers what is wrong.
            let _ = self.store.probe().await;
        }
        self.store.error()
    }

    /// Writes what could not be written before, and once a day drops runs older than `history`.
    pub(super) async fn maintain(&mut self, now: Timestamp, history: Duration) {
        if !self.is_well() && self.look(now).await.is_some() || !self.is_recovered {
            return;
        }
        if !self.unwritten.is_empty() {
            let unwritten = std::mem::take(&mut self.unwritten);
            self.finish(unwritten).await;
        }
        if now >= self.next_clearing {
            self.next_clearing = later(now, BETWEEN_CLEARINGS);
            let oldest = now.checked_sub(history.signed()).unwrap_or(Timestamp::MIN);
            if self
                .store
                .clear(oldest)
                .await
                .is_ok_and(|dropped| dropped >= MOST_CLEARED)
            {
                self.next_clearing = now; // There are more.
            }
        }
    }

    /// Keeps everything for another hour: a clock that was just set, or is read for the first time, may be wrong.
    pub(super) fn postpone_clearing(&mut self, now: Timestamp) {
        self.next_clearing = later(now, BEFORE_CLEARING);
    }

    /// Records how runs ended, and has what they tell delivered.
    pub(super) async fn finish(&mut self, ended: Vec<EndedRun>) {
        let has_messages = |run: &EndedRun| run.telling.as_ref().is_some_and(|telling| !telling.messages.is_empty());
        let tells = ended.iter().any(has_messages);
        if let Err(unwritten) = self.store.finish(ended).await {
            self.unwritten.extend(unwritten);
        }
        if tells {
            self.posted.notify_one();
        }
    }

    /// Has what runs tell as they begin delivered.
    pub(super) async fn post(&self, messages: Vec<NewMessage>, now: Timestamp) {
        if !messages.is_empty() && self.store.post(messages, now).await.is_ok() {
            self.posted.notify_one();
        }
    }
}
