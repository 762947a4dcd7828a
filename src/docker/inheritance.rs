//! What of a container's configuration was given to it, and what it has from its image. An engine only keeps the two together, the
//! first over the second; taken apart, the first can be put over another image. It is proved that the two parts give the whole.

use serde_json::{Map, Value, json};

use super::difference::{differences, is_nothing};

type Table = Map<String, Value>;

/// What the image alone decides.
const OF_IMAGE: &[&str] = &["Shell", "OnBuild", "ArgsEscaped"];
/// What is taken from the image where a container does not say otherwise.
const WHOLE: &[&str] = &["User", "WorkingDir", "StopSignal"];
/// Tables whose entries are taken from the image one by one.
const TABLES: &[&str] = &["Labels", "ExposedPorts", "Volumes"];

/// The two parts of a container's configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inheritance {
    /// What it was given: what makes the same container of the same image.
    pub own: Table,
    /// What it has with the new image.
    pub expected: Table,
    /// What it has from its image, by names, and so follows the new one.
    pub follows: Vec<String>,
    /// The fields whose origin cannot be told: they stay as they are.
    pub fixed: Vec<String>,
}

impl Inheritance {
    /// Takes the configuration apart that a container has over the one of the image `old`, and puts it over that of `new`.
    ///
    /// # Errors
    /// The fields that cannot be made the same again.
    pub(crate) fn of(config: &Table, old: &Table, new: &Table) -> Result<Self, String> {
        let mut own = own_part(config, old);
        let mut fixed = Vec::new();
        for field in fields_that_differ(config, &merged(&own, old)) {
            // What makes the command goes together.
            let together: &[&str] = if matches!(field.as_str(), "Cmd" | "Entrypoint") {
                &["Cmd", "Entrypoint"]
            } else {
                &[&field]
            };
            for field in together {
                own.insert((*field).to_owned(), config.get(*field).cloned().unwrap_or_default());
            }
            fixed.push(field);
        }
        let left = fields_that_differ(config, &merged(&own, old));
        if !left.is_empty() {
            let left = left.join(", ");
            return Err(format!("{left} cannot be reproduced"));
        }
        Ok(Self {
            expected: merged(&own, new),
            follows: inherited(config, &own),
            own,
            fixed,
        })
    }

    /// The names of what it was given itself.
    pub(crate) fn stays(&self) -> Vec<String> {
        names(&self.own)
    }
}

/// What nobody compares: it is the image's, or another one's in each container.
pub(super) fn without_others(config: &Table) -> Table {
    let others = |key: &String| !OF_IMAGE.contains(&key.as_str()) && key != "Hostname" && key != "Domainname";
    config
        .iter()
        .filter(|(key, _)| others(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The top-level fields in which two configurations differ.
fn fields_that_differ(config: &Table, made: &Table) -> Vec<String> {
    let found = differences(&without_others(config).into(), &without_others(made).into());
    let mut fields: Vec<String> = found
        .iter()
        .map(|path| path.split('.').next().unwrap_or_default().to_owned())
        .collect();
    fields.dedup();
    fields
}

fn entry<'a>(table: &'a Table, key: &str) -> &'a Value {
    table.get(key).unwrap_or(&Value::Null)
}

fn list<'a>(table: &'a Table, key: &str) -> &'a [Value] {
    entry(table, key).as_array().map_or(&[], Vec::as_slice)
}

/// The configuration without what the image gives.
fn own_part(config: &Table, image: &Table) -> Table {
    let mut own = config.clone();
    own.retain(|key, _| !OF_IMAGE.contains(&key.as_str()));
    for key in WHOLE {
        if entry(config, key) == entry(image, key) {
            own.remove(*key);
        }
    }
    for key in TABLES {
        let Some(table) = own.get_mut(*key).and_then(Value::as_object_mut) else {
            continue;
        };
        let of_image = entry(image, key);
        table.retain(|name, value| of_image.get(name) != Some(value));
    }
    let variables: Vec<Value> = list(config, "Env")
        .iter()
        .filter(|one| !list(image, "Env").contains(one))
        .cloned()
        .collect();
    own.insert("Env".to_owned(), variables.into());
    own_command(config, image, &mut own);
    if let Some(check) = own.get_mut("Healthcheck").and_then(Value::as_object_mut) {
        let of_image = entry(image, "Healthcheck");
        check.retain(|key, value| of_image.get(key) != Some(value));
        if check.is_empty() {
            own.remove("Healthcheck");
        }
    }
    own
}

/// A command is taken from the image only where a container has no entrypoint of its own.
fn own_command(config: &Table, image: &Table, own: &mut Table) {
    let is_same = |key: &str| list(config, key) == list(image, key);
    if !is_same("Entrypoint") {
        if list(config, "Entrypoint").is_empty() {
            // That is how one says that there is to be none.
            own.insert("Entrypoint".to_owned(), json!([""]));
        }
        return;
    }
    let would_be_filled = list(config, "Cmd").is_empty() && !list(image, "Cmd").is_empty();
    if would_be_filled {
        return;
    }
    own.remove("Entrypoint");
    if is_same("Cmd") {
        own.remove("Cmd");
    }
}

/// What an engine makes of what a container is given, and the configuration of its image.
fn merged(own: &Table, image: &Table) -> Table {
    let mut config = own.clone();
    for key in WHOLE {
        if is_nothing(entry(own, key)) {
            config.insert((*key).to_owned(), entry(image, key).clone());
        }
    }
    for key in TABLES {
        let mut table = entry(own, key).as_object().cloned().unwrap_or_default();
        for (name, value) in entry(image, key).as_object().into_iter().flatten() {
            table.entry(name.clone()).or_insert_with(|| value.clone());
        }
        config.insert((*key).to_owned(), table.into());
    }
    let name = |variable: &Value| {
        variable
            .as_str()
            .unwrap_or_default()
            .split('=')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut variables = list(own, "Env").to_vec();
    let known: Vec<String> = variables.iter().map(name).collect();
    variables.extend(
        list(image, "Env")
            .iter()
            .filter(|variable| !known.contains(&name(variable)))
            .cloned(),
    );
    config.insert("Env".to_owned(), variables.into());
    if list(own, "Entrypoint").is_empty() {
        if list(own, "Cmd").is_empty() {
            config.insert("Cmd".to_owned(), entry(image, "Cmd").clone());
        }
        config.insert("Entrypoint".to_owned(), entry(image, "Entrypoint").clone());
    } else if list(own, "Entrypoint") == [json!("")] {
        config.insert("Entrypoint".to_owned(), Value::Null);
    }
    let mut check = entry(own, "Healthcheck").as_object().cloned().unwrap_or_default();
    for (key, value) in entry(image, "Healthcheck").as_object().into_iter().flatten() {
        if check.get(key).is_none_or(is_nothing) {
            check.insert(key.clone(), value.clone());
        }
    }
    config.insert("Healthcheck".to_owned(), check.into());
    config
}

/// What a container has, and was not given.
fn inherited(config: &Table, own: &Table) -> Vec<String> {
    let given = names(own);
    names(config).into_iter().filter(|name| !given.contains(name)).collect()
}

/// The names of what a configuration says, without any value.
fn names(config: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for variable in list(config, "Env").iter().filter_map(Value::as_str) {
        names.push(format!("variable {}", variable.split('=').next().unwrap_or_default()));
    }
    let tables = [
        ("Labels", "label"),
        ("ExposedPorts", "exposed port"),
        ("Volumes", "volume"),
    ];
    for (key, word) in tables {
        let table = entry(config, key).as_object();
        names.extend(
            table
                .into_iter()
                .flat_map(Table::keys)
                .map(|name| format!("{word} {name}")),
        );
    }
    let whole = [
        ("User", "user"),
        ("WorkingDir", "working directory"),
        ("StopSignal", "stop signal"),
        ("Entrypoint", "entrypoint"),
        ("Cmd", "command"),
        ("Healthcheck", "health check"),
    ];
    let said = whole.iter().filter(|(key, _)| !is_nothing(entry(config, key)));
    names.extend(said.map(|(_, word)| (*word).to_owned()));
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            prop::collection::vec(prop::sample::select(vec!["a", "b", "sh"]), 0..3).prop_map(|words| json!(words)),
        ]
    }

    fn table() -> impl Strategy<Value = Value> {
        let entries = prop::collection::btree_map(
            prop::sample::select(vec!["x", "y", "z"]),
            prop::sample::select(vec!["1", "2"]),
            0..3,
        );
        prop_oneof![Just(Value::Null), entries.prop_map(|entries| json!(entries))]
    }

    fn set() -> impl Strategy<Value = Value> {
        let entries = prop::collection::btree_map(
            prop::sample::select(vec!["80/tcp", "81/tcp", "/v"]),
            Just(json!({})),
            0..3,
        );
        prop_oneof![Just(Value::Null), entries.prop_map(|entries| json!(entries))]
    }

    fn variables() -> impl Strategy<Value = Value> {
        let entries = prop::collection::btree_map(
            prop::sample::select(vec!["A", "B", "C"]),
            prop::sample::select(vec!["1", "2", ""]),
            0..4,
        );
        entries.prop_map(|entries| {
            json!(
                entries
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
            )
        })
    }

    fn check() -> impl Strategy<Value = Value> {
        let made = (words(), 0_u64..3, 0_u64..3, 0_u64..3);
        let made = made.prop_map(|(test, interval, retries, start)| json!({ "Test": test, "Interval": interval, "Retries": retries, "StartInterval": start }));
        prop_oneof![Just(Value::Null), Just(json!({ "Test": ["NONE"] })), made]
    }

    fn text() -> impl Strategy<Value = Value> {
        prop::sample::select(vec![json!(""), json!("a"), json!("b")])
    }

    prop_compose! {
        fn config()(
            env in variables(), cmd in words(), entrypoint in prop_oneof![words(), Just(json!([""]))],
            labels in table(), ports in set(), volumes in set(), check in check(),
            user in text(), dir in text(), signal in text(),
        ) -> Table {
            let config = json!({
                "Env": env, "Cmd": cmd, "Entrypoint": entrypoint, "Labels": labels, "ExposedPorts": ports,
                "Volumes": volumes, "Healthcheck": check, "User": user, "WorkingDir": dir, "StopSignal": signal,
            });
            config.as_object().cloned().unwrap_or_default()
        }
    }

    /// An engine makes no container that has neither, and no image says that there is to be no entrypoint.
    fn image() -> impl Strategy<Value = Table> {
        config().prop_map(|mut config| {
            if list(&config, "Entrypoint") == [json!("")] {
                config.remove("Entrypoint");
            }
            config
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_a_container_was_given_makes_it_again_and_follows_another_image(
            given in config(), old in image(), new in image(), extra in "[A-Z][a-z]{1,6}",
        ) {
            let mut given = given;
            given.insert(format!("X{extra}"), json!({ "deep": [1, null, "x"] }));
            let runs_something = |container: &Table| {
                !list(container, "Cmd").is_empty() || !list(container, "Entrypoint").is_empty()
            };
            if !runs_something(&merged(&given, &old)) {
                // No engine would make it.
                given.insert("Cmd".to_owned(), json!(["run"]));
            }
            let container = merged(&given, &old);
            let parts = Inheritance::of(&container, &old, &new).unwrap();
            // The same image gives the same container.
            prop_assert!(fields_that_differ(&container, &merged(&parts.own, &old)).is_empty());
            // A key that nobody knows is not lost.
            prop_assert_eq!(parts.own.get(&format!("X{extra}")), given.get(&format!("X{extra}")));
            // What the image says otherwise, and the container was not given, follows.
            for variable in list(&given, "Env") {
                let is_own = !list(&old, "Env").contains(variable);
                prop_assert!(!is_own || list(&parts.expected, "Env").contains(variable));
            }
            for (name, value) in entry(&given, "Labels").as_object().into_iter().flatten() {
                let is_own = entry(&old, "Labels").get(name) != Some(value);
                prop_assert!(!is_own || entry(&parts.expected, "Labels").get(name) == Some(value));
            }
            // Nothing of the old image is left that was not given as well.
            for variable in list(&old, "Env") {
                let is_left = list(&parts.expected, "Env").contains(variable);
                prop_assert!(!is_left || list(&new, "Env").contains(variable) || parts.fixed.contains(&"Env".to_owned()));
            }
        }
    }

    #[test]
    fn a_command_of_its_own_stays_and_one_of_the_image_follows() {
        let of = |config: Value, old: Value, new: Value| {
            let table = |value: &Value| value.as_object().cloned().unwrap();
            let parts = Inheritance::of(&table(&config), &table(&old), &table(&new)).unwrap();
            (
                entry(&parts.expected, "Entrypoint").clone(),
                entry(&parts.expected, "Cmd").clone(),
            )
        };
        let image = json!({ "Entrypoint": ["/e"], "Cmd": ["c"] });
        let newer = json!({ "Entrypoint": ["/e2"], "Cmd": ["c2"] });
        for (config, expected) in [
            (
                json!({ "Entrypoint": ["/e"], "Cmd": ["c"] }),
                (json!(["/e2"]), json!(["c2"])),
            ),
            (
                json!({ "Entrypoint": ["/e"], "Cmd": ["own"] }),
                (json!(["/e2"]), json!(["own"])),
            ),
            (
                json!({ "Entrypoint": ["/own"], "Cmd": null }),
                (json!(["/own"]), json!(null)),
            ),
            (
                json!({ "Entrypoint": null, "Cmd": ["own"] }),
                (Value::Null, json!(["own"])),
            ),
            (
                json!({ "Entrypoint": ["/e"], "Cmd": null }),
                (json!(["/e"]), json!(null)),
            ),
        ] {
            assert_eq!(of(config.clone(), image.clone(), newer.clone()), expected, "{config}");
        }
    }
}
