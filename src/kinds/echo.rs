//! A kind that only tests have: it needs no database, and does what it is told.

use std::path::PathBuf;
use std::time::Duration as Wait;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::run::{Failure, Kind, Report, RunContext};
use crate::sql::{CheckedDatabase, Mode};
use crate::values::{Duration, Issue, Secret};

#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Echo {
    say: Secret,
    /// How long it takes.
    takes: Option<Duration>,
    /// Whether it does not end when it is asked to.
    #[serde(default)]
    is_deaf: bool,
    /// The file whose absence makes its thread hang, whatever it is asked.
    hangs_without: Option<PathBuf>,
    #[serde(default)]
    panics: bool,
}

impl Kind for Echo {
    fn database(&self) -> Option<Mode> {
        None
    }

    fn check(&self, _database: Option<&CheckedDatabase>) -> Vec<Issue> {
        let is_empty = self.say.reveal().is_empty();
        is_empty
            .then(|| Issue::error("say", "it says nothing"))
            .into_iter()
            .collect()
    }

    async fn run(&self, ctx: &RunContext) -> Result<Report, Failure> {
        assert!(!self.panics, "told to panic");
        if let Some(file) = &self.hangs_without {
            let hang = |file: &PathBuf, _: &RunContext| {
                while !file.exists() {
                    std::thread::sleep(Wait::from_millis(10));
                }
                Ok(())
            };
            ctx.blocking(file, hang).await?;
        }
        let work = tokio::time::sleep(self.takes.map_or(Wait::ZERO, Duration::to_std));
        if self.is_deaf {
            work.await;
        } else {
            tokio::select! {
                () = work => {}
                () = ctx.cancel.cancelled() => return Err(Failure::lasting("told to stop")),
            }
        }
        Ok(Report {
            message: format!("{} characters", self.say.reveal().chars().count()),
            statistics: None,
            warnings: Vec::new(),
        })
    }
}
