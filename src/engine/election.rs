//! Sees to it that one of the replicas leads: takes the lease where it has run out, renews it as long as the engine gets
//! on, and tells the engine how this replica stands.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::standing::{Replicas, Term};
use super::{Command, Heartbeat, requests};
use crate::config::Plan;
use crate::state::{Candidate, Leader, Stand, StateError, Store, Tick};
use crate::values::{Clock, awake_and_asleep, digest};

/// How often a replica looks at the lease.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How often the leader renews it.
const BETWEEN_RENEWALS: Duration = Duration::from_millis(2500);
/// An engine that is at one thing for so long does not get on, and is to be replaced.
const STUCK: Duration = Duration::from_secs(3);
/// How long a look may take before it counts as failed.
const LONGEST_LOOK: Duration = Duration::from_secs(4);
/// A clock that differs by so much is worth a warning.
const MUCH: f64 = 1.0;

/// The part of a replica that stands for election.
#[derive(Debug)]
pub(super) struct Election {
    pub candidate: Candidate,
    pub store: Store,
    pub clock: Clock,
    pub plans: watch::Receiver<Arc<Plan>>,
    pub heartbeat: Heartbeat,
    pub standing: watch::Sender<Option<Term>>,
    pub engine: mpsc::WeakSender<Command>,
    pub replicas: Replicas,
    pub renewed: Option<Instant>,
    /// The plan that was looked at last, and what tells it from others.
    pub known: Option<(Arc<Plan>, String)>,
}

impl Election {
    /// Goes on for as long as the engine does.
    pub(super) async fn run(mut self) {
        while !self.standing.is_closed() {
            let stand = self.stand();
            let asked = Instant::now();
            let plan = self.fingerprint();
            self.replicas.lock().plan.clone_from(&plan);
            let ticked = timeout(LONGEST_LOOK, self.candidate.tick(stand, plan)).await;
            match ticked {
                Ok(Ok(tick)) => self.see(&tick, stand, asked),
                Ok(Err(error)) => self.fail(&error, stand),
                Err(_) => self.fail(
                    &StateError {
                        message: format!("the state database has not answered for {} s", LONGEST_LOOK.as_secs()),
                        is_transient: true,
                        is_deposed: false,
                    },
                    stand,
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

    fn stand(&self) -> Stand {
        let leads = self.standing.borrow().is_some();
        let gets_on = self.heartbeat.busy_for() < STUCK;
        let is_time = self
            .renewed
            .is_none_or(|at| at.elapsed() + BETWEEN_LOOKS > BETWEEN_RENEWALS);
        match leads {
            // Whoever renews the lease of an engine that hangs keeps others from leading.
            true if gets_on && is_time => Stand::Renew(self.heartbeat.handled_until()),
            false if gets_on && !self.heartbeat.is_ending() => Stand::Take,
            _ => Stand::Look,
        }
    }

    fn see(&mut self, tick: &Tick, stand: Stand, asked: Instant) {
        self.store.note_reached(Ok(()));
        let (heard, shown_at) = tick.clock;
        let behind = self.clock.hear(heard, awake_and_asleep().saturating_sub(shown_at));
        if tick.taken.is_some() || tick.is_renewed {
            self.renewed = Some(asked);
        }
        let mut seen = self.replicas.lock();
        let was_right = seen.behind.as_secs_f64().abs() < MUCH;
        if was_right && behind.as_secs_f64().abs() >= MUCH {
            tracing::warn!(
                "this machine's clock differs from the database's by {:.1} s; jobs go by the database's",
                behind.as_secs_f64().abs()
            );
        }
        seen.behind = behind;
        if tick.has_lost && !seen.has_lost {
            tracing::error!("the state database has lost changes that it had confirmed");
        }
        seen.has_lost |= tick.has_lost;
        let holder = |leader: &Option<Leader>| leader.as_ref().map(|leader| leader.id.clone());
        if tick.leader.is_some() && holder(&tick.leader) != holder(&seen.leader) {
            seen.changes += 1;
        }
        if matches!(stand, Stand::Renew(_)) && !tick.is_renewed {
            seen.failed_renewals += 1;
        }
        seen.leader.clone_from(&tick.leader);
        seen.leaderless_since = match tick.leader {
            Some(_) => None,
            None => seen.leaderless_since.or_else(|| Some(Instant::now())),
        };
        seen.replicas.clone_from(&tick.replicas);
        if let Some(taken) = tick.taken {
            seen.term = taken.term;
            tracing::info!(term = taken.term, "this replica leads");
            self.standing.send_replace(Some(Term {
                number: taken.term,
                handled_until: taken.handled_until,
                is_handover: taken.is_handover,
            }));
        }
        drop(seen);
        for request in &tick.requests {
            let (candidate, engine) = (self.candidate.clone(), self.engine.clone());
            tokio::spawn(requests::do_for_another(candidate, engine, request.clone()));
        }
    }

    fn fail(&self, error: &StateError, stand: Stand) {
        self.store.note_reached(Err(error));
        let mut seen = self.replicas.lock();
        if matches!(stand, Stand::Renew(_)) {
            seen.failed_renewals += 1;
        }
        seen.leader = None;
        seen.leaderless_since = seen.leaderless_since.or_else(|| Some(Instant::now()));
    }

    /// Has the engine know where this replica leads no more.
    fn settle(&self) {
        let leads = self.candidate.is_trusted();
        self.replicas.lock().is_leading = leads;
        if !leads && self.standing.borrow().is_some() {
            self.candidate.step_down();
            self.standing.send_replace(None);
        }
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
            replicas: Replicas::new(&candidate.id),
            candidate,
            store,
            clock: Clock::system(),
            plans,
            heartbeat: Heartbeat::default(),
            standing: watch::Sender::new(Some(Term::default())),
            engine: engine.downgrade(),
            renewed: None,
            known: None,
        };
        assert!(matches!(election.stand(), Stand::Renew(_)));
        tokio::time::advance(STUCK).await;
        assert_eq!(election.stand(), Stand::Look, "it hangs");
        election.heartbeat.rest();
        tokio::time::advance(STUCK * 5).await;
        assert!(
            matches!(election.stand(), Stand::Renew(_)),
            "it sleeps until something is due"
        );
        election.renewed = Some(Instant::now());
        assert_eq!(election.stand(), Stand::Look, "it was renewed a moment ago");
        election.standing.send_replace(None);
        assert_eq!(election.stand(), Stand::Take);
        election.heartbeat.end();
        assert_eq!(election.stand(), Stand::Look, "who ends does not begin to lead");
    }
}
