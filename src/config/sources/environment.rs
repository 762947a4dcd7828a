//! The variables of the process. Only this file reads them, once; the rest of the program is given this value.
//!
//! Ours are `CRON_PORT`, `CRON_TOKEN`, `CRON_CONFIG` and `CRON_<SECTION>__<KEY>`; `PORT` is the web application's,
//! whose next port is ours by default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::declaration::KEYED;
use crate::config::layer::Layer;
use crate::config::merged::{Merged, path};
use crate::config::problem::{Problem, Source};
use crate::process::Surroundings;
use crate::values::{Secret, SecretSource, Severity, TimeZone, read_secret};

/// The variables of the process, as they were when it began.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl Environment {
    /// Reads the variables of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Reads a secret that the declaration keeps elsewhere, or says why it cannot.
    pub(in crate::config) fn secret(&self, source: &SecretSource) -> Result<String, String> {
        match source {
            SecretSource::Env(name) => match self.get(name).map(|text| text.trim_end_matches(['\r', '\n'])) {
                None => Err(format!("the variable {name} is not set")),
                Some("") => Err(format!("{name} is empty; a secret is expected")),
                Some(secret) => Ok(secret.to_owned()),
            },
            SecretSource::File(name) => read_secret(Path::new(name)),
        }
    }

    /// What programs inherit, where the declaration has `read` these secrets.
    pub(in crate::config) fn surroundings(
        &self,
        read: &[(SecretSource, Secret)],
        token: Option<&Secret>,
    ) -> Surroundings {
        let held = read.iter().filter_map(|(source, _)| match source {
            SecretSource::Env(name) => Some(name.clone()),
            SecretSource::File(_) => None,
        });
        let secrets: Vec<Secret> = read.iter().map(|(_, secret)| secret).chain(token).cloned().collect();
        Surroundings::new(&self.0, &held.collect(), &secrets)
    }

    /// `CRON_CONFIG`, the declaration to use.
    pub fn config(&self) -> Option<PathBuf> {
        self.0
            .get("CRON_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    }

    /// `CRON_TOKEN`, what a request must carry.
    pub(crate) fn token(&self) -> Option<Secret> {
        self.0
            .get("CRON_TOKEN")
            .map(|token| token.trim())
            .filter(|token| is_token(token))
            .map(|token| Secret::new(token.to_owned()))
    }

    /// `TZ`, the zone that messages tell dates in; without it, the machine's.
    ///
    /// # Errors
    /// When it names no zone.
    pub fn time_zone(&self) -> Result<TimeZone, String> {
        match self
            .0
            .get("TZ")
            .map(|zone| zone.trim_start_matches(':'))
            .filter(|zone| !zone.is_empty())
        {
            Some(zone) => zone.parse(),
            None => Ok(TimeZone::of_machine()),
        }
    }

    /// What is wrong with the variables whatever is declared.
    pub(in crate::config) fn problems_alone(&self) -> Vec<Problem> {
        let (_, mut problems) = self.layer(&Merged::new(Vec::new()));
        let names_an_id = |name: &str| {
            let section = name.strip_prefix("CRON_").and_then(|rest| rest.split("__").next());
            section.is_some_and(|section| KEYED.contains(&section.to_lowercase().as_str()))
        };
        problems.retain(|problem| !names_an_id(&problem.name));
        problems
    }

    /// The layer of settings the variables give, and what is wrong with them. `declared` tells the ids there are.
    pub(in crate::config) fn layer(&self, declared: &Merged) -> (Layer, Vec<Problem>) {
        let mut reading = Reading {
            layer: Layer::new(Source::Environment),
            problems: Vec::new(),
        };
        if let Err(why) = self.time_zone() {
            reading.refuse("TZ", why);
        }
        if self.0.get("CRON_TOKEN").is_some_and(|token| !is_token(token.trim())) {
            let why = "it is not a token: printable ASCII characters are expected; unset it for none";
            reading.refuse("CRON_TOKEN", why.to_owned());
        }
        for (name, value) in &self.0 {
            let Some(setting) = name.strip_prefix("CRON_").filter(|rest| rest.contains("__")) else {
                continue;
            };
            match path_of(setting, declared) {
                Ok(path) => reading.put(path, name, value.clone()),
                Err(why) => reading.refuse(name, why),
            }
        }
        // The one name that was there first wins over the general one.
        reading.take_port(&self.0);
        (reading.layer, reading.problems)
    }
}

/// Whether a header can carry it.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| (' '..='~').contains(&c))
}

struct Reading {
    layer: Layer,
    problems: Vec<Problem>,
}

impl Reading {
    fn put(&mut self, path: Vec<String>, name: &str, value: impl Into<figment::value::Value>) {
        self.layer.insert(&path, value.into());
        self.layer.names.insert(path, name.to_owned());
    }

    fn problem(&mut self, name: &str, severity: Severity, message: String) {
        let problem = Problem::of_source(Source::Environment, severity, message);
        self.problems.push(Problem {
            name: name.to_owned(),
            ..problem
        });
    }

    fn refuse(&mut self, name: &str, why: String) {
        self.problem(name, Severity::Error, why);
    }

    /// `CRON_PORT`, or else the port after `PORT`.
    fn take_port(&mut self, variables: &BTreeMap<String, String>) {
        let at = path(&["server", "port"]);
        match variables.get("CRON_PORT").map(String::as_str) {
            Some(address) if address.starts_with("tcp://") => self.problem(
                "CRON_PORT",
                Severity::Warning,
                format!("`{address}` is the address of a Kubernetes service, not a port; ignored (enableServiceLinks: false avoids it)"),
            ),
            Some(text) => {
                return match text.trim().parse::<u16>() {
                    Ok(port) => self.put(at, "CRON_PORT", port),
                    Err(_) => self.refuse("CRON_PORT", format!("`{text}` is not a port: a whole number from 0 to 65535 is expected")),
                };
            }
            None => {}
        }
        let Some(text) = variables.get("PORT").filter(|text| !text.is_empty()) else {
            return;
        };
        match text.trim().parse::<u16>().ok().and_then(|port| port.checked_add(1)) {
            Some(_) if self.layer.has(&at) => {}
            Some(port) => self.put(at, "PORT", port),
            None => self.refuse("PORT", format!("`{text}` is not a port with one after it: a whole number from 0 to 65534 is expected, or set CRON_PORT")),
        }
    }
}

/// The path in the declaration that `SECTION__KEY` or `SECTION__ID__KEY…` means.
fn path_of(setting: &str, declared: &Merged) -> Result<Vec<String>, String> {
    let mut parts = setting.split("__").map(str::to_owned).collect::<Vec<_>>();
    if parts
        .iter()
        .any(|part| part.is_empty() || part.chars().any(|c| c.is_ascii_lowercase()))
    {
        return Err("a name such as CRON_SERVER__HOST is expected, in upper case".to_owned());
    }
    let section = parts[0].to_lowercase();
    if KEYED.contains(&section.as_str()) {
        let ids: Vec<&str> = declared.table(&section).map(|(id, _)| id.as_str()).collect();
        let is_meant = |id: &&&str| id.to_uppercase().replace('-', "_") == parts[1];
        let matching: Vec<&&str> = ids.iter().filter(is_meant).collect();
        parts[1] = match matching.as_slice() {
            [id] => (**id).to_owned(),
            [] => {
                let declared = if ids.is_empty() {
                    "none".to_owned()
                } else {
                    ids.join(", ")
                };
                return Err(format!(
                    "no id in [{section}] matches `{}`; declared ids: {declared}",
                    parts[1]
                ));
            }
            several => return Err(format!("`{}` is ambiguous: it matches {several:?}", parts[1])),
        };
        if parts.len() < 3 {
            return Err("the key is missing after the id".to_owned());
        }
        lower(&mut parts[2..]);
    } else {
        lower(&mut parts);
    }
    parts[0] = section;
    Ok(parts)
}

fn lower(parts: &mut [String]) {
    for part in parts {
        *part = part.to_lowercase();
    }
}
