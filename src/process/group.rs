//! A process group: its members, and signals to all of them. As long as its leader is not reaped, its number means no
//! other one.

use std::collections::BTreeSet;
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::values::lock;

/// The leaders of the groups that run now.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Notes that a group runs, or that it has ended.
pub(super) fn note(leader: Pid, runs: bool) {
    let mut running = lock(&RUNNING);
    let number = leader.as_raw_nonzero().get();
    if runs {
        running.insert(number);
    } else {
        running.remove(&number);
    }
}

/// Kills every program that runs, as this process ends.
pub(crate) fn kill_all() {
    for leader in lock(&RUNNING).iter().filter_map(|number| Pid::from_raw(*number)) {
        signal(leader, Signal::KILL);
    }
}

/// Sends every member a signal; one that is stopped goes on, so that it can take it.
pub(super) fn signal(leader: Pid, signal: Signal) {
    // A group that has no member left has none to tell.
    let _ = kill_process_group(leader, signal);
    let _ = kill_process_group(leader, Signal::CONT);
}

/// How many members there are beside the leader that have not ended.
pub(super) fn others(leader: Pid) -> usize {
    let leader = leader.as_raw_nonzero().get();
    processes()
        .filter(|number| *number != leader && is_member(*number, leader))
        .count()
}

/// The numbers of the processes there are.
pub(super) fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn is_member(number: i32, leader: i32) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{number}/stat")) else {
        return false;
    };
    // The name in parentheses may hold anything.
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let (state, group) = (fields.next(), fields.nth(1));
    !matches!(state, Some("Z" | "X")) && group.and_then(|group| group.parse().ok()) == Some(leader)
}
