//! The kind `overdue_backups`: looks for backups that did not come, by the application's own settings or what is
//! declared here, and has messages about them sent.

mod declaration;
mod forecast;

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::{Failure, Fenced, Flaw, Forecast, Kind, Report, Workbench};
use crate::duplistatus::due::{Circumstances, Due};
use crate::duplistatus::overdue;
use crate::notifications::letter::{About, Address, Envelope, Event};
use crate::notifications::{self, letter};
use crate::store::outbox::{Letter, Outbox};
use crate::store::sqlite::{Unusable, open_write};
use crate::values::TargetId;

pub(crate) use declaration::OverdueBackups;

/// A check that begins so much later than it was due counts as begun then.
const ON_TIME: SignedDuration = SignedDuration::from_mins(1);

impl Kind for OverdueBackups {
    fn name(&self) -> &'static str {
        "overdue_backups"
    }

    fn flaws(&self, database: Option<&Fenced>) -> Vec<Flaw> {
        self.flaws_of_keys(database.map(|fenced| &**fenced))
    }

    fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        self.named_targets()
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        let began = Instant::now();
        let mut connection = open_write(bench.database)?;
        bench.stop.govern(&mut connection, bench.busy_timeout)?;
        let key_file = notifications::key_file(bench.database);
        let declared = self.declared(bench.schedule_zone, bench.targets);
        let circumstances = Circumstances {
            now: bench.now,
            zone: bench.zone,
            key_file: &key_file,
            declared: &declared,
        };
        let check = overdue::check(&mut connection, &circumstances)?;
        drop(connection);
        for found in &check.overdue {
            tracing::info!(
                job = %bench.job, server = found.backup.server_name, backup = found.backup.name,
                expected = found.expected.map(tracing::field::display), "backup is overdue"
            );
        }
        let sent = send(&check.due, bench, began)?;
        let message = match check.troubles.as_slice() {
            [] => "Task executed successfully".to_owned(),
            troubles => format!(
                "Task executed; not everything could be checked: {}",
                troubles.join("; ")
            ),
        };
        let statistics = Some(check.statistics(sent));
        Ok(Report {
            message,
            statistics,
            troubles: [check.troubles, check.untold].concat(),
        })
    }

    fn forecast(&self, bench: &Workbench<'_>) -> Result<Forecast, Failure> {
        forecast::of(self, bench)
    }
}

/// Posts the messages and sees to their first attempt; gives how many were delivered by one channel at least.
fn send(due: &[Due], bench: &Workbench<'_>, began: Instant) -> Result<usize, Failure> {
    let subjects: BTreeSet<String> = due.iter().map(|due| due.finding.backup.key()).collect();
    let mut outbox = Outbox::open(bench.state)?;
    let state = |error: rusqlite::Error| Failure::from(Unusable::from_sqlite(bench.state, &error));
    let mut letters: Vec<Letter> = Vec::new();
    for due in due {
        let told_before = outbox.last_noted(&due.finding.backup.key()).map_err(state)?;
        let cause = told_before.map_or_else(|| due.cause.clone(), |letter| format!("{} after {letter}", due.cause));
        letters.extend(letters_of(due, &cause, bench));
    }
    outbox.post(&letters, bench.now).map_err(state)?;
    if bench.by_hand {
        outbox.hasten(&subjects, bench.now).map_err(state)?;
    }
    let delivered = bench.deliver(began, true)?;
    Ok(subjects.intersection(&delivered.subjects).count())
}

/// The time of a check: when it was due, unless it began much later. What is told each day is then told by the same
/// check each day, though one begins a moment earlier than the other.
fn checked_at(bench: &Workbench<'_>) -> Timestamp {
    let late = bench.now.duration_since(bench.scheduled_at);
    let is_on_time = (SignedDuration::ZERO..=ON_TIME).contains(&late);
    if is_on_time { bench.scheduled_at } else { bench.now }
}

/// One letter for each channel and target.
fn letters_of(due: &Due, cause: &str, bench: &Workbench<'_>) -> Vec<Letter> {
    let backup = &due.finding.backup;
    let of_application = |channel: &crate::duplistatus::channels::Channel| Address::Application {
        database: bench.database.to_owned(),
        channel: channel.clone(),
    };
    let declared = letter::addresses(&due.targets, bench.targets, Some(bench.database));
    due.channels
        .iter()
        .map(of_application)
        .chain(declared)
        .filter_map(|address| {
            let envelope = Envelope {
                address,
                event: Event::Overdue,
                about: About::Backup {
                    database: bench.database.to_owned(),
                    server_id: backup.server_id.clone(),
                    server_name: backup.server_name.clone(),
                    backup_name: backup.name.clone(),
                    checked_at: Some(checked_at(bench)),
                },
                message: due.message.clone(),
            };
            envelope.seal(&backup.key(), cause)
        })
        .collect()
}
