//! What is wrong with a declaration, and what a run would meet on this machine.

use super::survey::Site;
use super::verification::FIELDS;
use super::{ContainerUpdate, Extent};
use crate::docker::{Address, Engines, chosen};
use crate::kinds::command::{Command, Setting};
use crate::run::{Failure, RunContext};
use crate::values::{Issue, Pattern, Template, with_suggestion};

impl ContainerUpdate {
    pub(super) fn issues(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let selects_nothing = self.containers.is_none() && self.project.is_none() && self.labels.is_empty();
        if selects_nothing {
            let why = "declare which containers it is about: `containers = [\"web\"]`, `project` or `labels`";
            issues.push(Issue::error("", why));
        }
        if self.containers.as_ref().is_some_and(Vec::is_empty) {
            issues.push(Issue::error(
                "containers",
                "the list is empty; `[\"*\"]` means all of them",
            ));
        }
        let means_all = self.containers.iter().flatten().any(|pattern| pattern.as_str() == "*");
        let is_narrowed = self.project.is_some() || !self.labels.is_empty() || !self.exclude.is_empty();
        if means_all && !is_narrowed && self.action == Extent::Update {
            let why = "every container of the engine is updated, databases included; `exclude` leaves some alone";
            issues.push(Issue::warning("containers", why));
        }
        if let Some(verify) = &self.verify {
            if verify.argv.is_empty() {
                issues.push(Issue::error("verify.argv", "the program is missing"));
            }
            for field in verify.argv.iter().flat_map(Template::fields) {
                if !FIELDS.contains(&field) {
                    let sentence = format!("there is no `{{{field}}}`; known: {}", FIELDS.join(", "));
                    issues.push(Issue::error(
                        "verify.argv",
                        with_suggestion(sentence, field, FIELDS.iter().copied()),
                    ));
                }
            }
            if self.action == Extent::Tell {
                issues.push(Issue::warning(
                    "verify",
                    "with the action \"tell\", no image is pulled, and so none is verified",
                ));
            }
        }
        issues
    }

    /// The containers that no other job may update.
    pub(super) fn claimed(&self, engines: &Engines) -> Vec<(&'static str, String)> {
        let Ok(engine) = chosen(engines, self.engine.as_ref()) else {
            return Vec::new();
        };
        if self.action != Extent::Update {
            return Vec::new();
        }
        let plain = self.containers.iter().flatten().filter(|pattern| pattern.is_plain());
        let mut names: Vec<&str> = plain.map(Pattern::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let claim = |name: &str| ("containers", format!("the container `{name}` at {}", engine.host));
        names.into_iter().map(claim).collect()
    }

    /// How long the update of one container may take, by its own rules.
    pub(super) fn takes(&self) -> Option<std::time::Duration> {
        let well = self.healthy_within.to_std().max(self.settle.to_std());
        let verified = self
            .verify
            .as_ref()
            .map_or(std::time::Duration::ZERO, |verify| verify.timeout.to_std());
        match self.action {
            Extent::Tell => None,
            Extent::Pull => Some(verified),
            Extent::Update => Some(well.saturating_add(verified)),
        }
    }

    /// What a run would meet, as far as this machine tells.
    pub(super) async fn examined(&self, ctx: &RunContext) -> Result<Vec<Issue>, Failure> {
        let mut issues = Vec::new();
        if let Some(verify) = &self.verify {
            let argv = verify
                .argv
                .first()
                .map(|program| program.render(|_| None))
                .into_iter()
                .collect();
            let command = Command::of(argv);
            let found = ctx.blocking(&command, |command, ctx| {
                Ok(command
                    .program(ctx, &Setting::of(ctx))
                    .and_then(|program| program.find()))
            });
            if let Err(why) = found.await? {
                issues.push(Issue::warning("verify.argv", why));
            }
        }
        // Nothing is asked over the network.
        if matches!(self.engine(ctx)?.host, Address::Tcp(_)) {
            return Ok(issues);
        }
        match Site::reach(self, ctx).await {
            Ok(site) => {
                for warning in site.survey(self).await?.warnings {
                    issues.push(Issue::warning("containers", warning));
                }
            }
            Err(failure) => issues.push(Issue::warning("", failure.message)),
        }
        Ok(issues)
    }
}
