//! Resolves the notification targets and who is told by them, and opens the secrets that stand in variables and
//! files.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::declaration::Notify;
use super::kinds::below;
use super::merged::path;
use super::problem::Severity;
use super::resolve::Resolver;
use super::sources::Environment;
use crate::notifications::alert::Alerts;
use crate::notifications::{Target, Targets};
use crate::values::TargetId;
use crate::values::with_suggestion;

impl Resolver<'_> {
    pub(super) fn targets(&mut self, environment: &Environment) -> Targets {
        let mut targets = BTreeMap::new();
        for (name, value) in self.merged.table("notifications") {
            let (at, mut value) = (path(&["notifications", name]), value.clone());
            if !self.is_table(&at, &value) {
                continue;
            }
            if holds_what_is_not_kept(&value) {
                let why = "its secrets are not kept with the last good configuration; messages to it wait until the declaration is mended";
                self.problems.push(self.merged.problem_of_key(&at, why).into_warning());
                targets.extend(name.parse::<TargetId>().ok().map(|id| (id, Target::Withheld)));
                continue;
            }
            let before = self.problems.len();
            self.open_secrets(&at, &mut value, environment);
            if self.problems.len() > before {
                // Declared all the same, so that whoever names it is not told that it is not.
                continue;
            }
            let (rest, target) = self.take_kind::<Target>(&at, value, "target", Target::KINDS);
            for key in rest.as_dict().into_iter().flat_map(Dict::keys) {
                let message = super::reading::unknown_key(key, Target::KINDS);
                self.problems
                    .push(self.merged.problem_of_key(&below(&at, key), message));
            }
            let id = name
                .parse::<TargetId>()
                .map_err(|why| self.problems.push(self.merged.problem_of_key(&at, why)));
            let (Ok(id), Some(target)) = (id, target) else { continue };
            for (key, why) in target.flaws() {
                let place = below(&below(&at, target.name()), key);
                self.problems.push(self.merged.problem(&place, Severity::Error, why));
            }
            targets.insert(id, target);
        }
        targets
    }

    /// Puts the secret in the place of every `{ env = "NAME" }` and `{ file = "path" }` that stands for one.
    fn open_secrets(&mut self, at: &[String], value: &mut Value, environment: &Environment) {
        let Value::Dict(_, table) = value else { return };
        for (key, value) in table {
            let place = below(at, key);
            let may_be_secret = place.len() > 3
                && (Target::SECRETS.contains(&key.as_str()) || at.last().is_some_and(|above| above == "headers"));
            let Value::Dict(tag, source) = &*value else { continue };
            match (may_be_secret, secret_source(source)) {
                (true, Some((kind, name))) => match read_secret(kind, name, environment) {
                    Ok(secret) => *value = Value::String(*tag, secret),
                    Err(why) => self.problems.push(self.merged.problem(&place, Severity::Error, why)),
                },
                _ => self.open_secrets(&place, value, environment),
            }
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
            self.check_targets(&below(&below(at, "notify"), key), named.iter().flatten(), targets);
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
            // One whose own declaration is no good is a problem already.
            let is_declared = targets.contains_key(id) || self.merged.get(&["notifications", id.as_str()]).is_some();
            if !is_declared {
                let declared = self.merged.table("notifications");
                let known: Vec<&str> = declared.map(|(id, _)| id.as_str()).collect();
                let message = match known.as_slice() {
                    [] => format!("no target `{id}` is declared; [notifications.{id}] would declare it"),
                    known => with_suggestion(
                        format!("no target `{id}` is declared; there are {}", known.join(", ")),
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
fn holds_what_is_not_kept(value: &Value) -> bool {
    value
        .as_dict()
        .is_some_and(|table| table.contains_key(super::kept::NOT_KEPT) || table.values().any(holds_what_is_not_kept))
}

/// `env` or `file` with what it names, where `table` is nothing else.
fn secret_source(table: &Dict) -> Option<(&str, &str)> {
    let (kind, name) = table.iter().next().filter(|_| table.len() == 1)?;
    matches!(kind.as_str(), "env" | "file").then_some((kind.as_str(), name.as_str()?))
}

fn read_secret(kind: &str, name: &str, environment: &Environment) -> Result<String, String> {
    let text = if kind == "env" {
        environment
            .get(name)
            .ok_or_else(|| format!("the variable {name} is not set"))?
    } else {
        std::fs::read_to_string(name).map_err(|error| format!("{name} cannot be read: {error}"))?
    };
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() {
        return Err(format!("{name} is empty; a secret is expected"));
    }
    Ok(text)
}
