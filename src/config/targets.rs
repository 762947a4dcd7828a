//! Resolves the notification targets, and who is told by them.

use std::collections::BTreeMap;
use std::sync::Arc;

use figment::value::{Dict, Value};

use super::declaration::Notify;
use super::merged::{below, path};
use super::plan::Job;
use super::reading::{Resolver, unknown_key};
use crate::docker::{ContainerEngine, Engines};
use crate::git::{GitHost, GitHosts, is_host};
use crate::kinds::DeclaredTarget;
use crate::notifications::alert::Alerts;
use crate::notifications::{Targets, Withheld};
use crate::values::{EngineId, Severity, TargetId, with_suggestion};

impl Resolver<'_> {
    pub(super) fn targets(&mut self) -> Targets {
        let mut targets = BTreeMap::new();
        for (name, at, value) in self.tables("notifications") {
            if holds_what_is_not_kept(&value) {
                let why = "its secrets are not kept with the last good configuration; messages to it wait until the declaration is fixed";
                self.problems.push(self.merged.problem_of_key(&at, why).into_warning());
                targets.extend(name.parse::<TargetId>().ok().map(|id| (id, Arc::new(Withheld) as _)));
                continue;
            }
            let kinds = DeclaredTarget::KINDS;
            let (rest, target) = self.take_kind::<DeclaredTarget>(&at, value, "target", kinds);
            for key in rest.as_dict().into_iter().flat_map(Dict::keys) {
                let message = unknown_key(key, kinds);
                self.problems
                    .push(self.merged.problem_of_key(&below(&at, key), message));
            }
            let id = name
                .parse::<TargetId>()
                .map_err(|why| self.problems.push(self.merged.problem_of_key(&at, why)));
            let (Ok(id), Some(target)) = (id, target) else { continue };
            let target = target.into_target();
            self.note(&below(&at, target.name()), target.check());
            targets.insert(id, target);
        }
        targets
    }

    /// The hosts that repositories are fetched from.
    pub(super) fn git_hosts(&mut self) -> GitHosts {
        let mut hosts = GitHosts::new();
        for (name, at, value) in self.tables("git_hosts") {
            if holds_what_is_not_kept(&value) {
                let why = "its secrets are not kept with the last good configuration; nothing is fetched from it until the declaration is fixed";
                self.problems.push(self.merged.problem_of_key(&at, why).into_warning());
                continue;
            }
            let before = self.problems.len();
            let Some(host) = self.read::<GitHost>(&at, value) else {
                continue;
            };
            // What could not be read is told already, and is not missing.
            if self.problems.len() == before {
                self.note(&at, host.check());
            }
            if !is_host(&name) {
                let why =
                    format!("`{name}` is not a host; its name is expected, and the port where addresses have one");
                self.problems.push(self.merged.problem_of_key(&at, why));
            }
            hosts.insert(name.to_ascii_lowercase(), host);
        }
        hosts
    }

    /// The container engines.
    pub(super) fn engines(&mut self) -> Engines {
        let mut engines = Engines::new();
        for (name, at, value) in self.tables("engines") {
            let engine = self.read::<ContainerEngine>(&at, value);
            self.note(&at, engine.iter().flat_map(ContainerEngine::check));
            match name.parse::<EngineId>() {
                Ok(id) => drop(engine.map(|engine| engines.insert(id, engine))),
                Err(why) => self.problems.push(self.merged.problem_of_key(&at, why)),
            }
        }
        engines
    }

    /// Warns of hosts that no job fetches from: their names may be mistyped.
    pub(super) fn warn_of_unused_hosts<'a>(&mut self, hosts: &GitHosts, jobs: impl Iterator<Item = &'a Job>) {
        let used: Vec<String> = jobs
            .filter_map(|job| job.action.git_host().map(str::to_owned))
            .collect();
        for name in hosts.keys().filter(|name| !used.contains(name)) {
            let other = used
                .iter()
                .find(|used| used.split(':').next() == name.split(':').next());
            let sentence = match other {
                Some(other) => format!("no job fetches from it; the port belongs to the name: `{other}`"),
                None => "no job fetches from it".to_owned(),
            };
            let message = with_suggestion(sentence, name, used.iter().map(String::as_str));
            let problem = self.merged.problem_of_key(&path(&["git_hosts", name]), message);
            self.problems.push(problem.into_warning());
        }
    }

    /// Whom a job's runs are told to: what it says itself, else what `defaults` says.
    pub(super) fn alerts(
        &mut self,
        at: &[String],
        own: Option<&Notify>,
        defaults: &Notify,
        targets: &Targets,
    ) -> Alerts {
        let own = own.unwrap_or(&Notify::NONE);
        self.check_notify(at, own, targets);
        let pick = |own: &Option<Vec<TargetId>>, default: &Option<Vec<TargetId>>| {
            own.as_ref().or(default.as_ref()).cloned().unwrap_or_default()
        };
        Alerts {
            on_failure: pick(&own.on_failure, &defaults.on_failure),
            on_success: pick(&own.on_success, &defaults.on_success),
            on_recovery: pick(&own.on_recovery, &defaults.on_recovery),
            repeat_after: own.repeat_after.or(defaults.repeat_after),
        }
    }

    /// Notes every target that is named and not declared.
    pub(super) fn check_notify(&mut self, at: &[String], notify: &Notify, targets: &Targets) {
        let lists = [
            ("on_failure", &notify.on_failure),
            ("on_success", &notify.on_success),
            ("on_recovery", &notify.on_recovery),
        ];
        for (key, named) in lists {
            if let Some(named) = named {
                self.check_targets(&below(&below(at, "notify"), key), named, targets);
            }
        }
    }

    /// Notes every one of `named` that is not declared.
    pub(super) fn check_targets<'a>(
        &mut self,
        at: &[String],
        named: impl IntoIterator<Item = &'a TargetId>,
        targets: &Targets,
    ) {
        for id in named {
            // One whose own declaration is invalid is a problem already.
            let is_declared = targets.contains_key(id) || self.merged.get(&["notifications", id.as_str()]).is_some();
            if !is_declared {
                let declared = self.merged.table("notifications");
                let known: Vec<&str> = declared.map(|(id, _)| id.as_str()).collect();
                let message = match known.as_slice() {
                    [] => format!("no target `{id}` is declared; [notifications.{id}] would declare it"),
                    known => with_suggestion(
                        format!("no target `{id}` is declared; declared targets: {}", known.join(", ")),
                        id.as_str(),
                        known.iter().copied(),
                    ),
                };
                self.problems.push(self.merged.problem(at, Severity::Error, message));
            }
        }
    }
}

/// Whether a secret was left out when the declaration was kept.
pub(super) fn holds_what_is_not_kept(value: &Value) -> bool {
    value
        .as_dict()
        .is_some_and(|table| table.contains_key(super::kept::NOT_KEPT) || table.values().any(holds_what_is_not_kept))
}
