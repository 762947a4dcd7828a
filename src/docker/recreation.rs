//! The same container over another image: the body that creates it, and what the engine must then tell of it. Whatever this program
//! does not know goes over as it is.

use serde_json::{Map, Value, json};

use super::container::{Container, short};
use super::difference::{differences, is_nothing};
use super::endpoints::{endpoints, is_as_usual, links, main_network};
use super::inheritance::{Inheritance, without_others};
use super::volumes::{mounted, mounts};

/// Where compose remembers what an image was, so that it does not create everything anew.
const COMPOSE_IMAGE: &str = "com.docker.compose.image";

/// The images of a container, as the engine tells all of them: the one it has, and the one it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Images<'a> {
    pub old: &'a Value,
    pub new: &'a Value,
}

/// What a container depends on besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// What the engine's host is called.
    pub host_name: &'a str,
    /// Whether a create takes all networks.
    pub takes_all_networks: bool,
    /// Whether the engine tells a container's own names among its aliases.
    pub tells_own_names: bool,
    /// The containers whose volumes it has.
    pub sources: &'a [Container],
    /// The ids that containers it shares something with had, and have.
    pub replaced: &'a [(String, String)],
}

/// What creates a container anew.
#[derive(Clone, Debug)]
pub(crate) struct Recreation {
    /// What is sent to create it.
    pub body: Value,
    /// The networks that it joins afterwards.
    pub networks_after: Vec<(String, Value)>,
    pub inheritance: Inheritance,
    /// What differs from before all the same, for people.
    pub notes: Vec<String>,
    expected: Value,
    tells_own_names: bool,
    /// Where the new image has volumes of its own.
    volumes_of_image: Vec<String>,
}

fn table(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

impl Recreation {
    /// What makes `container` anew of another image.
    ///
    /// # Errors
    /// Why it cannot be made the same.
    pub(crate) fn of(container: &Container, images: Images<'_>, around: Around<'_>) -> Result<Self, String> {
        let found = container.json();
        let mut config = table(&found["Config"]);
        forget_names(&mut config, container, around.host_name);
        let (old, new) = (table(&images.old["Config"]), table(&images.new["Config"]));
        let mut inheritance = Inheritance::of(&config, &old, &new)?;
        let mut notes = mark_for_compose(&mut inheritance, images);
        keep_published_ports(&mut inheritance, container);
        let networks = endpoints(container, around.tells_own_names);
        let host = host_config(container, around);
        notes.extend(changes_anyway(container, &networks));
        let mut body = inheritance.own.clone();
        let (at_once, networks_after) = split_networks(container, &networks, &mut body, around.takes_all_networks);
        body.insert("HostConfig".to_owned(), host.clone());
        body.insert("NetworkingConfig".to_owned(), json!({ "EndpointsConfig": at_once }));
        let expected = json!({
            "Config": without_others(&inheritance.expected),
            "HostConfig": comparable_host(&host),
            "Networks": networks,
            "Mounts": mounted(container),
        });
        Ok(Self {
            body: body.into(),
            networks_after,
            notes,
            expected,
            tells_own_names: around.tells_own_names,
            volumes_of_image: table(&new.get("Volumes").cloned().unwrap_or_default())
                .keys()
                .cloned()
                .collect(),
            inheritance,
        })
    }

    /// In what the container that was made differs from what was wanted, by path.
    pub(crate) fn differences(&self, made: &Container) -> Vec<String> {
        let mut host = made.json()["HostConfig"].clone();
        host["Links"] = links(made);
        let mut mounts = mounted(made);
        // A volume that only the new image has is new.
        mounts.retain(|place, _| !self.expected["Mounts"][place].is_null() || !self.volumes_of_image.contains(place));
        let found = json!({
            "Config": without_others(&table(&made.json()["Config"])),
            "HostConfig": comparable_host(&host),
            "Networks": endpoints(made, self.tells_own_names),
            "Mounts": mounts,
        });
        let mut differences = differences(&self.expected, &found);
        let hostname = self.body["Hostname"].as_str();
        if hostname.is_some_and(|wanted| made.json()["Config"]["Hostname"] != wanted) {
            differences.push("Config.Hostname".to_owned());
        }
        differences
    }
}

/// Takes out of a configuration what the engine has called the container itself.
fn forget_names(config: &mut Map<String, Value>, container: &Container, host_name: &str) {
    let host = &container.json()["HostConfig"];
    let is_of_another = container.network_provider().is_some() || host["UTSMode"] == "host";
    let name = config.get("Hostname").and_then(Value::as_str).unwrap_or_default();
    let is_of_host = host["NetworkMode"] == "host" && name == host_name;
    if is_of_another || is_of_host || name == short(container.id()) {
        config.remove("Hostname");
    }
    if is_of_another {
        config.remove("Domainname");
    }
}

/// What compose knows the image by is that of the new image, where it was that of the old one.
fn mark_for_compose(inheritance: &mut Inheritance, images: Images<'_>) -> Vec<String> {
    let labels = inheritance.own.get("Labels");
    let Some(mark) = labels
        .and_then(|labels| labels[COMPOSE_IMAGE].as_str())
        .map(str::to_owned)
    else {
        return Vec::new();
    };
    // The one by which the engine knows an image, or that of the manifest of the platform.
    let ids = |image: &Value| [image["Id"].clone(), image["Descriptor"]["digest"].clone()];
    let pairs = ids(images.old).into_iter().zip(ids(images.new));
    let new = pairs
        .filter(|(_, new)| !is_nothing(new))
        .find(|(old, _)| *old == mark)
        .map(|(_, new)| new);
    let Some(new) = new else {
        return vec![format!(
            "the label {COMPOSE_IMAGE} stays as it is, as it does not name the old image: the next `compose up` may recreate the container"
        )];
    };
    for part in [&mut inheritance.own, &mut inheritance.expected] {
        if let Some(labels) = part.get_mut("Labels") {
            labels[COMPOSE_IMAGE] = new.clone();
        }
    }
    Vec::new()
}

/// A port that is published stays exposed, whatever the new image says.
fn keep_published_ports(inheritance: &mut Inheritance, container: &Container) {
    for (port, _) in container.table("/HostConfig/PortBindings") {
        for part in [&mut inheritance.own, &mut inheritance.expected] {
            let ports = part.entry("ExposedPorts").or_insert_with(|| json!({}));
            if ports.is_null() {
                *ports = json!({});
            }
            ports[port] = json!({});
        }
    }
}

/// How the host is to run it: as it is, but for what the engine has filled in.
fn host_config(container: &Container, around: Around<'_>) -> Value {
    let mut host = container.json()["HostConfig"].clone();
    host["Links"] = links(container);
    for (key, provider) in container.providers() {
        let now = around.replaced.iter().find(|(old, _)| old == provider);
        if let Some((_, now)) = now {
            host[key] = json!(format!("container:{now}"));
        }
    }
    let mounts = mounts(container, around.sources);
    if !mounts.is_empty() || !host["Mounts"].is_null() {
        host["Mounts"] = mounts.into();
    }
    host
}

/// The same in the words of every engine.
fn comparable_host(host: &Value) -> Value {
    let mut host = host.clone();
    if host["NetworkMode"] == "bridge" {
        host["NetworkMode"] = json!("default");
    }
    host
}

/// Shares the networks out: those that the container is created with, and those that it joins afterwards.
fn split_networks(
    container: &Container,
    networks: &Map<String, Value>,
    body: &mut Map<String, Value>,
    takes_all: bool,
) -> (Value, Vec<(String, Value)>) {
    let main = main_network(container, networks);
    let mac = body.get("MacAddress").filter(|mac| !is_nothing(mac)).cloned();
    if mac.is_none() && is_as_usual(container, networks) {
        return (json!({}), Vec::new());
    }
    let mut at_once = networks.clone();
    if !takes_all {
        let after = networks.iter().filter(|(name, _)| Some(*name) != main.as_ref());
        let after = after.map(|(name, settings)| (name.clone(), settings.clone())).collect();
        at_once.retain(|name, _| Some(name) == main.as_ref());
        return (at_once.into(), after);
    }
    if let (Some(mac), Some(main)) = (mac, main) {
        at_once[&main]["MacAddress"] = mac;
        body.remove("MacAddress");
    }
    (at_once.into(), Vec::new())
}

/// What is not the same afterwards, whatever is done.
fn changes_anyway(container: &Container, networks: &Map<String, Value>) -> Vec<String> {
    let mut notes = Vec::new();
    for (port, bindings) in container.table("/HostConfig/PortBindings") {
        let mut bindings = bindings.as_array().into_iter().flatten();
        if bindings.any(|binding| matches!(binding["HostPort"].as_str(), None | Some("" | "0"))) {
            notes.push(format!(
                "port {port} is published under another number, as none is declared"
            ));
        }
    }
    if networks.values().any(|network| network["IPAMConfig"].is_null()) {
        notes.push("its address and MAC address may be others, where none are declared".to_owned());
    }
    if networks.len() > 1 {
        let note =
            "a MAC address that was asked for on another network than the first is not known, and may be another";
        notes.push(note.to_owned());
    }
    notes.push(
        "its log, and files that it wrote outside volumes, stay with the old container and go with it".to_owned(),
    );
    notes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn container(changes: Value) -> Container {
        let mut found = json!({
            "Id": "0123456789abcdef".repeat(4), "Name": "/web", "Image": "sha256:old", "State": { "Running": true },
            "Config": { "Image": "app:1", "Hostname": "0123456789ab", "Env": ["PATH=/bin", "OWN=s3cret"], "Cmd": ["run"], "Labels": { "own": "1" }, "Volumes": { "/data": {} }, "Unknown": { "deep": [1] } },
            "HostConfig": { "NetworkMode": "front", "Binds": ["named:/n:ro"], "NewKey": { "a": [null, 1] }, "MaskedPaths": [], "RestartPolicy": { "Name": "always" } },
            "Mounts": [
                { "Type": "volume", "Name": "named", "Destination": "/n", "RW": false },
                { "Type": "volume", "Name": "anonymous", "Destination": "/data", "RW": true },
                { "Type": "volume", "Name": "shared", "Destination": "/s", "RW": true },
                { "Type": "bind", "Source": "/etc/x", "Destination": "/x", "RW": true },
            ],
            "NetworkSettings": { "Networks": {
                "front": { "NetworkID": "n1", "Aliases": ["0123456789ab", "www"], "IPAMConfig": { "IPv4Address": "10.0.0.7" }, "IPAddress": "10.0.0.7", "MacAddress": "02:42:0a:00:00:07", "Gateway": "10.0.0.1", "EndpointID": "e" },
                "back": { "NetworkID": "n2", "Aliases": null, "IPAMConfig": {}, "IPAddress": "10.1.0.9" },
            } },
        });
        merge(&mut found, changes);
        Container::new(found).unwrap()
    }

    fn merge(into: &mut Value, changes: Value) {
        match changes {
            Value::Object(changes) if into.is_object() => {
                for (key, change) in changes {
                    merge(&mut into[&key], change);
                }
            }
            other => *into = other,
        }
    }

    fn recreated(container: &Container, takes_all_networks: bool, replaced: &[(String, String)]) -> Recreation {
        let source = json!({ "Id": "s", "Name": "/s", "Image": "i", "State": {}, "Config": {}, "HostConfig": {}, "Mounts": [{ "Type": "volume", "Name": "shared", "Destination": "/s" }] });
        let images = Images {
            old: &json!({ "Id": "sha256:old", "Config": { "Env": ["PATH=/bin"], "Cmd": ["run"], "Volumes": { "/data": {} } } }),
            new: &json!({ "Id": "sha256:new", "Config": { "Env": ["PATH=/usr/bin"], "Cmd": ["run2"], "Volumes": { "/more": {} } } }),
        };
        let around = Around {
            host_name: "host",
            takes_all_networks,
            tells_own_names: !takes_all_networks,
            sources: &[Container::new(source).unwrap()],
            replaced,
        };
        Recreation::of(container, images, around).unwrap()
    }

    #[test]
    fn a_body_has_what_was_asked_for_and_nothing_that_just_happened() {
        let made = recreated(&container(json!({})), true, &[]);
        assert_eq!(
            made.body,
            json!({
                "Image": "app:1", "Env": ["OWN=s3cret"], "Labels": { "own": "1" }, "Volumes": {}, "Unknown": { "deep": [1] },
                "HostConfig": {
                    "NetworkMode": "front", "Binds": ["named:/n:ro"], "NewKey": { "a": [null, 1] }, "MaskedPaths": [],
                    "RestartPolicy": { "Name": "always" }, "Links": null,
                    "Mounts": [{ "Type": "volume", "Source": "anonymous", "Target": "/data" }],
                },
                "NetworkingConfig": { "EndpointsConfig": {
                    "front": { "IPAMConfig": { "IPv4Address": "10.0.0.7" }, "Aliases": ["www"] }, "back": {},
                } },
            })
        );
        let older = recreated(&container(json!({})), false, &[]);
        assert_eq!(older.networks_after, [("back".to_owned(), json!({}))]);
        assert!(older.body["NetworkingConfig"]["EndpointsConfig"].get("back").is_none());
        assert_eq!(made.expected["Config"]["Cmd"], json!(["run2"]));
    }

    /// Anything that an engine could say.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z:/]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[A-Z][a-z]{1,5}", inner, 0..4).prop_map(|table| json!(table)),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_that_an_engine_says_of_the_host_is_lost(host in prop::collection::btree_map("X[a-z]{1,8}", anything(), 0..8)) {
            let made = recreated(&container(json!({ "HostConfig": host })), true, &[]);
            let told = container(json!({ "HostConfig": host }));
            for (key, value) in told.json()["HostConfig"].as_object().unwrap() {
                prop_assert!(key == "Mounts" || key == "Links" || made.body["HostConfig"].get(key) == Some(value));
            }
        }
    }

    #[test]
    fn special_networks_names_and_addresses_go_over_as_they_can() {
        let of = |changes: Value| recreated(&container(changes), true, &[("p1".to_owned(), "p2".to_owned())]).body;
        let host = of(json!({ "HostConfig": { "NetworkMode": "host" }, "Config": { "Hostname": "host" } }));
        assert_eq!(host["NetworkingConfig"]["EndpointsConfig"], json!({}));
        assert!(host.get("Hostname").is_none());
        let named = of(json!({ "Config": { "Hostname": "mine", "MacAddress": "02:00:00:00:00:01" } }));
        assert_eq!(named["Hostname"], "mine");
        assert_eq!(
            named["NetworkingConfig"]["EndpointsConfig"]["front"]["MacAddress"],
            "02:00:00:00:00:01"
        );
        let joined = of(
            json!({ "HostConfig": { "NetworkMode": "container:p1", "PidMode": "container:p1" }, "Config": { "Hostname": "p", "Domainname": "d" } }),
        );
        assert_eq!(
            (&joined["HostConfig"]["NetworkMode"], &joined["HostConfig"]["PidMode"]),
            (&json!("container:p2"), &json!("container:p2"))
        );
        assert!(joined.get("Hostname").is_none() && joined.get("Domainname").is_none());
        let linked = of(json!({ "HostConfig": { "Links": ["/db:/web/database"] } }));
        assert_eq!(linked["HostConfig"]["Links"], json!(["db:database"]));
        let compose = of(json!({ "Config": { "Labels": { "com.docker.compose.image": "sha256:old" } } }));
        assert_eq!(compose["Labels"]["com.docker.compose.image"], "sha256:new");
        let published = of(json!({ "HostConfig": { "PortBindings": { "80/tcp": [{ "HostPort": "8080" }] } } }));
        assert_eq!(published["ExposedPorts"], json!({ "80/tcp": {} }));
    }

    #[test]
    fn every_difference_of_what_was_made_is_seen() {
        let old = container(json!({}));
        let wanted = recreated(&old, true, &[]);
        let mut made = old.json().clone();
        merge(
            &mut made,
            json!({
                "Id": "f".repeat(64), "Image": "sha256:new",
                "Config": { "Hostname": "ffffffffffff", "Env": ["OWN=s3cret", "PATH=/usr/bin"], "Cmd": ["run2"] },
                "HostConfig": { "Mounts": [{ "Type": "volume", "Source": "anonymous", "Target": "/data" }] },
                "NetworkSettings": { "Networks": { "front": { "Aliases": ["ffffffffffff", "www"] } } },
            }),
        );
        made["Config"]["Volumes"] = json!({ "/more": {} });
        made["Mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "Type": "volume", "Name": "fresh", "Destination": "/more", "RW": true }));
        let differences = |made: &Value| wanted.differences(&Container::new(made.clone()).unwrap());
        assert!(differences(&made).is_empty(), "{:?}", differences(&made));
        for (pointer, value, path) in [
            ("/HostConfig/NewKey", json!({ "a": [null, 2] }), "HostConfig.NewKey.a.1"),
            ("/HostConfig/MaskedPaths", Value::Null, "HostConfig.MaskedPaths"),
            ("/Config/Env", json!(["PATH=/usr/bin"]), "Config.Env.OWN"),
            ("/Mounts/1/Name", json!("another"), "Mounts./data.What"),
            (
                "/NetworkSettings/Networks/front/IPAMConfig",
                Value::Null,
                "Networks.front.IPAMConfig.IPv4Address",
            ),
        ] {
            let mut other = made.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_eq!(differences(&other), [path], "{pointer}");
        }
    }
}
