//! The way back of an update, from any of its steps, by what is there: the new containers go, the old ones get their names, their
//! restart policies and their runs back, and the image's name stands for what it did. Each step may have been taken before.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::journal::{Member, Phase, Update};
use super::worker::Worker;
use crate::docker::{Container, DockerError, Health, Reference};
use crate::values::Redactor;

/// How long a new container may take to stop: nobody relies on it.
const STOP: u64 = 10;
/// How often an old one is looked at that was started again.
const LOOK: Duration = Duration::from_millis(200);
/// How long one that is asked to stop may take to do so after its time.
const DYING: Duration = Duration::from_secs(2);
/// How long one that was healthy may take to be so again.
const HEALTHY: Duration = Duration::from_mins(5);
/// How many lines of a log are shown.
const LINES: u32 = 50;

impl Worker<'_> {
    /// Puts everything back, and forgets the update.
    ///
    /// # Errors
    /// What could not be put back: the update stays written down, and this can be done again.
    pub(super) async fn restore(&self, update: &Update) -> Result<(), String> {
        let mut failed = Vec::new();
        for member in update.members.iter().rev() {
            if let Err(error) = self.remove_new(member).await {
                failed.push(format!("the new {} was not removed: {error}", member.name));
            }
        }
        // Two of one name, or on one port, are of no use.
        if failed.is_empty() {
            for member in &update.members {
                if let Err(why) = self.restore_old(member, update.phase).await {
                    failed.push(format!("{} is not as it was: {why}", member.name));
                }
            }
            if let Err(error) = self.tag_back(update).await {
                failed.push(format!("{} does not stand for its image again: {error}", update.image));
            }
        }
        if failed.is_empty() {
            return update.close(self.folder).await;
        }
        Err(failed.join("; "))
    }

    /// The container that takes the place of another one, where there is one.
    pub(super) async fn find_new(&self, member: &Member) -> Result<Option<Container>, DockerError> {
        match &member.new {
            Some(id) => self.client.find(id).await,
            // It may have been created without anybody having heard of it.
            None => self.client.find(&member.new_name()).await,
        }
    }

    async fn remove_new(&self, member: &Member) -> Result<(), DockerError> {
        let Some(new) = self.find_new(member).await? else {
            return Ok(());
        };
        if new.is_running() {
            // It is removed in any case.
            let _ = self.client.stop(&new, Some(STOP)).await;
        }
        self.client.remove(new.id(), true).await
    }

    async fn restore_old(&self, member: &Member, phase: Phase) -> Result<(), String> {
        let in_words = |error: DockerError| error.message;
        let before = Container::kept(&member.old).ok_or("what it was cannot be read")?;
        let Some(now) = self.client.find(before.id()).await.map_err(in_words)? else {
            return Err(format!("it is gone; what it was is kept in {}", self.folder.display()));
        };
        if now.name() != member.name {
            self.client.rename(now.id(), &member.name).await.map_err(in_words)?;
        }
        if now.restart_policy() != before.restart_policy() {
            self.client
                .set_restart_policy(now.id(), before.restart_policy())
                .await
                .map_err(in_words)?;
        }
        if member.was_running() && phase >= Phase::Stopping {
            self.run_again(&before, phase).await.map_err(in_words)?;
        }
        Ok(())
    }

    /// Has an old container run again, as well as it did.
    async fn run_again(&self, before: &Container, phase: Phase) -> Result<(), DockerError> {
        // It may still be stopping, as it was told to.
        let may_die = if phase == Phase::Stopping {
            before.stops_within() + DYING
        } else {
            LOOK
        };
        let was_healthy = before.health() == Health::Healthy;
        let (began, mut was_started) = (Instant::now(), false);
        loop {
            let now = self.client.container(before.id()).await?;
            if !now.is_running() {
                self.client.start(before.id()).await?;
                was_started = true;
            }
            let is_settled = was_started || began.elapsed() >= may_die;
            let is_well = !was_healthy || !was_started || now.health() == Health::Healthy;
            if now.is_running() && is_settled && (is_well || began.elapsed() >= HEALTHY || self.cancel.is_ending()) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// Has the image's name stand for what it did, unless a container runs on the new one.
    async fn tag_back(&self, update: &Update) -> Result<(), DockerError> {
        if update.tagged_before.as_deref() == Some(&update.new_image) {
            return Ok(());
        }
        let Ok(image) = Reference::parse(&update.image) else {
            return Ok(());
        };
        let now = self.client.image(&update.image).await?;
        let is_ours = now.is_some_and(|now| now["Id"] == update.new_image.as_str());
        let is_used = self
            .client
            .list()
            .await?
            .iter()
            .any(|listed| listed["ImageID"] == update.new_image.as_str());
        if !is_ours || is_used {
            return Ok(());
        }
        match &update.tagged_before {
            Some(before) => match self.client.tag(before, &image).await {
                Err(error) if error.is_missing() => Ok(()),
                other => other,
            },
            None => self.client.remove_image(&update.image).await.map(drop),
        }
    }

    /// What the new container has said last, and its health check: for whoever wants to know why it is not well. The values of
    /// its variables are left out.
    pub(super) async fn evidence(&self, update: &Update) -> String {
        let mut said = String::new();
        for member in &update.members {
            let Ok(Some(new)) = self.find_new(member).await else {
                continue;
            };
            if !new.has_started() {
                continue;
            }
            let redactor = Redactor::new(new.secrets());
            if let Some(output) = new.health_output() {
                let output = redactor.redact(output);
                let _ = writeln!(said, "Last health check of {}:\n{output}", member.name);
            }
            let log = self.client.log_tail(&new, LINES).await.unwrap_or_default();
            if !log.trim().is_empty() {
                let log = redactor.redact(log.trim_end());
                let _ = writeln!(said, "Last lines of {}:\n{log}", member.name);
            }
        }
        said
    }
}
