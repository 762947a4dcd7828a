//! What a program is started through that is to run as someone else.

use std::path::PathBuf;

use clap::Args;

use super::Exit;
use crate::process::{Identity, Umask, User, become_it as take_its_place};

/// What shells end with where a program cannot be run.
const CANNOT_RUN: u8 = 126;

#[derive(Args, Debug)]
pub(super) struct Options {
    #[arg(long)]
    user: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    nice: Option<i8>,
    #[arg(long)]
    umask: Option<Umask>,
    /// Where the program is.
    path: PathBuf,
    /// Its name and arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    argv: Vec<String>,
}

/// Becomes the program; comes back only to say why it could not.
pub(super) fn become_it(options: Options) -> Exit {
    let identity = Identity {
        user: options.user.map(User::named),
        nice: options.nice,
        umask: options.umask,
    };
    Exit::new(CANNOT_RUN, take_its_place(&identity, &options.path, &options.argv))
}
