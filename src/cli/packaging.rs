//! `completions` and `man`: what packages install beside the program.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::say;
use super::{AFTER_HELP, Cli, Exit, FAILED};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(options: &Options) {
    let mut written = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "duplistatus-cron", &mut written);
    print(&written);
}

/// Prints one page that has every command, with its options.
pub(super) fn manual() -> Result<(), Exit> {
    print(&write_manual().map_err(|error| Exit::new(FAILED, error))?);
    Ok(())
}

fn write_manual() -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut whole = Cli::command();
    whole.build();
    let manual = Man::new(whole.clone());
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set());
    for command in shown.filter(|command| command.get_name() != "help") {
        writeln!(page, ".SH THE COMMAND {}", command.get_name().to_uppercase())?;
        if let Some(about) = command.get_about() {
            writeln!(page, "{}.", about.to_string().replace('-', "\\-"))?;
        }
        let mut options = Vec::new();
        Man::new(command.clone()).render_options_section(&mut options)?;
        let options = String::from_utf8_lossy(&options);
        let own = options.replacen(".SH OPTIONS", ".SS Options", 1);
        page.extend_from_slice(own.as_bytes());
    }
    // Its columns stand under each other.
    let examples = AFTER_HELP.replace('-', "\\-");
    writeln!(page, ".SH EXAMPLES AND ENVIRONMENT\n.nf\n{examples}\n.fi")?;
    manual.render_version_section(&mut page)?;
    Ok(page)
}

fn print(written: &[u8]) {
    say!("{}", String::from_utf8_lossy(written).trim_end());
}
