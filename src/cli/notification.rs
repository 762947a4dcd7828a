//! `notify test`: sends a test message to a target and prints what the other side said.

use clap::{Args, Subcommand};

use super::output::say;
use super::{BAD_INPUT, Common, Exit, FAILED, log};
use crate::config::{self, Sources};
use crate::kinds::INTEGRATION;
use crate::notifications::{self, name_of};
use crate::values::{Clock, TargetId};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Send a test message to a target, and print the answer
    Test {
        /// The target
        target: TargetId,
    },
}

pub(super) fn main(common: &Common, sources: &Sources, options: &Options) -> Result<(), Exit> {
    let Command::Test { target: id } = &options.command;
    let plan = config::load(sources)?.plan;
    if !plan.targets.contains_key(id) {
        let declared: Vec<&str> = plan.targets.keys().map(TargetId::as_str).collect();
        let declared = if declared.is_empty() {
            "none".to_owned()
        } else {
            declared.join(", ")
        };
        return Err(Exit::new(
            BAD_INPUT,
            format!("no target `{id}` is declared; declared targets: {declared}"),
        ));
    }
    let _log = log::set_up(log::Form::for_people(common));
    let mut failed = Vec::new();
    for address in notifications::addresses([id], &plan.targets, plan.default_database_path().as_deref()) {
        let name = name_of(&address, INTEGRATION);
        match notifications::test(address, &plan.targets, INTEGRATION, Clock::system().now()) {
            Ok(said) => say!("{name}: {said}"),
            Err(why) => failed.push(format!("{name}: {why}")),
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Exit::new(FAILED, failed.join("\n")))
    }
}
