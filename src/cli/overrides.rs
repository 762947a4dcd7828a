//! `overrides`: the row of the database that overrides jobs and what they inherit, edited safely.

use crate::sql::sqlite::{self, TransactionBehavior};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::output::say;
use super::{BAD_INPUT, Exit, FAILED};
use crate::config::{self, Problem, Problems, Source, Sources};
use crate::duplistatus::settings::{self, CRON_OVERRIDES};
use crate::sql::{SqlError, open_write};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show what is overridden
    List,
    /// Override a value, such as `jobs.session-cleanup.enabled false`
    Set {
        /// The path of the value
        path: String,
        /// The value as in TOML; anything else is taken as a string
        value: String,
    },
    /// Remove an override
    Unset {
        /// The path of the value, or of a table of them
        path: String,
    },
}

pub(super) fn main(mut sources: Sources, options: &Options) -> Result<(), Exit> {
    let before = config::load(&sources)?;
    let Some(database) = before.plan.default_database_path() else {
        let message = "there are several databases; `defaults.database` must name the one that has the overrides";
        return Err(Exit::new(BAD_INPUT, message));
    };
    let failed = |error: sqlite::Error| Exit::new(FAILED, SqlError::of_database(&database, &error));
    let mut connection = open_write(&database).map_err(|unusable| Exit::new(FAILED, unusable))?;
    connection
        .busy_timeout(std::time::Duration::from_secs(10))
        .map_err(failed)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Where there is no table of settings, nothing is overridden.
    let text = if settings::exist(&transaction).map_err(failed)? {
        settings::get(&transaction, CRON_OVERRIDES).map_err(failed)?
    } else {
        None
    };
    let mut row = match text.as_deref().map(serde_json::from_str) {
        None => Map::new(),
        Some(Ok(Value::Object(row))) => row,
        Some(_) => {
            let message = format!(
                "the row {CRON_OVERRIDES} of {} is not a JSON object; it was left unchanged",
                database.display()
            );
            return Err(Exit::new(FAILED, message));
        }
    };
    let path = match &options.command {
        Command::List => {
            if row.is_empty() {
                say!("nothing is overridden");
            }
            list(&row, &mut Vec::new());
            return Ok(());
        }
        Command::Set { path, value } => {
            put(&mut row, path, config::sources::file::read_json(value))?;
            path
        }
        Command::Unset { path } => {
            if !take(&mut row, &path.split('.').collect::<Vec<_>>()) {
                return Err(Exit::new(FAILED, format!("`{path}` is not overridden")));
            }
            path
        }
    };
    let written = Value::Object(row).to_string();
    sources.candidate = Some(written.clone());
    if matches!(options.command, Command::Set { .. }) {
        check(&sources, path, &before.problems)?;
    }
    settings::set(&transaction, CRON_OVERRIDES, &written).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    say!("{written}\nA running service applies it within a minute, or at once by `duplistatus-cron reload`");
    Ok(())
}

/// Refuses what the service would ignore, but for what it ignored `before`: each fault can be fixed alone.
fn check(sources: &Sources, path: &str, before: &[Problem]) -> Result<(), Exit> {
    let loaded = config::load(sources)?;
    let is_new = |problem: &Problem| {
        let of_row = matches!(problem.source, Source::Row(key) if key == CRON_OVERRIDES);
        of_row && !before.contains(problem)
    };
    let refused: Vec<_> = loaded.problems.into_iter().filter(is_new).collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(Exit::new(
        BAD_INPUT,
        format!("{}nothing was changed at `{path}`", Problems(refused)),
    ))
}

fn list(table: &Map<String, Value>, path: &mut Vec<String>) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Object(below) => list(below, path),
            value => say!("{} = {value}", path.join(".")),
        }
        path.pop();
    }
}

fn put(row: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), Exit> {
    let keys: Vec<&str> = path.split('.').collect();
    let Some((last, above)) = keys.split_last().filter(|_| keys.iter().all(|key| !key.is_empty())) else {
        return Err(Exit::new(
            BAD_INPUT,
            format!("`{path}` is not a path such as jobs.session-cleanup.enabled"),
        ));
    };
    let mut table = row;
    for key in above {
        let below = table
            .entry((*key).to_owned())
            .or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(below) = below else {
            return Err(Exit::new(
                BAD_INPUT,
                format!("`{key}` in `{path}` is overridden as a value, not a table"),
            ));
        };
        table = below;
    }
    table.insert((*last).to_owned(), value);
    Ok(())
}

/// Takes out what stands at `path`, and tables that are empty then; whether there was something.
fn take(table: &mut Map<String, Value>, path: &[&str]) -> bool {
    match path {
        [] => false,
        [last] => table.remove(*last).is_some(),
        [first, rest @ ..] => {
            let Some(Value::Object(below)) = table.get_mut(*first) else {
                return false;
            };
            let taken = take(below, rest);
            if below.is_empty() {
                table.remove(*first);
            }
            taken
        }
    }
}
