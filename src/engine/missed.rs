//! What becomes of the times a job was due: run on time, caught up, or skipped with a reason. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::config::{CatchUp, Job};
use crate::state::{Skip, Trigger};
use crate::values::iso;

/// A run that begins so late is still on time.
const ON_TIME: SignedDuration = SignedDuration::from_secs(30);
/// A time that came so long ago, while nobody could begin anything, was not missed.
const NOT_MISSED: SignedDuration = SignedDuration::from_secs(60);
/// How many skipped times are recorded one by one.
const MOST_RECORDED: usize = 100;

/// A job whose time has come, perhaps more than once.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub job: Arc<Job>,
    /// The times it was due, oldest first: the newest thousand.
    pub times: Vec<Timestamp>,
    /// How many there were before them, and the first of those.
    pub earlier: Option<(usize, Timestamp)>,
    /// Whether the service was down when they came.
    pub was_down: bool,
    /// Since when nobody could begin anything for a moment, after a hand-over or while the state was away.
    pub late_since: Option<Timestamp>,
}

/// What becomes of one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    Run(Trigger),
    /// It is run as on time: it came while nobody could begin anything.
    Late,
    Skip(Skip),
}

/// Decides for every time of `due` at `now`, oldest first. Of many that are skipped, the first stands for them.
pub(super) fn decide(due: &Due, now: Timestamp) -> Vec<(Timestamp, Disposition)> {
    let decided = decide_each(due, now);
    let mut dispositions: Vec<(Timestamp, Disposition)> = due.times.iter().copied().zip(decided).collect();
    let (dropped, first_dropped) = drop_old_skips(&mut dispositions);
    let first = due.earlier.map(|(_, first)| first).or(first_dropped);
    let unrecorded = dropped + due.earlier.map_or(0, |(count, _)| count);
    if let Some(first) = first {
        let why = format!("missed, and too many to record one by one: {unrecorded} times from this one on");
        dispositions.insert(0, (first, Disposition::Skip(Skip::missed(why))));
    }
    dispositions
}

/// Decides for every time of `due` at `now`.
pub(super) fn decide_each(due: &Due, now: Timestamp) -> Vec<Disposition> {
    let policy = &due.job.policy;
    let deadline = policy.starting_deadline.signed();
    let newest = due.times.last().copied().unwrap_or(now);
    let is_late = |at: &Timestamp| now.duration_since(*at) > ON_TIME;
    let has_missed = due.was_down || due.times.len() > 1 || due.times.first().is_some_and(is_late);
    let disposition = |at: Timestamp| {
        let late = now.duration_since(at);
        if late <= NOT_MISSED && due.late_since.is_some_and(|since| at > since) {
            return Disposition::Late;
        }
        let waits_for_others = match policy.catch_up {
            CatchUp::None => false,
            CatchUp::Once => due.was_down && at < newest,
            CatchUp::All => has_missed,
        };
        if late <= ON_TIME && !waits_for_others {
            return Disposition::Run(Trigger::Schedule);
        }
        let too_late = late > deadline;
        match policy.catch_up {
            CatchUp::None => Disposition::Skip(Skip::missed("missed, and catch_up is none")),
            _ if too_late => Disposition::Skip(Skip::missed(format!(
                "missed, and older than starting_deadline ({})",
                policy.starting_deadline
            ))),
            CatchUp::Once if at < newest => Disposition::Skip(Skip::missed(format!(
                "missed; the run due at {} makes up for it",
                iso(newest)
            ))),
            CatchUp::Once | CatchUp::All => Disposition::Run(Trigger::CatchUp),
        }
    };
    due.times.iter().map(|at| disposition(*at)).collect()
}

/// Leaves the newest skipped times only; gives how many went, and the first of them.
fn drop_old_skips(dispositions: &mut Vec<(Timestamp, Disposition)>) -> (usize, Option<Timestamp>) {
    let skips = dispositions
        .iter()
        .take_while(|(_, disposition)| matches!(disposition, Disposition::Skip(_)))
        .count();
    let surplus = skips.saturating_sub(MOST_RECORDED);
    let first = dispositions.drain(..surplus).map(|(at, _)| at).next();
    (surplus, first)
}
