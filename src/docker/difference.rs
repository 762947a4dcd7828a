//! Whether two tables of an engine say the same: what is absent, null or empty means one thing to it.

use serde_json::{Map, Value};

/// Keys of lists that mean something else when they are empty than when they are absent.
const EXACT: &[&str] = &["MaskedPaths", "ReadonlyPaths"];

/// Keys of tables in which a name that has nothing is not the same as no name.
const SETS: &[&str] = &["Networks", "ExposedPorts", "Volumes"];

/// The paths at which `found` says something else than `expected`, without any value: some are secrets.
pub(crate) fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    compare(expected, found, "", &mut differences);
    differences
}

fn compare(expected: &Value, found: &Value, path: &str, differences: &mut Vec<String>) {
    let key = path.rsplit('.').next().unwrap_or_default();
    match (expected, found) {
        _ if expected == found => {}
        _ if is_nothing(expected) && is_nothing(found) && !EXACT.contains(&key) => {}
        (Value::Array(expected), Value::Array(found)) if key == "Env" => {
            let only = |some: &[Value], others: &[Value]| {
                some.iter()
                    .filter(|one| !others.contains(one))
                    .cloned()
                    .collect::<Vec<_>>()
            };
            let mut names: Vec<String> = [only(expected, found), only(found, expected)]
                .concat()
                .iter()
                .filter_map(Value::as_str)
                .map(|variable| format!("{path}.{}", variable.split('=').next().unwrap_or_default()))
                .collect();
            names.sort();
            names.dedup();
            differences.extend(names);
        }
        (expected, found) if SETS.contains(&key) => {
            let none = Map::new();
            let (expected, found) = (
                expected.as_object().unwrap_or(&none),
                found.as_object().unwrap_or(&none),
            );
            let names = expected
                .keys()
                .chain(found.keys().filter(|name| !expected.contains_key(*name)));
            for name in names {
                let below = format!("{path}.{name}");
                match (expected.get(name), found.get(name)) {
                    (Some(expected), Some(found)) => compare(expected, found, &below, differences),
                    _ => differences.push(below),
                }
            }
        }
        (Value::Object(expected), Value::Object(found)) => {
            let others = found.keys().filter(|key| !expected.contains_key(*key));
            for key in expected.keys().chain(others) {
                let below = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let value = |table: &Map<String, Value>| table.get(key).cloned().unwrap_or_default();
                compare(&value(expected), &value(found), &below, differences);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(expected, found, &format!("{path}.{number}"), differences);
            }
        }
        // One that is there holds something, or nothing but what is nothing.
        (Value::Object(some), other) | (other, Value::Object(some)) if is_nothing(other) => {
            for (key, value) in some {
                compare(value, &Value::Null, &format!("{path}.{key}"), differences);
            }
        }
        _ => differences.push(path.to_owned()),
    }
}

/// Whether a value is the one that a field has which nobody has set.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_empty_is_the_same_as_what_is_absent_and_no_value_is_told() {
        let same = [
            (json!({ "A": null, "B": {} }), json!({ "C": [], "D": 0, "E": false })),
            (json!({ "Env": ["A=1", "B=2"] }), json!({ "Env": ["B=2", "A=1"] })),
            (json!({ "H": { "Test": null } }), json!({ "H": null })),
        ];
        for (expected, found) in same {
            assert!(differences(&expected, &found).is_empty(), "{expected} {found}");
        }
        let expected = json!({ "Env": ["A=s3cret", "B=2"], "HostConfig": { "MaskedPaths": [] }, "Cmd": ["a"] });
        let found = json!({ "Env": ["A=other", "B=2"], "HostConfig": { "MaskedPaths": null }, "Cmd": ["b"], "New": 1 });
        let networks = differences(&json!({ "Networks": { "a": {} } }), &json!({ "Networks": null }));
        assert_eq!(networks, ["Networks.a"]);
        assert_eq!(
            differences(&expected, &found),
            ["Env.A", "HostConfig.MaskedPaths", "Cmd.0", "New"]
        );
    }
}
