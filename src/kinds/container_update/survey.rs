//! The engine of a job, and the containers on it that the job is about.

use std::path::PathBuf;

use serde_json::Value;

use super::gates::{Itself, not_now, refusal};
use super::journal::{given_by_an_update_of, open_updates};
use super::memory::Files;
use super::{ContainerUpdate, FOLDER};
use crate::docker::{Address, Client, Container, DockerError, Reference};
use crate::run::{Failure, RunContext};
use crate::values::{Pattern, plural, with_suggestion};

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
        let folder = ctx.store.folder_beside(FOLDER);
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
        let (under_way, mut warnings) = open_updates(&self.folder).await;
        let (mut chosen, mut names) = (Vec::new(), Vec::new());
        for listed in &list {
            let label = |name: &str| listed["Labels"][name].as_str();
            let Some((name, id)) = own_name(listed).zip(listed["Id"].as_str()) else {
                continue;
            };
            names.push(name);
            if let Some(of) = given_by_an_update_of(name) {
                let is_known = under_way.iter().any(|update| update.involves(of));
                if !is_known && job.selects(of, label) {
                    warnings.push(format!(
                        "{name} is left over from an update of {of} that nothing is known of; look at both, then remove it"
                    ));
                }
            } else if job.selects(name, label)
                && let Some(container) = self.client.find(id).await?
            {
                let refusal = self.refusal(&container);
                chosen.push((container, refusal));
            }
        }
        chosen.sort_by(|(one, _): &(Container, _), (other, _)| one.name().cmp(other.name()));
        warnings.extend(job.unmatched(&chosen, &names));
        Ok(Survey { chosen, warnings })
    }

    /// Why a container is left alone as it is now, if so.
    pub(super) fn refusal(&self, container: &Container) -> Option<String> {
        self.lasting_refusal(container).or_else(|| not_now(container))
    }

    /// Why a container is always left alone, if so.
    pub(super) fn lasting_refusal(&self, container: &Container) -> Option<String> {
        if self.is_the_way(container) {
            return Some("the engine is reached through it".to_owned());
        }
        refusal(container, &self.itself)
    }

    /// Whether a container is the proxy that the engine is reached through.
    fn is_the_way(&self, container: &Container) -> bool {
        let Address::Tcp(host) = &self.address else {
            return false;
        };
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        let mut networks = container.table("/NetworkSettings/Networks").map(|(_, network)| network);
        let is_there = networks.any(|network| {
            let aliases = network["Aliases"].as_array().into_iter().flatten();
            network["IPAddress"] == name || aliases.into_iter().any(|alias| alias == name)
        });
        let bindings = container
            .table("/HostConfig/PortBindings")
            .filter_map(|(_, bindings)| bindings.as_array());
        let mut bindings = bindings.flatten();
        let is_published = bindings.any(|binding| binding["HostPort"] == port);
        container.name() == name || is_there || (is_published && self.address.is_loopback())
    }

    /// Every container of the engine.
    ///
    /// # Errors
    /// That the engine does not tell.
    pub(super) async fn all(&self) -> Result<Vec<Container>, DockerError> {
        let mut all = Vec::new();
        for listed in self.client.list().await? {
            if let Some(id) = listed["Id"].as_str() {
                all.extend(self.client.find(id).await?);
            }
        }
        Ok(all)
    }

    /// The running containers whose compose file says that they restart with this one.
    pub(super) async fn restarting_with(&self, container: &Container) -> Result<Vec<Container>, DockerError> {
        const PROJECT: &str = "com.docker.compose.project";
        let of = container
            .label(PROJECT)
            .zip(container.label("com.docker.compose.service"));
        let Some((project, service)) = of else {
            return Ok(Vec::new());
        };
        let restarts = |other: &Container| {
            let depends = other.label("com.docker.compose.depends_on").unwrap_or_default();
            // `service:condition:restart`, with commas between them
            let mut depends = depends.split(',').map(|one| one.split(':').collect::<Vec<&str>>());
            let with_it = depends.any(|one| one.first() == Some(&service) && one.last() == Some(&"true"));
            with_it && other.label(PROJECT) == Some(project) && other.is_running() && !self.itself.is(other)
        };
        Ok(self.all().await?.into_iter().filter(restarts).collect())
    }
}

/// The containers of `all` that share a namespace of one, directly or through others, in the order in which they can be started.
///
/// # Errors
/// That there is no such order.
pub(super) fn dependents(of: &Container, all: &[Container]) -> Result<Vec<Container>, String> {
    let mut found: Vec<&Container> = Vec::new();
    let mut providers = vec![of.id()];
    while let Some(provider) = providers.pop() {
        for container in all {
            let depends = container.providers().any(|(_, id)| id == provider);
            if depends && !found.iter().any(|known| known.id() == container.id()) {
                found.push(container);
                providers.push(container.id());
            }
        }
    }
    let mut ordered: Vec<Container> = Vec::new();
    while !found.is_empty() {
        let waits = |container: &Container| {
            container
                .providers()
                .any(|(_, id)| found.iter().any(|one| one.id() == id))
        };
        let Some(next) = found.iter().position(|container| !waits(container)) else {
            let names: Vec<&str> = found.iter().map(|container| container.name()).collect();
            return Err(format!("{} depend on each other", names.join(", ")));
        };
        ordered.push(found.remove(next).clone());
    }
    Ok(ordered)
}

/// The containers of `all` that are linked to one in the old way, which is lost with it.
pub(super) fn linked_to<'a>(name: &str, all: &'a [Container]) -> Vec<&'a str> {
    let start = format!("/{name}:/");
    let is_linked = |container: &&Container| {
        let mut links = container.list("/HostConfig/Links").filter_map(Value::as_str);
        links.any(|link| link.starts_with(&start))
    };
    all.iter().filter(is_linked).map(Container::name).collect()
}

impl Survey {
    /// The images that registries are asked for.
    pub(super) fn images(&self) -> Vec<Reference> {
        let asked = self.chosen.iter().filter(|(_, refusal)| refusal.is_none());
        asked
            .filter_map(|(container, _)| Reference::parse(container.asked_image()).ok())
            .collect()
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
    /// What it says of containers that are not among the chosen ones; `names` are those of all.
    fn unmatched(&self, chosen: &[(Container, Option<String>)], names: &[&str]) -> Vec<String> {
        let plain = self
            .containers
            .iter()
            .flatten()
            .filter(|pattern| pattern.is_plain())
            .map(Pattern::as_str);
        let missing = plain.filter(|name| !chosen.iter().any(|(container, _)| container.name() == *name));
        let warnings = missing.map(|name| {
            if names.contains(&name) {
                return format!(
                    "{name} is there, but another condition leaves it out: `project`, `labels` or `exclude`"
                );
            }
            with_suggestion(format!("no container is called {name}"), name, names.iter().copied())
        });
        let mut warnings: Vec<String> = warnings.collect();
        if warnings.is_empty() && chosen.is_empty() {
            let containers = plural(names.len() as u64, "container");
            warnings.push(format!("no container is selected; the engine has {containers}"));
        }
        warnings
    }
}
