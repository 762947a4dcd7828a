//! The way back of an update, from any of its steps, by what is there: the new containers go, the old ones get their names, their
//! restart policies and their runs back, and the image's name stands for what it did. Each step may have been taken before.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::journal::{Member, Phase, Update};
use super::worker::{Blame, Broken, Worker, step};
use crate::docker::{Container, DockerError, Health, Reference};
use crate::values::Redactor;

/// How long a new container may take to stop, in seconds.
const STOP: u64 = 10;
/// How often an old one is looked at that was started again.
const LOOK: Duration = Duration::from_millis(200);
/// How long one that is asked to stop may take to do so after its time.
const DYING: Duration = Duration::from_secs(2);
/// How long one that was healthy may take to be so again.
const HEALTHY: Duration = Duration::from_mins(5);
/// How often an old one is started that ends again.
const STARTS: u32 = 3;
/// How long is spent on asking why a new one is not well: the old one is down meanwhile.
const EVIDENCE: Duration = Duration::from_secs(10);
/// How long is tried to put things back while the engine does not answer, and how often.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_secs(3);
/// How many lines of a log are shown.
const LINES: u32 = 50;

impl Worker<'_> {
    /// Puts everything back; while the engine does not answer, it is tried again for a while. Gives what is wrong with the old
    /// ones, where they do not run though everything is back in its place.
    ///
    /// # Errors
    /// What could not be put back: the update stays written down, and this can be done again.
    pub(super) async fn restore(&self, update: &Update) -> Result<Option<String>, Broken> {
        let began = Instant::now();
        loop {
            let restored = self.restore_once(update).await;
            let may_pass = restored.as_ref().is_err_and(|broken| broken.blame == Blame::Moment);
            if !may_pass || began.elapsed() >= PATIENCE || self.cancel.is_cut_short() {
                return restored;
            }
            sleep(PAUSE).await;
        }
    }

    async fn restore_once(&self, update: &Update) -> Result<Option<String>, Broken> {
        for member in &update.members {
            if self.client.find(member.old_id()).await?.is_none() {
                // The new one is all there is.
                let why = format!("somebody has removed the old {}; the new one stays", member.name);
                return Err(why.into());
            }
        }
        for member in update.members.iter().rev() {
            // Two of one name, or on one port, are of no use: nothing goes on before it is gone.
            let removed = self.remove_new(member).await;
            removed.map_err(|error| step(&format!("the new {} was not removed", member.name), error))?;
        }
        let (mut failed, mut ended): (Vec<Broken>, Vec<String>) = (Vec::new(), Vec::new());
        for member in &update.members {
            let name = &member.name;
            match self.restore_old(member, update.phase).await {
                Ok(None) => {}
                Ok(Some(code)) => ended.push(format!(
                    "the old {name} was started again, and ended with exit code {code}"
                )),
                Err(broken) => failed.push(broken.of(&format!("{name} is not as it was"))),
            }
        }
        if let Err(error) = self.tag_back(update).await {
            failed.push(step(
                &format!("{} does not name its old image again", update.image),
                error,
            ));
        }
        let may_pass = failed.iter().all(|broken| broken.blame == Blame::Moment);
        let whys: Vec<String> = failed.into_iter().map(|broken| broken.why).collect();
        if whys.is_empty() {
            return Ok((!ended.is_empty()).then(|| ended.join("; ")));
        }
        let blame = if may_pass { Blame::Moment } else { Blame::Circumstances };
        Err(Broken {
            why: whys.join("; "),
            blame,
        })
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
        // It is removed in any case, and killed where there is no time.
        if new.is_running() && !self.cancel.is_ending() {
            let _ = self.client.stop(&new, Some(STOP)).await;
        }
        self.client.remove(new.id(), true).await
    }

    async fn restore_old(&self, member: &Member, phase: Phase) -> Result<Option<i64>, Broken> {
        let before = Container::kept(&member.old).ok_or_else(|| "what it was cannot be read".to_owned())?;
        let Some(now) = self.client.find(before.id()).await? else {
            return Err("it is gone".to_owned().into());
        };
        if now.name() != member.name {
            self.client.rename(now.id(), &member.name).await?;
        }
        if now.restart_policy() != before.restart_policy() {
            let policy = before.restart_policy();
            self.client.set_restart_policy(now.id(), policy).await?;
        }
        if member.was_running() && phase >= Phase::Stopping {
            return self.run_again(&before, phase).await;
        }
        Ok(None)
    }

    /// Has an old container run again, as well as it did; gives the code it ends with where it does not.
    async fn run_again(&self, before: &Container, phase: Phase) -> Result<Option<i64>, Broken> {
        // It may still be stopping, as it was told to.
        let may_die = if phase == Phase::Stopping {
            before.stops_within() + DYING
        } else {
            LOOK
        };
        let was_healthy = before.health() == Health::Healthy;
        let (began, mut starts) = (Instant::now(), 0);
        loop {
            let now = self.client.container(before.id()).await?;
            if !now.is_running() {
                if starts == STARTS {
                    return Ok(Some(now.exit_code()));
                }
                self.client.start(before.id()).await?;
                starts += 1;
            }
            let is_settled = starts > 0 || began.elapsed() >= may_die;
            let is_well = !was_healthy || starts == 0 || now.health() == Health::Healthy;
            let is_enough = is_well || began.elapsed() >= HEALTHY || self.cancel.is_ending();
            if now.is_running() && is_settled && is_enough {
                return Ok(None);
            }
            if now.is_running() && !is_settled && self.cancel.is_ending() {
                return Err(Broken::by_the_moment(
                    "it is still stopping; the next start has it run again",
                ));
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

    /// What the new containers have said last, and their health checks: for whoever wants to know why one is not well. The
    /// values of their variables are left out.
    pub(super) async fn evidence(&self, update: &Update) -> String {
        if self.cancel.is_ending() {
            return String::new();
        }
        timeout(EVIDENCE, self.all_evidence(update)).await.unwrap_or_default()
    }

    async fn all_evidence(&self, update: &Update) -> String {
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
