//! Sees to it that one of the replicas leads: takes the lease where it has run out, renews it as long as the engine gets
//! on, and tells the engine whether this replica leads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::replicas::{Replicas, Seen};
use super::{Command, Heartbeat, requests};
use crate::config::Plan;
use crate::state::{Candidate, LeaseAction, StateError, Store, Term, Tick};
use crate::values::{Clock, digest};

/// How often a replica looks at the lease.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How often the leader renews it.
const BETWEEN_RENEWALS: Duration = Duration::from_millis(2500);
/// An engine that is at one thing for so long does not get on, and is to be replaced.
const STUCK: Duration = Duration::from_secs(3);
/// How long a look may take before it counts as failed.
const LONGEST_LOOK: Duration = Duration::from_secs(4);

/// The part of a replica that stands for election.
#[derive(Debug)]
pub(super) struct Election {
    pub candidate: Candidate,
    pub store: Store,
    pub clock: Clock,
    pub plans: watch::Receiver<Arc<Plan>>,
    pub heartbeat: Heartbeat,
    /// The term in which this replica leads, as the engine is told.
    pub leadership: watch::Sender<Option<Term>>,
    pub engine: mpsc::WeakSender<Command>,
    pub replicas: Replicas,
    pub renewed: Option<Instant>,
    /// The plan that was looked at last, and what tells it from others.
    pub known: Option<(Arc<Plan>, String)>,
}

impl Election {
    /// Goes on for as long as the engine does.
    pub(super) async fn run(mut self) {
        while !self.leadership.is_closed() {
            let action = self.action();
            let asked = Instant::now();
            let plan = self.fingerprint();
            self.replicas.lock().plan.clone_from(&plan);
            let ticked = timeout(LONGEST_LOOK, self.candidate.tick(action, plan)).await;
            match ticked {
                Ok(Ok(tick)) => self.see(&tick, action, asked),
                Ok(Err(error)) => self.fail(&error, action),
                Err(_) => self.fail(
                    &StateError {
                        message: format!("the state database has not answered for {} s", LONGEST_LOOK.as_secs()),
                        is_transient: true,
                        is_not_leading: false,
                    },
                    action,
                ),
            }
            self.settle();
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// What tells the plan in force from others.
    fn fingerprint(&mut self) -> String {
        let plan = Arc::clone(&self.plans.borrow());
        if let Some((_, known)) = self.known.as_ref().filter(|(known, _)| Arc::ptr_eq(known, &plan)) {
            return known.clone();
        }
        let text = format!(
            "{:?} {:?} {:?} {}",
            plan.jobs,
            plan.targets.keys(),
            plan.groups,
            plan.max_running
        );
        let fingerprint: String = digest(&text).chars().take(12).collect();
        self.known = Some((plan, fingerprint.clone()));
        fingerprint
    }

    fn action(&self) -> LeaseAction {
        let leads = self.candidate.term().is_some();
        let gets_on = self.heartbeat.busy_for() < STUCK;
        let is_time = self
            .renewed
            .is_none_or(|at| at.elapsed() + BETWEEN_LOOKS > BETWEEN_RENEWALS);
        match leads {
            // Whoever renews the lease of an engine that hangs keeps others from leading.
            true if gets_on && is_time => LeaseAction::Renew(self.heartbeat.handled_until()),
            false if gets_on && !self.heartbeat.is_ending() => LeaseAction::Take,
            _ => LeaseAction::Look,
        }
    }

    fn see(&mut self, tick: &Tick, action: LeaseAction, asked: Instant) {
        self.store.note_reached(Ok(()));
        let (heard, shown_at) = tick.clock;
        let behind = self.clock.hear(heard, shown_at);
        if tick.is_renewed {
            self.renewed = Some(asked);
        }
        let mut seen = self.replicas.lock();
        let before = seen.clone();
        seen.note(tick);
        seen.behind = behind;
        seen.failed_renewals += u64::from(matches!(action, LeaseAction::Renew(_)) && !tick.is_renewed);
        tell_changes(&before, &seen);
        drop(seen);
        for request in &tick.requests {
            let (candidate, engine) = (self.candidate.clone(), self.engine.clone());
            tokio::spawn(requests::do_for_another(candidate, engine, request.clone()));
        }
    }

    fn fail(&self, error: &StateError, action: LeaseAction) {
        self.store.note_reached(Err(error));
        let mut seen = self.replicas.lock();
        seen.failed_renewals += u64::from(matches!(action, LeaseAction::Renew(_)));
        seen.note_leader(None);
    }

    /// Has the engine know whether this replica leads.
    fn settle(&self) {
        let term = self.candidate.term();
        let told = self.leadership.borrow().clone();
        self.replicas.lock().is_leading = term.is_some();
        if let Some(ended) = told.as_ref().filter(|_| term.is_none()) {
            self.candidate.step_down(ended.number);
        }
        if term != told {
            if let Some(term) = &term {
                self.replicas.lock().term = term.number;
                tracing::info!(term = term.number, "this replica leads");
            }
            self.leadership.send_replace(term);
        }
    }
}

/// Logs what was not so at the last look.
fn tell_changes(before: &Seen, seen: &Seen) {
    if let (None, Some(behind)) = (before.clock_error(), seen.clock_error()) {
        let seconds = behind.abs();
        tracing::warn!("this machine's clock differs from the database's by {seconds:.1} s; jobs go by the database's");
    }
    if seen.has_lost && !before.has_lost {
        tracing::error!("the state database has lost changes that it had confirmed");
    }
    let leader = seen.leader_with_another_plan();
    if let Some(leader) = leader.filter(|_| leader != before.leader_with_another_plan()) {
        tracing::warn!("the declaration of this replica differs from that of the leader {leader}, which applies");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use crate::postgres::Address;
    use crate::state::{Place, StateServer};

    #[tokio::test(start_paused = true)]
    async fn the_lease_of_an_engine_that_hangs_is_not_renewed() {
        let server = StateServer {
            address: Address::read("postgresql://a@127.0.0.1:1/a").unwrap(),
            schema: "s".to_owned(),
        };
        let place = Place::Server {
            server: Arc::new(server),
            path: "state.db".into(),
        };
        let store = Store::on(&place);
        let candidate = store.candidate().unwrap().clone();
        let (engine, _inbox) = mpsc::channel(1);
        let plan = load(&Sources::default()).unwrap().plan;
        let (_plans, plans) = watch::channel(Arc::new(plan));
        let mut election = Election {
            replicas: Replicas::new(candidate.id()),
            candidate,
            store,
            clock: Clock::system(),
            plans,
            heartbeat: Heartbeat::default(),
            leadership: watch::Sender::new(None),
            engine: engine.downgrade(),
            renewed: None,
            known: None,
        };
        election.candidate.hold();
        assert!(matches!(election.action(), LeaseAction::Renew(_)));
        tokio::time::advance(STUCK).await;
        assert_eq!(election.action(), LeaseAction::Look, "it hangs");
        election.heartbeat.rest();
        tokio::time::advance(STUCK * 5).await;
        assert!(
            matches!(election.action(), LeaseAction::Renew(_)),
            "it sleeps until something is due"
        );
        election.renewed = Some(Instant::now());
        assert_eq!(election.action(), LeaseAction::Look, "it was renewed a moment ago");
        election.candidate.step_down(1);
        assert_eq!(election.action(), LeaseAction::Take);
        election.heartbeat.end();
        assert_eq!(election.action(), LeaseAction::Look, "who ends does not begin to lead");
    }
}
