//! The replicas as this one has seen them last: which of them leads, and who else is there.

use std::sync::{Arc, Mutex, MutexGuard};

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::state::{Leader, Replica, Tick};
use crate::values::lock;

/// A clock that differs by so many seconds is wrong.
const WRONG: f64 = 1.0;

/// The replicas, for whoever shows them.
#[derive(Clone, Debug)]
pub(crate) struct Replicas(Arc<Mutex<Seen>>);

/// What was seen of the replicas.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// This replica.
    pub id: String,
    pub is_leading: bool,
    /// The term of this replica, once it has led.
    pub term: i64,
    pub leader: Option<Leader>,
    /// Who has led when somebody was last seen to.
    pub last_leader: Option<String>,
    pub replicas: Vec<Replica>,
    /// What tells the plan of this replica from others.
    pub plan: String,
    /// When the lease was last looked at, or when that was last tried.
    pub looked_at: Instant,
    /// Since when nobody has led.
    pub leaderless_since: Option<Instant>,
    /// By how much this machine's clock is behind the database's.
    pub behind: SignedDuration,
    /// Whether the database has lost what it had confirmed.
    pub has_lost: bool,
    /// How often the leader has changed.
    pub changes: u64,
    pub failed_renewals: u64,
}

impl Replicas {
    pub(super) fn new(id: &str) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            id: id.to_owned(),
            is_leading: false,
            term: 0,
            leader: None,
            last_leader: None,
            replicas: Vec::new(),
            plan: String::new(),
            looked_at: Instant::now(),
            leaderless_since: Some(Instant::now()),
            behind: SignedDuration::ZERO,
            has_lost: false,
            changes: 0,
            failed_renewals: 0,
        })))
    }

    /// What was seen last.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        lock(&self.0)
    }
}

impl Seen {
    /// Notes what a look at the lease has shown.
    pub(super) fn note(&mut self, tick: &Tick) {
        self.note_leader(tick.leader.clone());
        self.has_lost |= tick.has_lost;
        self.replicas.clone_from(&tick.replicas);
    }

    /// Notes who leads, as far as that could be seen.
    pub(super) fn note_leader(&mut self, leader: Option<Leader>) {
        let now = Instant::now();
        self.looked_at = now;
        self.leaderless_since = match leader {
            Some(_) => None,
            None => self.leaderless_since.or(Some(now)),
        };
        if let Some(Leader { id, .. }) = &leader {
            let last = self.last_leader.replace(id.clone());
            self.changes += u64::from(last.is_some_and(|last| last != *id));
        }
        self.leader = leader;
    }

    /// By how many seconds this machine's clock is behind the database's, or ahead of it where that is negative; none where
    /// it is right.
    pub(crate) fn clock_error(&self) -> Option<f64> {
        Some(self.behind.as_secs_f64()).filter(|seconds| seconds.abs() >= WRONG)
    }

    /// The names of replicas that have another plan than this one.
    pub(crate) fn with_another_plan(&self) -> Vec<&str> {
        let others = self.replicas.iter().filter(|replica| self.has_another_plan(replica));
        others.map(|replica| replica.id.as_str()).collect()
    }

    /// The leader, where it is another replica with another plan.
    pub(crate) fn leader_with_another_plan(&self) -> Option<&str> {
        let leader = self.leader.as_ref()?;
        self.with_another_plan().into_iter().find(|id| *id == leader.id)
    }

    /// Whether a replica has another plan than this one.
    pub(crate) fn has_another_plan(&self, replica: &Replica) -> bool {
        replica.id != self.id && replica.plan != self.plan
    }
}
