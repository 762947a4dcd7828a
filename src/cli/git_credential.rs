//! What git asks for credentials.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;

use super::output::say;
use super::{Exit, FAILED};
use crate::git::answer_git;
use crate::values::read_text;

/// How much git may say, in bytes.
const MOST: u64 = 64 * 1024;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Where the credential is.
    file: PathBuf,
    /// What git wants: to get one, or to store or erase one.
    operation: String,
}

pub(super) fn main(options: &Options) -> Result<(), Exit> {
    let failed = |why: String| Exit::new(FAILED, why);
    let mut asked = String::new();
    let read = std::io::stdin().take(MOST).read_to_string(&mut asked);
    read.map_err(|error| failed(error.to_string()))?;
    let known = read_text(&options.file).map_err(failed)?;
    say!("{}", answer_git(&options.operation, &asked, &known).trim_end());
    Ok(())
}
