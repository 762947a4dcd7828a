//! The kind `overdue_backups`: looks for backups that did not come, by the application's own settings, and has
//! messages about them sent.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde::Deserialize;

use super::{Failure, Flaw, Kind, Report, Workbench};
use crate::duplistatus::due::{Circumstances, Declared, Due};
use crate::duplistatus::frequency::Frequency;
use crate::duplistatus::overdue;
use crate::notifications::{self, Courier, Envelope};
use crate::store::outbox::{Letter, Outbox};
use crate::store::sqlite::{Unusable, open_write};
use crate::values;

/// How long a run waits for its messages; what is left goes on in the background.
const PATIENCE: Duration = Duration::from_secs(20);

/// The keys of `[jobs.<id>.overdue_backups]`; what is left out comes from the application's settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverdueBackups {
    tolerance: Option<values::Duration>,
    frequency: Option<Frequency>,
    language: Option<Language>,
}

/// A language that messages can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Language {
    #[serde(rename = "en-GB")]
    English,
    #[serde(rename = "de")]
    German,
    #[serde(rename = "fr")]
    French,
    #[serde(rename = "es")]
    Spanish,
    #[serde(rename = "pt-BR")]
    Portuguese,
    #[serde(rename = "zh-CN", alias = "zh-Hans")]
    Chinese,
}

impl Language {
    fn tag(self) -> &'static str {
        match self {
            Self::English => "en-GB",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Portuguese => "pt-BR",
            Self::Chinese => "zh-CN",
        }
    }
}

impl OverdueBackups {
    fn declared(&self) -> Declared {
        Declared {
            tolerance: self
                .tolerance
                .and_then(|tolerance| SignedDuration::try_from(tolerance.to_std()).ok()),
            frequency: self.frequency,
            language: self.language.map(|language| language.tag().to_owned()),
        }
    }
}

impl Kind for OverdueBackups {
    fn name(&self) -> &'static str {
        "overdue_backups"
    }

    fn flaws(&self, _database: Option<&Connection>) -> Vec<Flaw> {
        Vec::new()
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        let began = Instant::now();
        let mut connection = open_write(bench.database)?;
        bench.stop.govern(&mut connection)?;
        let key_file = notifications::key_file(bench.database);
        let declared = self.declared();
        let circumstances = Circumstances {
            now: bench.now,
            zone: bench.zone,
            key_file: &key_file,
            declared: &declared,
        };
        let (check, due) = overdue::check(&mut connection, &circumstances)?;
        drop(connection);
        for found in &check.overdue {
            tracing::info!(
                job = %bench.job, server = found.backup.server_name, backup = found.backup.name, expected = %found.expected,
                "backup is overdue"
            );
        }
        let sent = send(&due, bench, began)?;
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
}

/// Posts the messages and sees to their first attempt; gives how many were delivered by one channel at least.
fn send(due: &[Due], bench: &Workbench<'_>, began: Instant) -> Result<usize, Failure> {
    let subjects: BTreeSet<String> = due.iter().map(|due| due.overdue.backup.key()).collect();
    let mut outbox = Outbox::open(bench.state)?;
    let state = |error: rusqlite::Error| Failure::from(Unusable::from_sqlite(bench.state, &error));
    outbox.post(&letters(due, bench), bench.now).map_err(state)?;
    if bench.by_hand {
        outbox.hasten(&subjects, bench.now).map_err(state)?;
    }
    let now = || -> Timestamp {
        let passed = SignedDuration::try_from(began.elapsed()).unwrap_or_default();
        bench.now.checked_add(passed).unwrap_or(bench.now)
    };
    let courier = Courier {
        state: bench.state,
        now: &now,
        tells_failures: true,
    };
    let delivered = courier.deliver(began + PATIENCE)?;
    Ok(subjects.intersection(&delivered.subjects).count())
}

fn letters(due: &[Due], bench: &Workbench<'_>) -> Vec<Letter> {
    let letter = |due: &Due, channel: &crate::duplistatus::channels::Channel| {
        let backup = &due.overdue.backup;
        let envelope = Envelope {
            database: bench.database.to_owned(),
            channel: channel.clone(),
            message: due.message.clone(),
            server_id: backup.server_id.clone(),
            server_name: backup.server_name.clone(),
            backup_name: backup.name.clone(),
        };
        Some(Letter {
            subject: backup.key(),
            cause: due.cause.clone(),
            channel: serde_json::to_string(channel).ok()?,
            envelope: serde_json::to_string(&envelope).ok()?,
        })
    };
    due.iter()
        .flat_map(|due| due.channels.iter().filter_map(move |channel| letter(due, channel)))
        .collect()
}
