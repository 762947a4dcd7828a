//! The lease as this replica holds it: in which term, and until when it may go by that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::values::{Deadline, lock};

/// A term in which this replica leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Term {
    pub number: i64,
    /// Up to when earlier leaders have handled what was due.
    pub handled_until: Option<Timestamp>,
    /// Whether this replica was there already when the leader before handled what was due: then nothing has started.
    pub is_handover: bool,
}

/// The lease, shared by whoever renews it and whoever goes by it.
#[derive(Clone, Debug)]
pub(in crate::state) struct Lease {
    /// This replica.
    pub holder: Arc<str>,
    /// Until when it may be gone by.
    pub deadline: Deadline,
    term: Arc<Mutex<Option<Term>>>,
}

impl Lease {
    /// One that this replica does not have yet.
    pub(in crate::state) fn of(holder: &str) -> Self {
        Self {
            holder: holder.into(),
            deadline: Deadline::passed(),
            term: Arc::default(),
        }
    }

    /// The term in which this replica leads, if it does.
    pub(super) fn term(&self) -> Option<Term> {
        lock(&self.term).clone().filter(|_| !self.deadline.is_over())
    }

    /// Was taken for a new term.
    pub(super) fn take(&self, term: Term, until: Duration) {
        let mut held = lock(&self.term);
        self.deadline.set(until);
        *held = Some(term);
    }

    /// Was renewed in the term of that number, unless that has ended meanwhile.
    pub(super) fn extend(&self, number: i64, until: Duration) {
        let held = lock(&self.term);
        if held.as_ref().is_some_and(|term| term.number == number) {
            self.deadline.set(until);
        }
    }

    /// Ends the term of that number, unless another one has begun meanwhile.
    pub(super) fn end(&self, number: i64) {
        let mut held = lock(&self.term);
        if held.as_ref().is_some_and(|term| term.number == number) {
            self.deadline.end();
            *held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::awake_and_asleep;

    #[test]
    fn what_belongs_to_an_earlier_term_changes_nothing() {
        let lease = Lease::of("a");
        let later = awake_and_asleep() + Duration::from_mins(1);
        let number = |lease: &Lease| lease.term().map(|term| term.number);
        let term = |number| Term {
            number,
            ..Term::default()
        };
        lease.extend(1, later);
        assert_eq!(number(&lease), None, "there is nothing to renew");
        lease.take(term(1), later);
        lease.take(term(2), later);
        lease.end(1);
        assert_eq!(number(&lease), Some(2));
        lease.extend(1, Duration::ZERO);
        assert_eq!(number(&lease), Some(2));
        lease.extend(2, Duration::ZERO);
        assert_eq!(number(&lease), None, "its time is over");
        lease.extend(2, later);
        assert_eq!(number(&lease), Some(2), "nobody else has taken it");
        lease.end(2);
        lease.extend(2, later);
        assert_eq!(number(&lease), None);
    }
}
