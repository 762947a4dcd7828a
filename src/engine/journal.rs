//! The engine's hold on the state: keeps what could not be written yet, looks after it now and then, and tells the
//! delivery worker of messages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::state::{EndedRun, MOST_CLEARED, NewMessage, Store};
use crate::values::{self, JobId, Moment, later};

/// How often the state is written to, whether there is anything to write or not: what keeps it from being written is
/// told, and it is known when the service was there last.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);
/// The same, while it cannot be written.
const SOON: Duration = Duration::from_secs(5);
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
    last_look: Option<Instant>,
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
            last_look: None,
        }
    }

    /// Knows nothing from here on: another replica may lead.
    pub(super) fn start_over(&mut self) {
        self.is_recovered = false;
        self.stopped.clear();
        self.unwritten.clear();
        self.next_clearing = Timestamp::MIN;
    }

    /// Whether the state could be used the last time.
    pub(super) fn is_well(&self) -> bool {
        self.store.error().is_none()
    }

    /// How long until the state is to be looked at again.
    pub(super) fn looks_again_after(&self) -> Duration {
        let between = if self.is_well() { BETWEEN_LOOKS } else { SOON };
        self.last_look
            .map_or(Duration::ZERO, |last| between.saturating_sub(last.elapsed()))
    }

    /// Writes what the clocks show, for someone who asks how the state is.
    pub(super) async fn look_for_someone(&mut self, now: Moment) {
        if self.last_look.is_none_or(|last| last.elapsed() >= SOON) {
            self.note_time(now).await;
        }
    }

    /// Writes what the clocks show; the store remembers what keeps it from being written. A start soon after must not
    /// take a clock that was set for time that has passed.
    pub(super) async fn note_time(&mut self, now: Moment) {
        // What an earlier process noted is read before it is written over.
        let _ = if self.is_recovered {
            self.store.note_time(now).await
        } else {
            self.store.noted_time().await.map(drop)
        };
        self.last_look = Some(Instant::now());
    }

    /// Writes what could not be written before, and once a day drops runs older than `history`.
    pub(super) async fn maintain(&mut self, moment: Moment, history: values::Duration) {
        if self.looks_again_after().is_zero() {
            self.note_time(moment).await;
        }
        let now = moment.wall;
        if !self.is_well() || !self.is_recovered {
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
    pub(super) async fn post(&self, messages: Vec<NewMessage>, now: Moment) {
        if !messages.is_empty() && self.store.post(messages, now).await.is_ok() {
            self.posted.notify_one();
        }
    }
}
