//! The container engines of a declaration, and whose turn it is to change something on one.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::address::Address;
use crate::values::{EngineId, Issue, lock, with_suggestion};

/// The engines of a declaration.
pub(crate) type Engines = BTreeMap<EngineId, ContainerEngine>;

/// `[engines.<id>]`
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContainerEngine {
    /// Where it is reached.
    #[serde(default = "ContainerEngine::usual_host")]
    pub host: Address,
    /// The file with the credentials of registries, as docker writes it.
    #[serde(default = "ContainerEngine::usual_credentials")]
    pub credentials: PathBuf,
}

impl ContainerEngine {
    /// What it is called where none is declared.
    pub(crate) const USUAL: &str = "docker";

    fn usual_host() -> Address {
        Address::Unix("/var/run/docker.sock".into())
    }

    fn usual_credentials() -> PathBuf {
        "~/.docker/config.json".into()
    }

    /// What is wrong with the declaration itself.
    pub(crate) fn check(&self) -> Vec<Issue> {
        let why = "whoever can read this connection controls the engine, and with it the machine; use the socket, or a proxy on loopback";
        let exposed = self.host.is_exposed().then(|| Issue::warning("host", why));
        exposed.into_iter().collect()
    }
}

impl Default for ContainerEngine {
    fn default() -> Self {
        Self {
            host: Self::usual_host(),
            credentials: Self::usual_credentials(),
        }
    }
}

/// The engine that a job means which names it, or none.
///
/// # Errors
/// That there is no such engine, or that one of several must be named.
pub(crate) fn chosen(engines: &Engines, named: Option<&EngineId>) -> Result<ContainerEngine, String> {
    let declared: Vec<&str> = engines.keys().map(EngineId::as_str).collect();
    match (named, engines.len()) {
        (Some(id), _) if engines.contains_key(id) => Ok(engines[id].clone()),
        (Some(id), _) if id.as_str() == ContainerEngine::USUAL => Ok(ContainerEngine::default()),
        (Some(id), 0) => Err(format!("no engine `{id}` is declared; [engines.{id}] would declare it")),
        (Some(id), _) => {
            let sentence = format!(
                "no engine `{id}` is declared; declared engines: {}",
                declared.join(", ")
            );
            Err(with_suggestion(sentence, id.as_str(), declared.iter().copied()))
        }
        (None, 0 | 1) => Ok(engines.values().next().cloned().unwrap_or_default()),
        (None, _) => Err(format!(
            "there are several engines: {}; `engine` must name one",
            declared.join(", ")
        )),
    }
}

/// Who may change containers of an engine: one update at a time does, whatever job it is of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<StdMutex<HashMap<String, Arc<Mutex<()>>>>>);

impl Turns {
    /// The turn on the engine that is called so, where nobody has it.
    pub(crate) fn try_take(&self, engine: &str) -> Option<OwnedMutexGuard<()>> {
        self.of(engine).try_lock_owned().ok()
    }

    /// Waits for the turn on the engine that is called so; it ends when it is dropped.
    pub(crate) async fn take(&self, engine: &str) -> OwnedMutexGuard<()> {
        self.of(engine).lock_owned().await
    }

    fn of(&self, engine: &str) -> Arc<Mutex<()>> {
        Arc::clone(lock(&self.0).entry(engine.to_owned()).or_default())
    }
}
