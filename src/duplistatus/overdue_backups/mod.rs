//! The kind `overdue_backups`: looks for backups that did not come, by the application's own settings or what is
//! declared here, and has messages about them sent.

mod declaration;
mod dry_run;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::due::{Circumstances, Due};
use super::overdue::{self, Check};
use super::{key_file, target};
use crate::notifications::{About, Event, Notification, addresses};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::{CheckedDatabase, CheckedFile, Mode, open_write};
use crate::state::NewMessage;
use crate::values::{Issue, TargetId};

pub(crate) use declaration::OverdueBackups;

/// A check that begins so much later than it was due counts as begun then.
const ON_TIME: SignedDuration = SignedDuration::from_mins(1);

impl Kind for OverdueBackups {
    fn database(&self) -> Option<Mode> {
        Some(Mode::Write)
    }

    fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        self.named_targets()
    }

    fn check(&self, database: Option<&CheckedDatabase>) -> Vec<Issue> {
        if let Some(CheckedDatabase::Server(_)) = database {
            let why =
                "it reads the application's own database, a SQLite file; its `database` must be one with a `path`";
            return vec![Issue::error("", why)];
        }
        let found = database.and_then(CheckedDatabase::file).and_then(CheckedFile::found);
        self.check_keys(found.map(|found| &**found))
    }

    fn only_looks(&self) -> bool {
        true
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        let check = ctx.blocking(self, Self::look).await?;
        for found in &check.overdue {
            tracing::info!(
                job = %ctx.job, server = found.backup.server_name, backup = found.backup.name,
                expected = found.expected.map(tracing::field::display), "backup is overdue"
            );
        }
        let sent = send(&check.due, ctx).await?;
        let message = match check.warnings.as_slice() {
            [] => "Task executed successfully".to_owned(),
            warnings => format!(
                "Task executed; not everything could be checked: {}",
                warnings.join("; ")
            ),
        };
        Ok(Report {
            message,
            statistics: Some(check.statistics(sent)),
            warnings: [check.warnings, check.untold].concat(),
        })
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        ctx.blocking(self, |kind, ctx| dry_run::of(kind, ctx).map(Some)).await
    }
}

impl OverdueBackups {
    /// Finds what is overdue, and brings the application's settings up to date.
    fn look(&self, ctx: &RunContext) -> Result<Check, Failure> {
        let path = ctx.database_path()?;
        let mut connection = open_write(path)?;
        ctx.interrupt().govern(&mut connection, ctx.database()?.busy_timeout)?;
        let circumstances = Circumstances {
            now: ctx.now,
            zone: &ctx.zone,
            key_file: &key_file(path),
            declared: &self.declared(&ctx.schedule_zone, &ctx.targets),
        };
        Ok(overdue::check(&mut connection, &circumstances)?)
    }
}

/// Posts the messages and sees to their first attempt; gives how many were delivered by one channel at least.
async fn send(due: &[Due], ctx: &RunContext) -> Result<usize, Failure> {
    let subjects: BTreeSet<String> = due.iter().map(|due| due.finding.backup.key()).collect();
    let told_before = ctx.store.last_noted(subjects.clone()).await?;
    let given = (due.to_vec(), told_before);
    let messages = ctx.blocking(&given, |(due, told_before), ctx| messages(due, told_before, ctx));
    let messages = messages.await?;
    let now = ctx.moment();
    ctx.store.post(messages, now).await?;
    if ctx.is_manual() {
        ctx.store.retry_now(subjects.clone(), now.service).await?;
    }
    let delivered = ctx.deliver(true).await?;
    Ok(subjects.intersection(&delivered.subjects).count())
}

/// The time of a check: when it was due, unless it began much later. What is told each day is then told by the same
/// check each day, though one begins a moment earlier than the other.
fn checked_at(ctx: &RunContext) -> Timestamp {
    let late = ctx.now.duration_since(ctx.scheduled_at);
    let is_on_time = (SignedDuration::ZERO..=ON_TIME).contains(&late);
    if is_on_time { ctx.scheduled_at } else { ctx.now }
}

/// For each backup, one message to each channel and target.
fn messages(due: &[Due], told_before: &BTreeMap<String, i64>, ctx: &RunContext) -> Result<Vec<NewMessage>, Failure> {
    let database = ctx.database_path()?;
    let mut messages = Vec::new();
    for due in due {
        let backup = &due.finding.backup;
        let cause = match told_before.get(&backup.key()) {
            None => due.cause.clone(),
            Some(message) => format!("{} after {message}", due.cause),
        };
        let of_application = due.channels.iter().map(|channel| target::address(database, channel));
        let declared = addresses(&due.targets, &ctx.targets, Some(database));
        for address in of_application.chain(declared) {
            let notification = Notification {
                address,
                event: Event::Overdue,
                about: About::Backup {
                    database: database.to_owned(),
                    server_id: backup.server_id.clone(),
                    server_name: backup.server_name.clone(),
                    backup_name: backup.name.clone(),
                    checked_at: Some(checked_at(ctx)),
                },
                message: due.message.clone(),
            };
            messages.extend(notification.to_row(&backup.key(), &cause));
        }
    }
    Ok(messages)
}
