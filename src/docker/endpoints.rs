//! How a container is connected to its networks: what was asked for, never what it happened to get.

use serde_json::{Map, Value, json};

use super::container::{Container, short};
use super::difference::is_nothing;

/// What is asked for of a network; all else is the engine's choice.
const ASKED_FOR: &[&str] = &["IPAMConfig", "Links", "DriverOpts", "GwPriority"];

/// A container's networks, each with what was asked for. Those that have no connection of their own have none. Whether the
/// engine tells the host's name among the aliases depends on its age.
pub(super) fn endpoints(container: &Container, tells_own_names: bool) -> Map<String, Value> {
    let mode = mode_of(container);
    let has_none = container.json()["Config"]["NetworkDisabled"] == true;
    if has_none || matches!(mode, "host" | "none") || mode.starts_with("container:") {
        return Map::new();
    }
    container
        .table("/NetworkSettings/Networks")
        .map(|(name, found)| (name.clone(), asked_for(container, found, tells_own_names)))
        .collect()
}

/// The network of containers that name none.
const BRIDGE: &str = "bridge";

fn is_default(mode: &str) -> bool {
    matches!(mode, "" | "default" | BRIDGE)
}

/// Whether a container has the one network that it gets without asking, as it gets it.
pub(super) fn is_as_usual(container: &Container, networks: &Map<String, Value>) -> bool {
    let is_bare = networks.get(BRIDGE).is_some_and(is_nothing);
    is_default(mode_of(container)) && networks.len() == 1 && is_bare
}

fn mode_of(container: &Container) -> &str {
    container
        .json()
        .pointer("/HostConfig/NetworkMode")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn asked_for(container: &Container, found: &Value, tells_own_names: bool) -> Value {
    let own = ASKED_FOR.iter().filter(|key| !is_nothing(&found[**key]));
    let mut asked: Map<String, Value> = own.map(|key| ((*key).to_owned(), found[*key].clone())).collect();
    // An empty one is what the engine makes of none.
    if asked
        .get("IPAMConfig")
        .is_some_and(|config| config.as_object().is_some_and(|config| config.values().all(is_nothing)))
    {
        asked.remove("IPAMConfig");
    }
    let id = container.id();
    let hostname = container.json()["Config"]["Hostname"].as_str().unwrap_or_default();
    let aliases = found["Aliases"].as_array().into_iter().flatten();
    // Older engines tell what every container is called, too: those names are given anew.
    let is_own = |alias: &&Value| {
        alias
            .as_str()
            .is_some_and(|alias| alias != short(id) && alias != id && !(tells_own_names && alias == hostname))
    };
    let mut aliases: Vec<Value> = aliases.filter(is_own).cloned().collect();
    aliases.sort_by_key(ToString::to_string);
    aliases.dedup();
    if !aliases.is_empty() {
        asked.insert("Aliases".to_owned(), aliases.into());
    }
    asked.into()
}

/// The network that a container is created with: the one its mode names.
pub(super) fn main_network(container: &Container, networks: &Map<String, Value>) -> Option<String> {
    let mode = mode_of(container);
    let found = container.json().pointer("/NetworkSettings/Networks");
    let is_named = |name: &&String| {
        let id = found.and_then(|found| found[name.as_str()]["NetworkID"].as_str());
        name.as_str() == mode || id == Some(mode) || (is_default(mode) && name.as_str() == BRIDGE)
    };
    networks
        .keys()
        .find(is_named)
        .or_else(|| networks.keys().next())
        .cloned()
}

/// The containers it is linked to, as a create takes them: the engine tells `/target/of/alias`.
pub(super) fn links(container: &Container) -> Value {
    let told = container.list("/HostConfig/Links").filter_map(Value::as_str);
    let links = told.map(|link| {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        let alias = alias.rsplit('/').next().unwrap_or(alias);
        format!("{}:{alias}", target.trim_start_matches('/'))
    });
    let mut links: Vec<String> = links.collect();
    links.sort();
    if links.is_empty() { Value::Null } else { json!(links) }
}
