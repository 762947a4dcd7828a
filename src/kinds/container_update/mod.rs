//! The kind `container_update`: the same container on a newer image, or exactly as it was. The new one is created, and proved equal,
//! before the old one notices anything; it is back whenever the new one is not well.

mod check;
mod dry_run;
mod gates;
mod journal;
mod memory;
mod messages;
mod preparation;
mod recovery;
mod registry;
mod replacement;
mod restoration;
mod round;
mod standing;
mod survey;
mod swap;
mod verdict;
mod verification;
mod wellness;
mod worker;

use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::docker::{ContainerEngine, DockerError, Engines, chosen};
use crate::run::{DryRun, Failure, Kind, Report, RunContext};
use crate::sql::{CheckedDatabase, Mode};
use crate::values::{Duration, EngineId, Issue, Pattern, TargetId, deserialize_from_text, schema_of_text};
pub(crate) use recovery::{Recovery, recover};
use verification::Verify;

/// What the folder beside the state is called that has what the service needs of containers.
const FOLDER: &str = "containers";
/// The label by which the owner of a container keeps it out of every selection.
const OPT_OUT: &str = "duplistatus-cron.update";
/// How long putting things back may take once a run is to end.
const TO_PUT_BACK: std::time::Duration = std::time::Duration::from_mins(3);

/// The keys of `[jobs.<id>.container_update]`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContainerUpdate {
    /// The engine, where there are several.
    engine: Option<EngineId>,
    /// Names of containers.
    containers: Option<Vec<Pattern>>,
    /// A project of compose.
    project: Option<String>,
    /// Labels with their values; an empty one stands for any.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Names of containers that are left alone.
    #[serde(default)]
    exclude: Vec<Pattern>,
    #[serde(default)]
    action: Extent,
    /// How long an image must have been known before it is used.
    #[serde(default)]
    min_age: MinAge,
    /// How long a new container may take to be healthy.
    #[serde(default = "five_minutes")]
    healthy_within: Duration,
    /// How long one without a health check must run.
    #[serde(default = "thirty_seconds")]
    settle: Duration,
    #[serde(default)]
    dependents: Dependents,
    #[serde(default)]
    remove_old_image: bool,
    /// When an image that was rolled back is tried again.
    #[serde(default)]
    retry_bad: RetryBad,
    verify: Option<Verify>,
    /// Whom its news are told to.
    #[serde(default)]
    notify: Vec<TargetId>,
}

/// How far a run goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Extent {
    /// It tells of newer images.
    Tell,
    /// It also pulls and verifies them.
    Pull,
    /// And has the containers use them.
    #[default]
    Update,
}

/// What becomes of containers that share a namespace of one that is updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Dependents {
    /// They are made anew together with it.
    #[default]
    Recreate,
    /// It is left alone.
    Refuse,
}

/// A length of time, or none: "0s".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct MinAge(Option<Duration>);

impl FromStr for MinAge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_none = ["0", "0s", "0m", "0h", "0d"].contains(&text);
        if is_none {
            Ok(Self(None))
        } else {
            text.parse().map(|age| Self(Some(age)))
        }
    }
}

deserialize_from_text!(MinAge);
schema_of_text!(MinAge, "A length of time, such as 3d; 0s for none");

/// A length of time, or "never".
#[derive(Clone, Copy, Debug, PartialEq)]
struct RetryBad(Option<Duration>);

impl Default for RetryBad {
    fn default() -> Self {
        Self(Some(Duration::from_days(7)))
    }
}

impl FromStr for RetryBad {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            Ok(Self(None))
        } else {
            text.parse().map(|after| Self(Some(after)))
        }
    }
}

deserialize_from_text!(RetryBad);
schema_of_text!(RetryBad, "A length of time, such as 7d, or never");

fn five_minutes() -> Duration {
    Duration::from_seconds(300)
}

fn thirty_seconds() -> Duration {
    Duration::from_seconds(30)
}

impl ContainerUpdate {
    fn engine(&self, ctx: &RunContext) -> Result<ContainerEngine, Failure> {
        chosen(&ctx.engines, self.engine.as_ref()).map_err(Failure::lasting)
    }
}

impl From<DockerError> for Failure {
    fn from(error: DockerError) -> Self {
        Self {
            is_transient: error.is_transient,
            ..Self::lasting(error.message)
        }
    }
}

impl Kind for ContainerUpdate {
    fn database(&self) -> Option<Mode> {
        None
    }

    fn targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        vec![(vec!["notify"], &self.notify)]
    }

    fn check(&self, _database: Option<&CheckedDatabase>) -> Vec<Issue> {
        self.issues()
    }

    fn check_engine(&self, engines: &Engines) -> Result<(), String> {
        chosen(engines, self.engine.as_ref()).map(drop)
    }

    fn claims(&self, engines: &Engines) -> Vec<(&'static str, String)> {
        self.claimed(engines)
    }

    fn needs(&self) -> Option<std::time::Duration> {
        self.takes()
    }

    fn takes_to_end(&self) -> std::time::Duration {
        TO_PUT_BACK
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        round::run(self, ctx).await
    }

    async fn plan(&self, ctx: &RunContext) -> Result<Option<DryRun>, Failure> {
        Ok(Some(dry_run::plan(self, ctx).await))
    }

    async fn examine(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        self.examined(ctx).await
    }
}
