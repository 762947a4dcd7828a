//! The engine of a job, and the containers on it that the job is about.

use std::path::PathBuf;

use serde_json::Value;

use super::ContainerUpdate;
use super::gates::{Itself, refusal};
use super::journal::is_given_by_an_update;
use super::memory::Files;
use crate::docker::{Address, Client, Container, DockerError};
use crate::run::{Failure, RunContext};
use crate::values::plural;

/// An engine that answers, and what is known of it.
pub(super) struct Site {
    pub client: Client,
    pub address: Address,
    /// What tells it from others, however it is reached.
    pub key: String,
    /// What its host is called.
    pub host_name: String,
    /// The service's own folder.
    pub folder: PathBuf,
    pub files: Files,
    pub credentials: PathBuf,
    itself: Itself,
}

/// What a job is about.
pub(super) struct Survey {
    /// The containers, by name; why each is left alone, where it is.
    pub chosen: Vec<(Container, Option<String>)>,
    /// What nobody may know of.
    pub warnings: Vec<String>,
}

impl Site {
    /// Reaches the engine of a job.
    ///
    /// # Errors
    /// That it does not answer.
    pub(super) async fn reach(job: &ContainerUpdate, ctx: &RunContext) -> Result<Self, Failure> {
        let engine = job.engine(ctx)?;
        let client = Client::connect(&engine.host).await?;
        let info = client.info().await?;
        let text = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
        let key = match text("ID") {
            id if id.is_empty() => engine.host.to_string(),
            id => id,
        };
        let folder = super::own_folder(&ctx.store);
        Ok(Self {
            client,
            address: engine.host,
            host_name: text("Name"),
            files: Files::of(&folder, &key),
            key,
            folder,
            credentials: engine.credentials,
            itself: Itself::look(),
        })
    }

    /// Looks for the containers that a job is about.
    ///
    /// # Errors
    /// That the engine does not tell.
    pub(super) async fn survey(&self, job: &ContainerUpdate) -> Result<Survey, DockerError> {
        let list = self.client.list().await?;
        let mut survey = Survey {
            chosen: Vec::new(),
            warnings: Vec::new(),
        };
        for listed in &list {
            let label = |name: &str| listed["Labels"][name].as_str();
            let Some((name, id)) = own_name(listed).zip(listed["Id"].as_str()) else {
                continue;
            };
            if is_given_by_an_update(name) {
                survey
                    .warnings
                    .push(format!("{name} is left over from an update that was cut off"));
            } else if job.selects(name, label)
                && let Some(container) = self.client.find(id).await?
            {
                let refusal = self.refusal(&container);
                survey.chosen.push((container, refusal));
            }
        }
        survey
            .chosen
            .sort_by(|(one, _), (other, _)| one.name().cmp(other.name()));
        let names: Vec<&str> = survey.chosen.iter().map(|(container, _)| container.name()).collect();
        let missing: Vec<&str> = job.unmatched(&names).collect();
        if !missing.is_empty() {
            let containers = plural(list.len() as u64, "container");
            survey.warnings.push(format!(
                "no container is called {}; the engine has {containers}",
                missing.join(" or ")
            ));
        }
        Ok(survey)
    }

    /// Why a container is left alone, if so.
    pub(super) fn refusal(&self, container: &Container) -> Option<String> {
        refusal(container, &self.itself)
    }

    /// The containers that share a namespace of those, directly or through others, in the order in which they can be started.
    ///
    /// # Errors
    /// That the engine does not tell.
    pub(super) async fn dependents(&self, of: &Container) -> Result<Vec<Container>, DockerError> {
        let mut all = Vec::new();
        for listed in self.client.list().await? {
            if let Some(id) = listed["Id"].as_str() {
                all.extend(self.client.find(id).await?);
            }
        }
        let mut found: Vec<Container> = Vec::new();
        let mut providers = vec![of.id().to_owned()];
        while let Some(provider) = providers.pop() {
            for container in &all {
                let depends = container.providers().any(|(_, id)| id == provider);
                if depends && !found.iter().any(|known| known.id() == container.id()) {
                    found.push(container.clone());
                    providers.push(container.id().to_owned());
                }
            }
        }
        Ok(found)
    }

    /// The running containers whose compose file says that they restart with this one.
    pub(super) async fn restarting_with(&self, container: &Container) -> Result<Vec<Container>, DockerError> {
        const PROJECT: &str = "com.docker.compose.project";
        let Some((project, service)) = container
            .label(PROJECT)
            .zip(container.label("com.docker.compose.service"))
        else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for listed in self.client.list().await? {
            let label = |name: &str| listed["Labels"][name].as_str().unwrap_or_default();
            // `service:condition:restart`, with commas between them
            let depends = label("com.docker.compose.depends_on").split(',').any(|one| {
                let mut parts = one.split(':');
                parts.next() == Some(service) && parts.next_back() == Some("true")
            });
            if label(PROJECT) == project && depends && listed["State"] == "running" {
                found.extend(self.client.find(listed["Id"].as_str().unwrap_or_default()).await?);
            }
        }
        Ok(found)
    }

    /// The containers that are linked to one in the old way, which is lost with it.
    pub(super) async fn linked_to(&self, name: &str) -> Result<Vec<String>, DockerError> {
        let start = format!("/{name}:/");
        let mut linked = Vec::new();
        for listed in self.client.list().await? {
            let Some(id) = listed["Id"].as_str() else { continue };
            let Some(container) = self.client.find(id).await? else {
                continue;
            };
            let links = container.json().pointer("/HostConfig/Links").and_then(Value::as_array);
            let mut links = links.into_iter().flatten().filter_map(Value::as_str);
            if links.any(|link| link.starts_with(&start)) {
                linked.push(container.name().to_owned());
            }
        }
        Ok(linked)
    }
}

/// A container's own name in a list, which has the names that others know it by, too.
fn own_name(listed: &Value) -> Option<&str> {
    let names = listed["Names"].as_array()?.iter().filter_map(Value::as_str);
    names
        .map(|name| name.trim_start_matches('/'))
        .find(|name| !name.contains('/'))
}

impl ContainerUpdate {
    /// The names it is about that nothing has.
    fn unmatched<'a>(&'a self, names: &[&str]) -> impl Iterator<Item = &'a str> {
        let plain = self.containers.iter().flatten().filter(|pattern| pattern.is_plain());
        plain
            .map(crate::values::Pattern::as_str)
            .filter(|name| !names.contains(name))
    }
}
