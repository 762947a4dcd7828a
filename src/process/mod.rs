//! Programs that jobs run: found before they are started, started in a process group of their own, ended as a whole; what
//! they print is kept within bounds. Which programs, and what their end means, is left to the kinds of jobs.

mod group;
mod identity;
mod interpreter;
mod output;
mod program;
mod search;
mod signal;
mod strays;
mod supervise;
mod surroundings;

pub(crate) use group::kill_all;
pub(crate) use identity::{BECOME, Identity, Umask, User, become_it};
pub(crate) use output::{Captured, Kept, Log, Output, Sink, Streams};
pub(crate) use program::{Limits, Program};
pub(crate) use signal::StopSignal;
pub(crate) use strays::{RUN, STATE, end_strays};
pub(crate) use supervise::{Asked, Ended, Exit, Rules, asking, run};
pub(crate) use surroundings::Surroundings;
