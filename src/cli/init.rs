//! `init`: writes a declaration to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;

use super::output::say;
use super::{Exit, FAILED, NoService};
use crate::config::sources::SHIPPED;

const MINIMAL: &str = include_str!("../../examples/minimal.toml");

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Where to write it
    #[arg(default_value = "jobs.toml")]
    file: PathBuf,
    /// Only one job, without the reference of every key
    #[arg(long)]
    minimal: bool,
    #[command(flatten)]
    _service: NoService,
}

pub(super) fn main(options: &Options) -> Result<(), Exit> {
    let (content, what) = if options.minimal {
        (MINIMAL, "one job to start from")
    } else {
        (SHIPPED, "the jobs of duplistatus, and every key with its explanation")
    };
    let shown = options.file.display();
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&options.file)
        .and_then(|mut file| file.write_all(content.as_bytes()));
    match written {
        Ok(()) => {
            say!("Wrote {shown}: {what}. `duplistatus-cron validate {shown}` checks it");
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Exit::new(
            FAILED,
            format!("{shown} already exists; it was left unchanged"),
        )),
        Err(error) => Err(Exit::new(FAILED, format!("{shown} cannot be written: {error}"))),
    }
}
