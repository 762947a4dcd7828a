//! Asks work to end early, and says why.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::Deadline;

/// Why work is to end before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelReason {
    TimedOut,
    /// The service ends.
    Shutdown,
    /// A newer run takes its place.
    Replaced,
    /// Somebody has cancelled this run.
    ByHand,
    /// This replica has lost its lease.
    LeaseLost,
}

impl CancelReason {
    /// Whether it is no fault of the work.
    pub(crate) fn is_from_outside(self) -> bool {
        self != Self::TimedOut
    }
}

/// Shared by whoever does some work and whoever may end it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CancellationToken(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Until when the work may go on, whether anybody has asked for its end or not.
    deadline: Deadline,
    reason: OnceLock<CancelReason>,
    /// Whether somebody has cancelled it, whatever else was the first reason.
    by_hand: OnceLock<()>,
    cancelled: Notify,
    /// Whether the service ends, whatever else was the first reason.
    shutdown: OnceLock<()>,
    shut_down: Notify,
    /// Whether the service has begun to end: what must be put back is put back at once.
    ending: OnceLock<()>,
    told_ending: Notify,
}

impl CancellationToken {
    /// One of work that may go on only until then.
    pub(crate) fn within(deadline: Deadline) -> Self {
        Self(Arc::new(Inner {
            deadline,
            ..Inner::default()
        }))
    }

    /// Asks for the end. The first reason given stays, but for somebody's will.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        if reason == CancelReason::ByHand {
            let _ = self.0.by_hand.set(());
        }
        if self.0.reason.set(reason).is_ok() {
            self.0.cancelled.notify_waiters();
        }
        if reason == CancelReason::Shutdown && self.0.shutdown.set(()).is_ok() {
            self.0.shut_down.notify_waiters();
        }
    }

    /// Tells that the service has begun to end. Work may still go on for its grace time.
    pub(crate) fn announce_end(&self) {
        if self.0.ending.set(()).is_ok() {
            self.0.told_ending.notify_waiters();
        }
    }

    /// Whether the end was asked for, or will be soon.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_cancelled() || self.0.ending.get().is_some()
    }

    /// Whether the service ends, or is about to.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.0.ending.get().is_some() || self.0.shutdown.get().is_some()
    }

    /// Waits until the end is asked for, or will be soon.
    pub(crate) async fn end_is_near(&self) {
        let mut told = std::pin::pin!(self.0.told_ending.notified());
        told.as_mut().enable();
        if self.0.ending.get().is_none() {
            tokio::select! {
                () = told => {}
                () = self.cancelled() => {}
            }
        }
    }

    /// Waits until the service ends.
    pub(crate) async fn shut_down(&self) {
        let mut told = std::pin::pin!(self.0.shut_down.notified());
        told.as_mut().enable();
        if self.0.shutdown.get().is_none() {
            told.await;
        }
    }

    /// The reason, once the end was asked for.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        let by_hand = self.0.by_hand.get().map(|()| CancelReason::ByHand);
        let lost = || self.0.deadline.is_over().then_some(CancelReason::LeaseLost);
        by_hand.or_else(|| self.0.reason.get().copied()).or_else(lost)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Waits until the end is asked for.
    pub(crate) async fn cancelled(&self) {
        let mut told = std::pin::pin!(self.0.cancelled.notified());
        // Listens before it looks, so that nothing falls in between.
        told.as_mut().enable();
        if !self.is_cancelled() {
            tokio::select! {
                () = told => {}
                () = self.0.deadline.over() => {}
            }
        }
    }
}
