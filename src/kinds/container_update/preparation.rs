//! What an update needs to know before it begins, and why it cannot: those that depend on the container, their images, and files
//! that nothing brings back.

use serde_json::Value;

use super::journal::{Member, Phase, Update};
use super::standing::Newer;
use super::survey::{Site, dependents, linked_to};
use super::{ContainerUpdate, Dependents};
use crate::docker::{Container, DockerError, injected_files, volume_sources};
use crate::run::RunContext;
use crate::values::first_of;

/// A container that is to be replaced, and what that takes.
pub(super) struct Prepared {
    pub container: Container,
    pub old_image: Value,
    pub new_image: Value,
    /// What it is created for, where that is not the engine's own.
    pub platform: Option<String>,
    /// The containers whose volumes it has.
    pub sources: Vec<Container>,
    pub host_name: String,
}

/// How many files are named.
const NAMED: usize = 5;

impl Site {
    /// Prepares to replace a container with one of `new_image`, together with those that depend on it; or tells why it is left
    /// alone.
    ///
    /// # Errors
    /// That the engine does not tell.
    pub(super) async fn prepare(
        &self,
        job: &ContainerUpdate,
        container: &Container,
        newer: &Newer,
        new_image: &Value,
    ) -> Result<Result<Vec<Prepared>, String>, DockerError> {
        let all = self.all().await?;
        let linked = linked_to(container.name(), &all);
        if !linked.is_empty() {
            let linked = linked.join(", ");
            return Ok(Err(format!(
                "{linked} is linked to it in the old way (--link), and would lose it"
            )));
        }
        let dependents = match dependents(container, &all) {
            Ok(dependents) => dependents,
            Err(why) => return Ok(Err(why)),
        };
        if job.dependents == Dependents::Refuse && !dependents.is_empty() {
            let names: Vec<&str> = dependents.iter().map(Container::name).collect();
            return Ok(Err(format!(
                "{} depends on it, and `dependents` says \"refuse\"",
                names.join(", ")
            )));
        }
        let new = (newer.old_image.clone(), new_image.clone(), newer.platform.clone());
        let mut prepared = vec![self.prepared(container, new).await?];
        for dependent in dependents {
            let why = match self.dependent_image(&dependent).await? {
                Ok(image) => {
                    prepared.push(self.prepared(&dependent, (image.clone(), image, None)).await?);
                    continue;
                }
                Err(why) => why,
            };
            return Ok(Err(format!(
                "{} depends on it, and cannot be recreated: {why}",
                dependent.name()
            )));
        }
        for (key, id) in prepared.iter().flat_map(|of| of.container.providers()) {
            let is_replaced = prepared.iter().any(|of| of.container.id() == id);
            let runs = all.iter().any(|other| other.id() == id && other.is_running());
            if !is_replaced && !runs {
                return Ok(Err(format!(
                    "the container that it shares something with ({key}) was replaced or does not run"
                )));
            }
        }
        for of in &prepared {
            let files = injected_files(&self.client, &of.container).await?;
            if !files.is_empty() {
                let files = first_of(&files, NAMED);
                let name = of.container.name();
                return Ok(Err(format!(
                    "files were put into {name} that a new container would not have: {files}"
                )));
            }
        }
        Ok(Ok(prepared))
    }

    /// The image of a container that is recreated with another one; or why it cannot be.
    async fn dependent_image(&self, dependent: &Container) -> Result<Result<Value, String>, DockerError> {
        let now = self.refusal(dependent).filter(|_| dependent.is_running());
        if let Some(why) = self.lasting_refusal(dependent).or(now) {
            return Ok(Err(why));
        }
        let Some(image) = self.client.image(dependent.image()).await? else {
            return Ok(Err("its image was removed".to_owned()));
        };
        let named = self.client.image(dependent.asked_image()).await?;
        if named.is_none_or(|named| named["Id"] != image["Id"]) {
            return Ok(Err(format!(
                "{} points to another image than it has",
                dependent.asked_image()
            )));
        }
        Ok(Ok(image))
    }

    async fn prepared(
        &self,
        container: &Container,
        (old_image, new_image, platform): (Value, Value, Option<String>),
    ) -> Result<Prepared, DockerError> {
        let mut sources = Vec::new();
        for name in volume_sources(container) {
            sources.extend(self.client.find(name).await?);
        }
        Ok(Prepared {
            container: container.clone(),
            old_image,
            new_image,
            platform,
            sources,
            host_name: self.host_name.clone(),
        })
    }

    /// The update that replaces what is prepared, as it is written down.
    pub(super) async fn update(
        &self,
        job: &ContainerUpdate,
        ctx: &RunContext,
        newer: &Newer,
        prepared: &[Prepared],
    ) -> Result<Update, DockerError> {
        let named = self.client.image(&newer.image.to_string()).await?;
        let id = |image: &Value| image["Id"].as_str().unwrap_or_default().to_owned();
        Ok(Update {
            job: ctx.job.clone(),
            engine: self.address.to_string(),
            key: self.key.clone(),
            image: newer.image.to_string(),
            digest: newer.digest.clone(),
            old_image: id(&newer.old_image),
            new_image: prepared.first().map_or_else(String::new, |first| id(&first.new_image)),
            tagged_before: named.as_ref().map(id),
            members: prepared.iter().map(|of| Member::of(&of.container)).collect(),
            phase: Phase::Tagging,
            healthy_within: job.healthy_within.to_std(),
            settle: job.settle.to_std(),
            notify: job.notify.clone(),
            began_at: ctx.clock.now(),
            stopped_at: None,
        })
    }
}
