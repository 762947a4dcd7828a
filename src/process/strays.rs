//! Programs of an earlier process that was killed: they go on, and must not work beside the run that repeats theirs. They are
//! known by the variables that each was given.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgid, getpgrp};

use super::group;

/// The variable that names the state of the service which started a program.
pub(crate) const STATE: &str = "CRON_STATE";
/// The variable that names the run.
pub(crate) const RUN: &str = "CRON_RUN_ID";
/// How long they may take to end once they are asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ends the programs that were started for `runs` of the service with this `state`; gives how many groups there were. It
/// waits: not to be called where others wait for the caller.
pub(crate) fn end_strays(state: &str, runs: &BTreeSet<String>) -> usize {
    if runs.is_empty() {
        return 0;
    }
    let groups = || groups_of(state, runs);
    let found = groups();
    for group in &found {
        group::signal(*group, Signal::TERM);
    }
    let began = Instant::now();
    while !groups().is_empty() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    for group in groups() {
        group::signal(group, Signal::KILL);
    }
    found.len()
}

fn groups_of(state: &str, runs: &BTreeSet<String>) -> Vec<Pid> {
    let strays = group::processes().filter(|number| {
        let variables = std::fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        is_of(&variables, state, runs)
    });
    let groups: BTreeSet<i32> = strays
        .filter_map(|number| Some(getpgid(Pid::from_raw(number)).ok()?.as_raw_nonzero().get()))
        .collect();
    // A service may be such a program itself.
    let own = getpgrp();
    let groups = groups.into_iter().filter_map(Pid::from_raw);
    groups.filter(|group| *group != own).collect()
}

/// Whether a process with these `variables` was started for one of `runs`.
fn is_of(variables: &[u8], state: &str, runs: &BTreeSet<String>) -> bool {
    let value_of = |name: &str| {
        let mut pairs = variables.split(|byte| *byte == 0);
        pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let run = value_of(RUN).map(String::from_utf8_lossy);
    value_of(STATE) == Some(state.as_bytes()) && run.is_some_and(|run| runs.contains(run.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_state_and_run() {
        let runs = BTreeSet::from(["7".to_owned()]);
        for (variables, is_one) in [
            ("PATH=/bin\0CRON_STATE=/data/state.db\0CRON_RUN_ID=7\0", true),
            ("CRON_STATE=/data/state.db\0CRON_RUN_ID=77\0", false),
            ("CRON_STATE=/other/state.db\0CRON_RUN_ID=7\0", false),
            ("CRON_RUN_ID=7\0", false),
            ("", false),
        ] {
            assert_eq!(
                is_of(variables.as_bytes(), "/data/state.db", &runs),
                is_one,
                "{variables}"
            );
        }
    }
}
