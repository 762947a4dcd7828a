//! Why a container is left alone, whatever its image.

use super::{ContainerUpdate, OPT_OUT};
use crate::docker::{Container, Health, own_container, short};

/// What is known of this process and the engine's host.
#[derive(Clone, Debug, Default)]
pub(super) struct Itself {
    /// The container that the service runs in.
    own: Option<String>,
    /// What this machine is called: in a container, the beginning of its id unless it is given another name.
    machine: String,
}

impl Itself {
    pub(super) fn look() -> Self {
        let names = rustix::system::uname();
        Self {
            own: own_container(),
            machine: names.nodename().to_string_lossy().into_owned(),
        }
    }

    pub(super) fn is(&self, container: &Container) -> bool {
        self.own.as_deref() == Some(container.id()) || self.machine == short(container.id())
    }
}

/// Why nobody may replace a container, however it is now, if so.
pub(super) fn refusal(container: &Container, itself: &Itself) -> Option<String> {
    let label = |name: &str| container.label(name).unwrap_or_default();
    let name = container.name();
    let is_interrupted_compose = name
        .split_once('_')
        .is_some_and(|(id, _)| id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit()));
    let why = if label(OPT_OUT).eq_ignore_ascii_case("false") {
        "its label says so"
    } else if itself.is(container) {
        "the service runs in it, and cannot replace itself"
    } else if container.is_removed_at_its_end() {
        "it is removed at its end (--rm), and could not be put back"
    } else if !label("com.docker.swarm.task.id").is_empty() {
        "it belongs to a service of Swarm, which updates it"
    } else if !label("io.kubernetes.pod.name").is_empty() {
        "it belongs to a pod of Kubernetes, which updates it"
    } else if label("com.docker.compose.oneoff").eq_ignore_ascii_case("true") {
        "it was made for one command (compose run)"
    } else if is_interrupted_compose {
        "compose was cut off while it replaced it"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// Why a container is left alone as it is now.
pub(super) fn not_now(container: &Container) -> Option<String> {
    match container.status() {
        "running" if container.health() == Health::Starting => Some("its health check is still starting".to_owned()),
        "running" => None,
        "paused" => Some("it is paused, perhaps for a backup".to_owned()),
        other => Some(format!("it is not running ({other})")),
    }
}

impl ContainerUpdate {
    /// Whether it is about a container of this name and these labels.
    pub(super) fn selects<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let is_named = self
            .containers
            .as_ref()
            .is_none_or(|names| names.iter().any(|pattern| pattern.matches(name)));
        let is_of_project = self
            .project
            .as_deref()
            .is_none_or(|project| label("com.docker.compose.project") == Some(project));
        let mut labels = self.labels.iter();
        let is_labelled =
            labels.all(|(name, value)| label(name).is_some_and(|found| value.is_empty() || found == value));
        is_named && is_of_project && is_labelled && !self.exclude.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(changes: &[(&str, Value)]) -> Container {
        let mut found = json!({
            "Id": "ab".repeat(32), "Name": "/web", "Image": "sha256:1", "State": { "Status": "running", "Running": true, "Health": {} },
            "Config": { "Labels": {} }, "HostConfig": {},
        });
        for (pointer, value) in changes {
            let (table, key) = pointer.rsplit_once('/').unwrap();
            found.pointer_mut(table).unwrap()[key] = value.clone();
        }
        Container::kept(&found).unwrap()
    }

    #[test]
    fn every_gate_gives_its_reason() {
        let none = Itself::default();
        assert_eq!(refusal(&container(&[]), &none), None);
        for (pointer, value, why) in [
            ("/Config/Labels/duplistatus-cron.update", json!("false"), "its label"),
            ("/Name", json!("/0123456789ab_web"), "compose was cut off"),
            ("/HostConfig/AutoRemove", json!(true), "--rm"),
            ("/Config/Labels/com.docker.swarm.task.id", json!("x"), "Swarm"),
            ("/Config/Labels/io.kubernetes.pod.name", json!("x"), "Kubernetes"),
            ("/Config/Labels/com.docker.compose.oneoff", json!("True"), "compose run"),
            ("/State/Status", json!("paused"), "paused"),
            ("/State/Status", json!("exited"), "not running (exited)"),
            ("/State/Health/Status", json!("starting"), "still starting"),
        ] {
            let container = container(&[(pointer, value)]);
            let found = refusal(&container, &none)
                .or_else(|| not_now(&container))
                .unwrap_or_default();
            assert!(found.contains(why), "{pointer}: {found}");
        }
        let inside = [
            Itself {
                own: Some("ab".repeat(32)),
                ..Itself::default()
            },
            Itself {
                machine: "abababababab".to_owned(),
                ..Itself::default()
            },
        ];
        for itself in inside {
            assert!(
                refusal(&container(&[]), &itself)
                    .unwrap()
                    .contains("cannot replace itself")
            );
        }
    }
}
