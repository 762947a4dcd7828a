//! A run: every container of the job is looked at, one after the other, and brought as far as the job says.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::Value;

use super::journal::{Phase, Update};
use super::memory::{Bad, Seen};
use super::messages::{News, Teller, from_to};
use super::preparation::Prepared;
use super::recovery::{Recovery, rolled_back, updated};
use super::registry::Registry;
use super::standing::{Newer, Standing, Wait, is_same_platform, platform_of};
use super::survey::Site;
use super::swap::in_words;
use super::verdict::{Entry, Verdict, report, statistics, summary};
use super::verification::Subject;
use super::worker::{Blame, Broken, Worker};
use super::{ContainerUpdate, Extent};
use crate::docker::{Container, Reference};
use crate::run::{Failure, Report, RunContext};
use crate::values::iso;

/// A run at work.
struct Round<'a> {
    job: &'a ContainerUpdate,
    ctx: &'a RunContext,
    site: &'a Site,
    registry: Registry,
    teller: Teller,
    entries: Vec<Entry>,
    /// The images that were rolled back in this run: no other container gets them.
    failed: BTreeSet<(Reference, String)>,
    /// The images that containers had before.
    left: BTreeSet<String>,
}

/// Does the work of a run.
pub(super) async fn run(job: &ContainerUpdate, ctx: &RunContext) -> Result<Report, Failure> {
    let site = Site::reach(job, ctx).await?;
    let recovery = Recovery {
        store: ctx.store.clone(),
        clock: ctx.clock.clone(),
        turns: ctx.turns.clone(),
        targets: Arc::clone(&ctx.targets),
        cancel: ctx.cancel.clone(),
    };
    {
        let _turn = turn(&site, ctx).await?;
        recovery
            .take_up(&site.folder, Some(&site.key))
            .await
            .map_err(Failure::lasting)?;
    }
    let survey = site.survey(job).await?;
    let images = survey
        .chosen
        .iter()
        .filter_map(|(container, _)| Reference::parse(container.asked_image()).ok())
        .collect();
    let mut round = Round {
        job,
        ctx,
        site: &site,
        registry: Registry::new(images, &site.credentials, ctx).await?,
        teller: Teller {
            job: ctx.job.clone(),
            notify: job.notify.clone(),
            targets: Arc::clone(&ctx.targets),
            store: ctx.store.clone(),
            clock: ctx.clock.clone(),
        },
        entries: Vec::new(),
        failed: BTreeSet::new(),
        left: BTreeSet::new(),
    };
    for (container, refusal) in &survey.chosen {
        if ctx.cancel.is_ending() {
            return Err(round.cut_off());
        }
        match refusal {
            Some(why) => round.note(container, Verdict::Skipped, why.clone(), None),
            None => round.look_at(container).await?,
        }
    }
    round.remove_old_images().await;
    if !round.teller.notify.is_empty() {
        // What is left is delivered in the background.
        let _ = ctx.deliver(false).await;
    }
    report(&round.entries, survey.warnings)
}

/// Waits until no other job changes anything on the engine.
async fn turn(site: &Site, ctx: &RunContext) -> Result<tokio::sync::OwnedMutexGuard<()>, Failure> {
    tokio::select! {
        turn = ctx.turns.take(&site.key) => Ok(turn),
        () = ctx.cancel.end_is_near() => Err(Failure::before_it_began("it was still waiting for another job that updates a container")),
    }
}

impl Round<'_> {
    fn note(&mut self, container: &Container, verdict: Verdict, why: String, newer: Option<&Newer>) {
        let (name, image) = (container.name().to_owned(), container.asked_image().to_owned());
        let level = if verdict.is_failure() { "failed: " } else { "" };
        tracing::info!(job = %self.ctx.job, container = name, "{level}{}{}{why}", verdict.word(), if why.is_empty() { "" } else { ": " });
        self.entries.push(Entry {
            name,
            image,
            verdict,
            why,
            from: newer.and_then(|newer| newer.from.clone()),
            to: newer.map(|newer| newer.digest.clone()),
            down: None,
        });
    }

    async fn tell(&self, news: News, container: &Container, newer: &Newer, text: String) -> Result<(), Failure> {
        Ok(self.teller.tell(news, container.name(), &newer.digest, text).await?)
    }

    /// Looks at one container, and brings it as far as the job says.
    async fn look_at(&mut self, container: &Container) -> Result<(), Failure> {
        let memory = self.site.files.recall().await.map_err(Failure::lasting)?;
        let now = self.ctx.clock.now();
        let newer = match self.site.standing(container, &mut self.registry, &memory, now).await? {
            Standing::Newer(newer) => *newer,
            other => {
                let (verdict, why) = match other {
                    Standing::Skipped(why) => (Verdict::Skipped, why),
                    Standing::Undecided(unanswered) => {
                        let is_transient = unanswered.is_transient;
                        (Verdict::Undecided { is_transient }, unanswered.why)
                    }
                    Standing::Current | Standing::Newer(_) => (Verdict::Current, String::new()),
                };
                self.note(container, verdict, why, None);
                return Ok(());
            }
        };
        self.remember_seen(&newer).await?;
        let waits = match newer.wait(self.job, container, &memory, now) {
            Some(Wait::Held(why)) => Some((Verdict::Held, why)),
            Some(Wait::Bad(why)) => Some((Verdict::Bad, why)),
            None => None,
        };
        if let Some((verdict, why)) = waits {
            self.note(container, verdict, why, Some(&newer));
            return Ok(());
        }
        if self.job.action == Extent::Tell {
            let change = from_to(&newer.image.to_string(), newer.from.as_deref(), &newer.digest);
            let text = format!("{change}\nKnown since {}.", iso(newer.first));
            self.tell(News::Found, container, &newer, text).await?;
            self.note(container, Verdict::Found, change, Some(&newer));
            return Ok(());
        }
        if self.failed.contains(&(newer.image.clone(), newer.digest.clone())) {
            let why = "another container of the same image was rolled back in this run".to_owned();
            self.note(container, Verdict::Skipped, why, Some(&newer));
            return Ok(());
        }
        let Some(new_image) = self.pull(container, &newer).await? else {
            return Ok(());
        };
        if self.is_kept_out(container, &newer, &new_image).await? {
            return Ok(());
        }
        if self.job.action == Extent::Pull {
            let change = from_to(&newer.image.to_string(), newer.from.as_deref(), &newer.digest);
            self.tell(
                News::Found,
                container,
                &newer,
                format!("{change}\nIt is here, and can be used."),
            )
            .await?;
            self.note(container, Verdict::Pulled, change, Some(&newer));
            return Ok(());
        }
        self.update(container, &newer, &new_image).await
    }

    async fn remember_seen(&self, newer: &Newer) -> Result<(), Failure> {
        let (image, seen) = (
            newer.image.to_string(),
            Seen {
                digest: newer.digest.clone(),
                first: newer.first,
            },
        );
        let remembered = self
            .site
            .files
            .change(move |memory| drop(memory.seen.insert(image, seen)));
        remembered.await.map_err(Failure::lasting)
    }

    /// Pulls the newer image; gives it where it is another one than the container has, and fits.
    async fn pull(&mut self, container: &Container, newer: &Newer) -> Result<Option<Value>, Failure> {
        let login = self.registry.login(&newer.image).map_err(Failure::lasting)?;
        let header = login.as_ref().map(|login| login.header.reveal());
        let pulled = tokio::select! {
            pulled = self.site.client.pull(&newer.image, &newer.digest, (header, newer.platform.as_deref())) => pulled,
            () = self.ctx.cancel.end_is_near() => return Err(self.cut_off()),
        };
        let image = match pulled {
            Ok(image) => image,
            Err(error) => {
                let said = login
                    .as_ref()
                    .map_or(error.message.clone(), |login| login.redactor.redact(&error.message));
                let why = format!("{} was not pulled: {said}", newer.image);
                self.note(container, Verdict::Undecided { is_transient: true }, why, Some(newer));
                return Ok(None);
            }
        };
        if image["Id"] == container.image() {
            let why = "the registry has another digest for the same image".to_owned();
            self.note(container, Verdict::Current, why, Some(newer));
            return Ok(None);
        }
        let (wanted, found) = (platform_of(&newer.old_image), platform_of(&image));
        if !is_same_platform(&wanted, &found) {
            let why = format!("{} is for {found} now, and the container runs on {wanted}", newer.image);
            self.note(container, Verdict::Undecided { is_transient: false }, why, Some(newer));
            return Ok(None);
        }
        Ok(Some(image))
    }

    /// Whether `verify` keeps the image out.
    async fn is_kept_out(&mut self, container: &Container, newer: &Newer, new_image: &Value) -> Result<bool, Failure> {
        let Some(verify) = &self.job.verify else {
            return Ok(false);
        };
        let subject = |digest: String, image: &Value| Subject {
            digest,
            image: newer.image.to_string(),
            image_id: image["Id"].as_str().unwrap_or_default().to_owned(),
            container: container.name().to_owned(),
            platform: platform_of(image),
        };
        let new = subject(newer.digest.clone(), new_image);
        let current = subject(newer.from.clone().unwrap_or_default(), &newer.old_image);
        let Some(why) = verify.blocks(new, current, self.ctx).await? else {
            return Ok(false);
        };
        let change = from_to(&newer.image.to_string(), newer.from.as_deref(), &newer.digest);
        self.tell(News::Blocked, container, newer, format!("{change}\n{why}."))
            .await?;
        self.note(container, Verdict::Blocked, why, Some(newer));
        Ok(true)
    }

    /// Updates a container, which may have changed since it was looked at.
    async fn update(&mut self, container: &Container, newer: &Newer, new_image: &Value) -> Result<(), Failure> {
        let _turn = turn(self.site, self.ctx).await?;
        let now = self
            .site
            .client
            .find(container.name())
            .await?
            .filter(|now| now.name() == container.name());
        let Some(now) = now else {
            self.note(container, Verdict::Skipped, "it is gone".to_owned(), Some(newer));
            return Ok(());
        };
        if now.image() == new_image["Id"] {
            self.note(
                &now,
                Verdict::Current,
                "it was updated in the meantime".to_owned(),
                None,
            );
            return Ok(());
        }
        let refusal = self.site.refusal(&now);
        let changed = (now.image() != container.image()).then(|| "it has another image than a moment ago".to_owned());
        let prepared = match refusal.or(changed) {
            Some(why) => Err(why),
            None => self.site.prepare(self.job, &now, newer, new_image).await?,
        };
        match prepared {
            Ok(prepared) => self.replace(&now, newer, &prepared).await,
            Err(why) => {
                self.note(&now, Verdict::Skipped, why, Some(newer));
                Ok(())
            }
        }
    }

    async fn replace(&mut self, container: &Container, newer: &Newer, prepared: &[Prepared]) -> Result<(), Failure> {
        let mut update = self.site.update(self.job, self.ctx, newer, prepared).await?;
        let worker = Worker {
            client: &self.site.client,
            folder: &self.site.folder,
            clock: &self.ctx.clock,
            cancel: &self.ctx.cancel,
        };
        tracing::info!(job = %self.ctx.job, container = container.name(), "updating: {}", from_to(&update.image, newer.from.as_deref(), &update.digest));
        let done = async {
            worker.create(&mut update, prepared).await?;
            let down = worker.swap(&mut update).await?;
            update.enter(Phase::Done, worker.folder).await?;
            Ok(down)
        };
        match done.await {
            Ok(down) => self.updated(&worker, container, newer, (update, down)).await,
            Err(broken) => self.broken(&worker, container, newer, (update, broken)).await,
        }
    }

    async fn updated(
        &mut self,
        worker: &Worker<'_>,
        container: &Container,
        newer: &Newer,
        (update, down): (Update, SignedDuration),
    ) -> Result<(), Failure> {
        let text = updated(&update, newer.from.as_deref(), down);
        self.teller
            .tell(News::Updated, container.name(), &update.identity(), text)
            .await?;
        let finished = worker.finish(&update).await;
        let mut why = format!("down for {}", in_words(down));
        if let Err(broken) = finished {
            why = format!("{why}; {}, and is at the next run", broken.why);
        }
        self.left.insert(update.old_image.clone());
        for follower in self.site.restarting_with(container).await? {
            // Those that were made anew have just begun.
            let is_new = update.members.iter().any(|member| member.name == follower.name());
            if !is_new && let Err(error) = self.site.client.restart(&follower).await {
                why = format!("{why}; {} was not restarted with it: {error}", follower.name());
            }
        }
        self.note(container, Verdict::Updated, why, Some(newer));
        if let Some(entry) = self.entries.last_mut() {
            entry.down = Some(down);
        }
        Ok(())
    }

    async fn broken(
        &mut self,
        worker: &Worker<'_>,
        container: &Container,
        newer: &Newer,
        (update, broken): (Update, Broken),
    ) -> Result<(), Failure> {
        let was_touched = update.phase >= Phase::Stopping;
        let evidence = if was_touched {
            worker.evidence(&update).await
        } else {
            String::new()
        };
        if !evidence.is_empty() {
            self.ctx.output.keep_start(&evidence, 64 * 1024);
        }
        if broken.blame == Blame::Image {
            self.remember_bad(container, newer, &broken.why).await?;
            self.failed.insert((newer.image.clone(), newer.digest.clone()));
        }
        if let Err(why) = worker.restore(&update).await {
            let text = format!(
                "{}. It was not put back: {why}. What it was is kept in {}.",
                broken.why,
                self.site.folder.display()
            );
            self.teller
                .tell(News::Broken, container.name(), &update.identity(), text.clone())
                .await?;
            self.note(container, Verdict::Failed { is_transient: false }, text, Some(newer));
            return Ok(());
        }
        if !was_touched {
            let why = format!("{}; nothing was changed", broken.why);
            self.note(container, Verdict::Failed { is_transient: false }, why, Some(newer));
            return Ok(());
        }
        let down = update.stopped_at.map(|at| self.ctx.clock.now().duration_since(at));
        let text = rolled_back(&update, &broken.why, down, &evidence);
        self.teller
            .tell(News::RolledBack, container.name(), &update.identity(), text)
            .await?;
        self.note(container, Verdict::RolledBack, broken.why, Some(newer));
        if let Some(entry) = self.entries.last_mut() {
            entry.down = down;
        }
        Ok(())
    }

    async fn remember_bad(&self, container: &Container, newer: &Newer, why: &str) -> Result<(), Failure> {
        let bad = Bad {
            digest: newer.digest.clone(),
            at: self.ctx.clock.now(),
            why: why.to_owned(),
        };
        let name = container.name().to_owned();
        let remembered = self.site.files.change(move |memory| drop(memory.bad.insert(name, bad)));
        remembered.await.map_err(Failure::lasting)
    }

    /// Removes the images that nothing needs any more, once every container has its new one.
    async fn remove_old_images(&self) {
        for image in self.left.iter().filter(|_| self.job.remove_old_image) {
            let removed = self.site.client.remove_image(image).await;
            let what = match removed {
                Ok(true) => "was removed".to_owned(),
                Ok(false) => "is still needed, or has other names".to_owned(),
                Err(error) => format!("was not removed: {error}"),
            };
            tracing::info!(job = %self.ctx.job, image, "the old image {what}");
        }
    }

    /// The failure of a run that must end before it is through.
    fn cut_off(&self) -> Failure {
        let done = summary(&self.entries);
        Failure {
            done: Some(done.clone()),
            statistics: Some(Box::new(statistics(&self.entries))),
            ..Failure::lasting(format!("it was cut off; {done}"))
        }
    }
}
