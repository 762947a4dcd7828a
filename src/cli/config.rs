//! `config`: the effective configuration, and where each value came from.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::output::say;
use super::{Exit, client};
use crate::config::{self, Problems, Setting, Sources};
use crate::values::Severity;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Show where each value came from, and what it overrode
    #[arg(long)]
    origins: bool,
    /// Show what the running service has in force
    #[arg(long)]
    running: bool,
    /// Where that service is reached [default: where the declaration says that it listens]
    #[arg(long, requires = "running")]
    url: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Shape,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shape {
    /// As a declaration
    #[default]
    Toml,
    /// For programs
    Json,
}

pub(super) fn main(sources: &Sources, options: &Options) -> Result<(), Exit> {
    let (settings, problems) = if options.running {
        (
            client::settings(sources, &client::Options::at(options.url.clone()))?,
            Problems(Vec::new()),
        )
    } else {
        config::settings(sources)?
    };
    match (options.format, options.origins) {
        (Shape::Json, true) => say!("{}", Value::from(settings.iter().map(with_origin).collect::<Vec<_>>())),
        (Shape::Json, false) => say!("{}", as_tables(&settings)),
        (Shape::Toml, origins) => print(&settings, origins),
    }
    if problems.0.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems.into());
    }
    Ok(())
}

fn with_origin(setting: &Setting) -> Value {
    let overridden = setting
        .overridden
        .iter()
        .map(|(value, origin)| json!({ "value": value, "origin": origin }));
    json!({
        "path": setting.path.join("."), "value": setting.value, "origin": setting.origin,
        "overridden": overridden.collect::<Vec<_>>(),
    })
}

fn as_tables(settings: &[Setting]) -> Value {
    let mut all = Map::new();
    for setting in settings {
        let Some((last, above)) = setting.path.split_last() else {
            continue;
        };
        let mut table = &mut all;
        for key in above {
            let below = table.entry(key.clone()).or_insert_with(|| json!({}));
            let Value::Object(below) = below else {
                return Value::Null;
            };
            table = below;
        }
        table.insert(last.clone(), setting.value.clone());
    }
    all.into()
}

/// One value a line, under the table it stands in.
fn print(settings: &[Setting], origins: bool) {
    let mut shown: Option<&[String]> = None;
    for setting in settings {
        let Some((key, table)) = setting.path.split_last() else {
            continue;
        };
        if shown != Some(table) {
            if shown.is_some() {
                say!("");
            }
            let names: Vec<String> = table.iter().map(|name| quoted(name)).collect();
            if !table.is_empty() {
                say!("[{}]", names.join("."));
            }
            shown = Some(table);
        }
        let line = format!("{} = {}", quoted(key), to_toml(&setting.value));
        if !origins {
            say!("{line}");
            continue;
        }
        say!("{line:<50} # {}", setting.origin);
        for (value, origin) in &setting.overridden {
            say!("{:<50} # {origin}", format!("#   not {}", to_toml(value)));
        }
    }
}

fn quoted(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

fn to_toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let pairs: Vec<String> = table
                .iter()
                .map(|(key, value)| format!("{} = {}", quoted(key), to_toml(value)))
                .collect();
            if pairs.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", pairs.join(", "))
            }
        }
        Value::Array(list) => format!("[{}]", list.iter().map(to_toml).collect::<Vec<_>>().join(", ")),
        // A text in JSON is a text in TOML.
        other => other.to_string(),
    }
}
