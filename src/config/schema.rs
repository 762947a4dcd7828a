//! The JSON Schema of a declaration, from the very types it is read into.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::declaration::{Database, Defaults, Group, Job, Limits, Log, Server, State};
use crate::docker::ContainerEngine;
use crate::git::GitHost;
use crate::kinds::{Action, DeclaredTarget};
use crate::values::{DatabaseId, EngineId, GroupId, Secret};

/// A declaration, but for jobs and targets, which hold a kind beside their keys. It is never read as a whole: only
/// its sections are.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes")]
struct Declaration {
    /// Files that belong to the declaration, as patterns from its folder.
    include: Option<Vec<String>>,
    /// How the service is reached over HTTP.
    server: Option<Server>,
    /// What is logged, and how.
    log: Option<Log>,
    /// The service's own state.
    state: Option<State>,
    /// The databases jobs work on.
    databases: Option<BTreeMap<DatabaseId, Database>>,
    /// How many runs may be under way at once.
    limits: Option<Limits>,
    /// Groups of jobs that take turns.
    groups: Option<BTreeMap<GroupId, Group>>,
    /// The hosts that repositories are fetched from, with what they ask for.
    git_hosts: Option<BTreeMap<String, GitHost>>,
    /// The container engines whose containers are updated.
    engines: Option<BTreeMap<EngineId, ContainerEngine>>,
    /// What a job inherits unless it says otherwise.
    defaults: Option<Defaults>,
}

/// The schema, as JSON.
pub(crate) fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let (job, kind) = (generator.subschema_for::<Job>(), generator.subschema_for::<Action>());
    let target = generator.subschema_for::<DeclaredTarget>();
    let mut schema = generator.into_root_schema_for::<Declaration>().to_value();
    let job = with_kind(&resolve(&schema, &job.to_value()), &resolve(&schema, &kind.to_value()));
    let target = resolve(&schema, &target.to_value());
    let id = json!({ "pattern": "^[a-z0-9-]+$" });
    schema["properties"]["jobs"] =
        json!({ "type": "object", "propertyNames": id, "additionalProperties": job, "description": "The jobs" });
    schema["properties"]["notifications"] = json!({ "type": "object", "propertyNames": id, "additionalProperties": target, "description": "Where messages can go" });
    schema["title"] = "The declaration of duplistatus-cron".into();
    // Whatever is inherited may be left out of a file.
    for section in ["Server", "Log", "State", "Limits", "Defaults", "Notify", "Retry"] {
        if let Some(table) = schema["definitions"][section].as_object_mut() {
            table.remove("required");
        }
    }
    schema
}

/// For each kind of `T`, the keys whose value is a [`Secret`], or a table of them.
pub(super) fn secret_keys<T: JsonSchema>() -> BTreeMap<String, BTreeSet<String>> {
    let mut generator = SchemaSettings::draft07().into_generator();
    let kinds = generator.subschema_for::<T>().to_value();
    let all = json!({ "definitions": generator.definitions() });
    let mut found = BTreeMap::new();
    for kind in resolve(&all, &kinds)["oneOf"].as_array().into_iter().flatten() {
        for (name, keys) in kind["properties"].as_object().into_iter().flatten() {
            let mut secrets = BTreeSet::new();
            gather_secrets(&all, keys, &mut secrets);
            found.insert(name.clone(), secrets);
        }
    }
    found
}

fn gather_secrets(schema: &Value, part: &Value, found: &mut BTreeSet<String>) {
    let reference = format!("\"#/definitions/{}\"", Secret::schema_name());
    let part = resolve(schema, part);
    // What may be left out is one of two.
    for either in part["anyOf"].as_array().into_iter().flatten() {
        gather_secrets(schema, either, found);
    }
    for (key, value) in part["properties"].as_object().into_iter().flatten() {
        if value.to_string().contains(&reference) {
            found.insert(key.clone());
        } else {
            gather_secrets(schema, value, found);
        }
    }
}

/// What a reference stands for.
fn resolve(schema: &Value, part: &Value) -> Value {
    let name = part["$ref"].as_str().and_then(|name| name.rsplit('/').next());
    name.map_or_else(|| part.clone(), |name| schema["definitions"][name].clone())
}

/// A table that may hold the keys of a job and exactly one kind.
fn with_kind(job: &Value, kinds: &Value) -> Value {
    let mut job = job.clone();
    let one_of = kinds["oneOf"].as_array().cloned().unwrap_or_default();
    let mut alternatives = Vec::new();
    for kind in &one_of {
        for (name, keys) in kind["properties"].as_object().into_iter().flatten() {
            job["properties"][name] = keys.clone();
            alternatives.push(json!({ "required": [name] }));
        }
    }
    job["oneOf"] = alternatives.into();
    job
}
