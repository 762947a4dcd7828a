//! The update itself: the new containers are created and compared, then the old ones stop and the new ones take their names. From
//! the stop on, every step has its way back, which `restoration` goes.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::journal::{Phase, Update};
use super::preparation::Prepared;
use super::worker::{Blame, Broken, Worker, step};
use crate::docker::{Around, Client, Container, DockerError, Images, Recreation, Reference};

impl Worker<'_> {
    /// Creates the new containers beside the old ones, and looks whether they are what they must be. The old ones notice
    /// nothing.
    ///
    /// # Errors
    /// Why they are not.
    pub(super) async fn create(&self, update: &mut Update, prepared: &[Prepared]) -> Result<(), Broken> {
        update.enter(Phase::Tagging, self.folder).await?;
        let image = Reference::parse(&update.image).map_err(|why| Broken::from(why.to_owned()))?;
        self.client
            .tag(&update.new_image, &image)
            .await
            .map_err(|error| step("the new image was not tagged", error))?;
        update.enter(Phase::Creating, self.folder).await?;
        let mut replaced = Vec::new();
        for (number, of) in prepared.iter().enumerate() {
            let wanted = of.new_image["Id"].as_str().unwrap_or_default();
            // One that depends on it may have the same image, and stays on that.
            let is_of_same_name = Reference::parse(of.container.asked_image()).as_ref() == Ok(&image);
            if number > 0 && is_of_same_name {
                self.client.tag(wanted, &image).await?;
            }
            let id = self.create_one(update, number, of, &replaced).await?;
            replaced.push((of.container.id().to_owned(), id));
        }
        self.client.tag(&update.new_image, &image).await?;
        for of in prepared {
            let is_as_before = self
                .client
                .find(of.container.id())
                .await?
                .is_some_and(|now| is_unchanged(&of.container, &now));
            if !is_as_before {
                let why = format!("{} was changed by somebody else in the meantime", of.container.name());
                return Err(why.into());
            }
        }
        Ok(())
    }

    async fn create_one(
        &self,
        update: &mut Update,
        number: usize,
        of: &Prepared,
        replaced: &[(String, String)],
    ) -> Result<String, Broken> {
        let name = of.container.name();
        let recreation = of
            .recreation(replaced, self.client)
            .map_err(|why| format!("{name}: {why}"))?;
        let temporary = update.members[number].new_name();
        let platform = of.platform.as_deref();
        let created = self.client.create(&temporary, &recreation.body, platform).await;
        let (id, warnings) = created.map_err(|error| step(&format!("the new {name} was not created"), error))?;
        for warning in warnings {
            tracing::warn!(container = name, "the engine warns: {warning}");
        }
        update.members[number].new = Some(id.clone());
        update.enter(Phase::Creating, self.folder).await?;
        for (network, settings) in &recreation.networks_after {
            let joined = self.client.join(network, &id, settings).await;
            joined.map_err(|error| step(&format!("the new {name} did not join the network {network}"), error))?;
        }
        let made = self.client.container(&id).await?;
        if made.image() != of.new_image["Id"] {
            return Err(format!("{name}: the tag of its image points to another image now").into());
        }
        let differences = recreation.differences(&made);
        if differences.is_empty() {
            return Ok(id);
        }
        let why = format!(
            "the new {name} would differ from the old one in {}",
            differences.join(", ")
        );
        Err(why.into())
    }

    /// Has the new containers take the places of the old ones; gives how long the first was down.
    ///
    /// # Errors
    /// Why that did not go well: everything must be put back.
    pub(super) async fn swap(&self, update: &mut Update) -> Result<SignedDuration, Broken> {
        if self.cancel.is_ending() {
            return Err(Broken::by_the_moment("the run had to end"));
        }
        update.stopped_at = Some(self.clock.now());
        update.enter(Phase::Stopping, self.folder).await?;
        for member in update.members.iter().rev().filter(|member| member.was_running()) {
            let Some(old) = Container::kept(&member.old) else {
                continue;
            };
            let stopped = tokio::select! {
                stopped = self.client.stop(&old, None) => stopped,
                () = self.cancel.end_is_near() => return Err(Broken::by_the_moment("the run had to end while the container was stopping")),
            };
            stopped.map_err(|error| step(&format!("{} did not stop", member.name), error))?;
        }
        update.enter(Phase::Renaming, self.folder).await?;
        for member in &update.members {
            let new = member.new.as_deref().unwrap_or_default();
            let renamed = async {
                self.client.rename(member.old_id(), &member.old_name()).await?;
                self.client.rename(new, &member.name).await
            };
            renamed
                .await
                .map_err(|error| step(&format!("{} was not renamed", member.name), error))?;
        }
        update.enter(Phase::Holding, self.folder).await?;
        for member in &update.members {
            self.hold(&member.old).await?;
        }
        self.start_all(update).await
    }

    /// Keeps an old container from being started by the engine, beside the new one.
    pub(super) async fn hold(&self, old: &Value) -> Result<(), DockerError> {
        match Container::kept(old) {
            Some(old) if !old.stays_ended() => self.client.set_restart_policy(old.id(), &json!({ "Name": "no" })).await,
            _ => Ok(()),
        }
    }

    /// Starts the new containers one after the other, each once the one before is well; gives how long the first was down.
    pub(super) async fn start_all(&self, update: &mut Update) -> Result<SignedDuration, Broken> {
        if update.phase < Phase::Starting {
            update.enter(Phase::Starting, self.folder).await?;
        }
        let mut up_at = None;
        for number in 0..update.members.len() {
            let member = &update.members[number];
            if !member.was_running() {
                continue;
            }
            let (name, id) = (member.name.clone(), member.new.clone().unwrap_or_default());
            if !self.client.container(&id).await?.has_started() {
                let started = self.client.start(&id).await;
                started.map_err(|error| blame_for(&format!("the new {name} did not start"), error))?;
            }
            let started_at = self.clock.now();
            if update.phase < Phase::Waiting {
                update.enter(Phase::Waiting, self.folder).await?;
            }
            let well = self.wait_until_well(&id, update.healthy_within, update.settle).await;
            let well = well.map_err(|broken| {
                let is_sick = broken.blame == Blame::Image;
                let what = if is_sick {
                    format!("the new {name} is not well")
                } else {
                    name
                };
                broken.of(&what)
            })?;
            let is_checked = well.decides_within().is_some();
            up_at.get_or_insert(if is_checked { self.clock.now() } else { started_at });
        }
        Ok(down(update.stopped_at, up_at))
    }

    /// Removes the old containers, and forgets the update. What cannot be removed now will be later.
    pub(super) async fn finish(&self, update: &Update) -> Result<(), Broken> {
        for member in &update.members {
            let removed = self.client.remove(member.old_id(), false).await;
            removed.map_err(|error| step(&format!("the old {} was not removed", member.name), error))?;
        }
        Ok(update.close(self.folder).await?)
    }
}

/// An engine that refuses to start a container has a reason that may be the image's.
fn blame_for(what: &str, error: DockerError) -> Broken {
    match step(what, error) {
        Broken {
            blame: Blame::Circumstances,
            why,
        } => Broken::by_the_image(why),
        other => other,
    }
}

fn down(from: Option<Timestamp>, to: Option<Timestamp>) -> SignedDuration {
    let time = from.zip(to).map(|(from, to)| to.duration_since(from));
    time.unwrap_or_default().max(SignedDuration::ZERO)
}

/// Whether a container is the same as it was, and has run on.
fn is_unchanged(before: &Container, now: &Container) -> bool {
    let is_same = |pointer: &str| before.json().pointer(pointer) == now.json().pointer(pointer);
    [
        "/Name",
        "/State/StartedAt",
        "/State/Running",
        "/Config",
        "/HostConfig",
        "/NetworkSettings/Networks",
    ]
    .into_iter()
    .all(is_same)
}

impl Prepared {
    /// What creates the container anew, where others were replaced before it.
    pub(super) fn recreation(&self, replaced: &[(String, String)], client: &Client) -> Result<Recreation, String> {
        let images = Images {
            old: &self.old_image,
            new: &self.new_image,
        };
        let around = Around {
            host_name: &self.host_name,
            takes_all_networks: client.takes_all_networks(),
            tells_own_names: client.tells_own_names(),
            sources: &self.sources,
            replaced,
        };
        Recreation::of(&self.container, images, around)
    }
}
