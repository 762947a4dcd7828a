//! The kinds of jobs and of targets there are: two closed lists, one line for each kind. What a kind declares, checks
//! and does stands in its own file; when a run begins, and what becomes of its outcome, is left to `engine`.

mod alert;
mod cleanup;
mod command;
mod container_update;
mod dry_run;
#[cfg(test)]
pub(crate) mod echo;
mod git_sync;
mod guards;
mod http;
mod inherited;
mod on_server;
mod programs;
mod record;
mod sql;
mod statement;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::timeout;

use crate::docker::Engines;
use crate::duplistatus::{Application, Duplistatus, OverdueBackups};
use crate::notifications::{Email, Healthchecks, Integration, Log, Ntfy, Target, Webhook};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::server::Rights;
use crate::sql::{CheckedDatabase, Mode};
use crate::values::{CancelReason, Issue, Secret, TargetId};
use alert::Alert;
use cleanup::Cleanup;
use command::Command;
use container_update::ContainerUpdate;
pub(crate) use container_update::{Recovery, recover};
use git_sync::GitSync;
use http::Http;
use sql::Sql;

/// The application that messages can be about.
pub(crate) const INTEGRATION: &dyn Integration = &Duplistatus;

/// How long a dry run may take.
const LONGEST_DRY_RUN: Duration = Duration::from_secs(20);
/// How long one may take to end after that.
const END_GRACE: Duration = Duration::from_secs(2);

/// Makes the list of jobs' kinds, each with the key that a job's table has it under.
macro_rules! job_kinds {
    ($($(#[$attribute:meta])* $kind:ident => $key:literal,)*) => {
        /// What a job does: exactly one kind, named by the key it stands under.
        #[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
        pub(crate) enum Action {
            $($(#[$attribute])* #[serde(rename = $key)] $kind($kind),)*
        }

        impl Action {
            /// The keys a kind can stand under.
            pub(crate) const KINDS: &[&str] = &[$($(#[$attribute])* $key,)*];

            /// The key it stands under.
            pub(crate) fn name(&self) -> &'static str {
                match self { $($(#[$attribute])* Self::$kind(_) => $key,)* }
            }

            pub(crate) fn database(&self) -> Option<Mode> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.database(),)* }
            }

            pub(crate) fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.targets(),)* }
            }

            pub(crate) fn check(&self, database: Option<&CheckedDatabase>) -> Vec<Issue> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.check(database),)* }
            }

            pub(crate) async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
                // Boxed, so that a run that waits is as large as its own kind's, not as the largest.
                match self { $($(#[$attribute])* Self::$kind(kind) => Box::pin(kind.run(ctx)).await,)* }
            }

            /// What a run would do now; `None` of a kind that cannot tell.
            pub(crate) async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
                within_time(ctx, async {
                    match self { $($(#[$attribute])* Self::$kind(kind) => kind.plan(ctx).await,)* }
                })
                .await
            }

            /// The host that it fetches a repository from.
            pub(crate) fn git_host(&self) -> Option<&str> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.git_host(),)* }
            }

            /// The folder that belongs to it alone.
            pub(crate) fn folder(&self) -> Option<&Path> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.folder(),)* }
            }

            /// What signs the requests that have it run, where others may.
            pub(crate) fn webhook(&self) -> Option<&Secret> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.webhook(),)* }
            }

            pub(crate) fn check_engine(&self, engines: &Engines) -> Result<(), String> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.check_engine(engines),)* }
            }

            /// What it changes that no other job may change.
            pub(crate) fn claims(&self, engines: &Engines) -> Vec<(&'static str, String)> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.claims(engines),)* }
            }

            /// The shortest time in which a run could do its work, where that is known.
            pub(crate) fn needs(&self) -> Option<Duration> {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.needs(),)* }
            }

            /// What it does to the tables of a database on a server.
            pub(crate) fn rights(&self) -> Rights {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.rights(),)* }
            }

            /// Whether a run changes nothing but what it tells.
            pub(crate) fn only_looks(&self) -> bool {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.only_looks(),)* }
            }

            pub(crate) fn takes_to_end(&self) -> Duration {
                match self { $($(#[$attribute])* Self::$kind(kind) => kind.takes_to_end(),)* }
            }

            /// What there is against a run now, which only looking at what it works with tells.
            pub(crate) async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
                within_time(ctx, async {
                    match self { $($(#[$attribute])* Self::$kind(kind) => kind.examine(ctx).await,)* }
                })
                .await
            }
        }
    };
}

job_kinds! {
    Cleanup => "cleanup",
    Sql => "sql",
    OverdueBackups => "overdue_backups",
    Alert => "alert",
    Command => "command",
    Http => "http",
    GitSync => "git_sync",
    ContainerUpdate => "container_update",
    #[cfg(test)] Echo => "echo",
}
#[cfg(test)]
use echo::Echo;

/// Makes the list of targets' kinds, each with the key that a target's table has it under.
macro_rules! target_kinds {
    ($($kind:ident => $key:literal,)*) => {
        /// Where messages go, as it is declared: exactly one kind, named by the key it stands under.
        #[derive(Deserialize, JsonSchema)]
        #[schemars(rename = "Target")]
        pub(crate) enum DeclaredTarget {
            $(#[serde(rename = $key)] $kind($kind),)*
        }

        impl DeclaredTarget {
            /// The keys a kind can stand under.
            pub(crate) const KINDS: &[&str] = &[$($key),*];

            pub(crate) fn into_target(self) -> Arc<dyn Target> {
                match self { $(Self::$kind(kind) => Arc::new(kind),)* }
            }
        }
    };
}

target_kinds! {
    Log => "log",
    Ntfy => "ntfy",
    Email => "email",
    Webhook => "webhook",
    Healthchecks => "healthchecks",
    Application => "duplistatus",
}

/// The keys of targets, whatever the kind, whose value is not a secret; every other is hidden wherever it is shown.
pub(crate) const HARMLESS_KEYS: &[&str] = &[
    "topic",
    "priority",
    "tags",
    "host",
    "port",
    "protection",
    "accept_invalid_certificates",
    "from",
    "to",
    "level",
    "email",
    "ntfy",
];

/// Does the work of a dry run, which must not take long.
async fn within_time<T>(ctx: &RunContext, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = timeout(LONGEST_DRY_RUN, &mut work).await {
        return done;
    }
    ctx.cancel.cancel(CancelReason::TimedOut);
    let seconds = LONGEST_DRY_RUN.as_secs();
    let too_long = Failure::lasting(format!("the dry run did not finish within {seconds} s"));
    // What it does must be over, unless it does not listen.
    let done = timeout(END_GRACE, work).await.map_err(|_| ());
    done.ok().and_then(Result::ok).ok_or(too_long)
}
