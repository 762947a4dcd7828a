//! `completions` and `man`: what packages install beside the program.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, FAILED};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(options: &Options) -> Result<(), Exit> {
    let mut written = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "duplistatus-cron", &mut written);
    print(&written)
}

pub(super) fn manual() -> Result<(), Exit> {
    let mut written = Vec::new();
    let manual = clap_mangen::Man::new(Cli::command()).render(&mut written);
    manual.map_err(|error| Exit::new(FAILED, error))?;
    print(&written)
}

fn print(written: &[u8]) -> Result<(), Exit> {
    super::output::line(format_args!("{}", String::from_utf8_lossy(written).trim_end()));
    Ok(())
}
