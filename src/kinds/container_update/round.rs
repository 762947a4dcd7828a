//! A run: every container of the job is looked at, one after the other, and brought as far as the job says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::journal::open_updates;
use super::memory::Seen;
use super::messages::{News, Teller};
use super::recovery::Recovery;
use super::registry::{Registry, Unanswered};
use super::standing::{Newer, Standing, Wait, is_same_content, is_same_platform, platform_of};
use super::survey::Site;
use super::verdict::{Entry, Verdict, report, statistics, summary};
use super::verification::Subject;
use super::{ContainerUpdate, Extent};
use crate::docker::{Container, DockerError, Reference};
use crate::run::{Failure, Report, RunContext};
use crate::values::CancelReason;

/// A run at work, whose `replacement` of containers stands in a file of its own.
pub(super) struct Round<'a> {
    pub job: &'a ContainerUpdate,
    pub ctx: &'a RunContext,
    pub site: &'a Site,
    pub registry: Registry,
    pub teller: Teller,
    pub entries: Vec<Entry>,
    /// What was pulled.
    pub pulled: BTreeMap<(Reference, String), Value>,
    /// The images that were rolled back: no other container gets them in this run.
    pub failed: BTreeSet<(Reference, String)>,
    /// The images that containers had before.
    pub left: BTreeSet<String>,
}

/// Does the work of a run.
pub(super) async fn run(job: &ContainerUpdate, ctx: &RunContext) -> Result<Report, Failure> {
    let site = Site::reach(job, ctx).await?;
    finish_what_was_cut_off(&site, ctx).await?;
    let survey = site.survey(job).await?;
    let mut round = Round {
        job,
        ctx,
        site: &site,
        registry: Registry::new(survey.images(), &site.credentials, ctx).await?,
        teller: Teller {
            job: ctx.job.clone(),
            notify: job.notify.clone(),
            targets: Arc::clone(&ctx.targets),
            store: ctx.store.clone(),
            clock: ctx.clock.clone(),
        },
        entries: Vec::new(),
        pulled: BTreeMap::new(),
        failed: BTreeSet::new(),
        left: BTreeSet::new(),
    };
    for (container, refusal) in &survey.chosen {
        if ctx.cancel.is_ending() {
            return Err(round.cut_off());
        }
        if let Some(why) = refusal {
            round.note(container, Verdict::Skipped, why.clone(), None);
            continue;
        }
        let Err(failure) = round.look_at(container).await else {
            continue;
        };
        if ctx.cancel.is_ending() {
            return Err(round.cut_off());
        }
        let is_transient = failure.is_transient;
        round.note(container, Verdict::Failed { is_transient }, failure.message, None);
        if is_transient {
            // The engine does not answer: the others would not get any further.
            break;
        }
    }
    round.remove_old_images().await;
    if !round.teller.notify.is_empty() {
        // What is left is delivered in the background.
        let _ = ctx.deliver(false).await;
    }
    report(&round.entries, survey.warnings)
}

/// Has updates that were cut off finished before anything is looked at.
async fn finish_what_was_cut_off(site: &Site, ctx: &RunContext) -> Result<(), Failure> {
    let (updates, _) = open_updates(&site.folder).await;
    if !updates.iter().any(|update| update.key == site.key) {
        return Ok(());
    }
    let recovery = Recovery {
        store: ctx.store.clone(),
        clock: ctx.clock.clone(),
        turns: ctx.turns.clone(),
        targets: Arc::clone(&ctx.targets),
        cancel: ctx.cancel.clone(),
    };
    let _turn = turn(site, ctx).await?;
    if let Err(why) = recovery.take_up(&site.folder, Some((&site.key, &site.client))).await {
        // Other containers have nothing to do with it.
        tracing::warn!(job = %ctx.job, "{why}");
    }
    Ok(())
}

/// Waits until nobody else changes anything on the engine.
pub(super) async fn turn(site: &Site, ctx: &RunContext) -> Result<OwnedMutexGuard<()>, Failure> {
    if let Some(turn) = ctx.turns.try_take(&site.key) {
        return Ok(turn);
    }
    tracing::info!(job = %ctx.job, "waiting for another update on the same engine");
    tokio::select! {
        turn = ctx.turns.take(&site.key) => Ok(turn),
        () = ctx.cancel.end_is_near() => Err(Failure::before_it_began("it was still waiting for another update on the same engine")),
    }
}

impl Round<'_> {
    pub(super) fn note(&mut self, container: &Container, verdict: Verdict, why: String, newer: Option<&Newer>) {
        let (name, image) = (container.name().to_owned(), container.asked_image().to_owned());
        let said = if why.is_empty() {
            verdict.word().to_owned()
        } else {
            format!("{}: {why}", verdict.word())
        };
        if verdict.is_failure() {
            tracing::warn!(job = %self.ctx.job, container = name, "{said}");
        } else {
            tracing::info!(job = %self.ctx.job, container = name, "{said}");
        }
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
        let standing = self.site.standing(container, &mut self.registry, &memory, now).await?;
        let newer = match standing {
            Standing::Newer(newer) => Ok(*newer),
            Standing::Current => Err((Verdict::Current, String::new())),
            Standing::Skipped(why) => Err((Verdict::Skipped, why)),
            Standing::Undecided(Unanswered { why, is_transient }) => Err((Verdict::Undecided { is_transient }, why)),
        };
        let newer = match newer {
            Ok(newer) => newer,
            Err((verdict, why)) => {
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
            if verdict == Verdict::Bad {
                self.failed.insert(newer.key());
            }
            self.note(container, verdict, why, Some(&newer));
            return Ok(());
        }
        if self.job.action == Extent::Tell {
            let change = newer.change();
            let text = format!("{change}, {}.", newer.since());
            self.tell(News::Found, container, &newer, text).await?;
            self.note(container, Verdict::Found, change, Some(&newer));
            return Ok(());
        }
        if self.failed.contains(&newer.key()) {
            let why = "another container was rolled back from the same image".to_owned();
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
            let change = newer.change();
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
        let (image, digest, first) = (newer.image.to_string(), newer.digest.clone(), newer.first);
        let seen = Seen { digest, first };
        let remembered = self
            .site
            .files
            .change(move |memory| drop(memory.seen.insert(image, seen)));
        remembered.await.map_err(Failure::lasting)
    }

    /// Pulls the newer image; gives it where it is another one than the container has, and fits.
    async fn pull(&mut self, container: &Container, newer: &Newer) -> Result<Option<Value>, Failure> {
        let image = match self.pulled(newer).await? {
            Ok(image) => image,
            Err(Unanswered { why, is_transient }) => {
                self.note(container, Verdict::Undecided { is_transient }, why, Some(newer));
                return Ok(None);
            }
        };
        if is_same_content(&image, &newer.old_image) {
            let (id, digest) = (container.image().to_owned(), newer.digest.clone());
            let remembered = self
                .site
                .files
                .change(move |memory| drop(memory.same.insert(id, digest)));
            remembered.await.map_err(Failure::lasting)?;
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

    /// The image that a digest names, pulled once in a run.
    async fn pulled(&mut self, newer: &Newer) -> Result<Result<Value, Unanswered>, Failure> {
        let key = newer.key();
        if let Some(image) = self.pulled.get(&key) {
            return Ok(Ok(image.clone()));
        }
        if let Some(refused) = self.registry.refusal(&newer.image) {
            return Ok(Err(refused));
        }
        let login = self.registry.login(&newer.image).map_err(Failure::lasting)?;
        let header = login.as_ref().map(|login| login.header.reveal());
        let platform = newer.platform.as_deref();
        let pulled = tokio::select! {
            pulled = self.site.client.pull(&newer.image, &newer.digest, (header, platform)) => pulled,
            () = self.ctx.cancel.end_is_near() => return Err(self.cut_off()),
        };
        Ok(match pulled {
            Ok(image) => {
                self.pulled.insert(key, image.clone());
                Ok(image)
            }
            Err(error) => {
                let what = format!("{} was not pulled", newer.image);
                Err(self.registry.explain(&what, &newer.image, &error, login.as_ref()))
            }
        })
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
        let change = newer.change();
        // Another reason is news.
        let of = format!("{} {why}", newer.digest);
        let text = format!("{change}\n{why}.");
        self.teller.tell(News::Blocked, container.name(), &of, text).await?;
        self.note(container, Verdict::Blocked, why, Some(newer));
        Ok(true)
    }

    /// Removes the images that nothing needs any more, once every container has its new one.
    async fn remove_old_images(&self) {
        for image in self.left.iter().filter(|_| self.job.remove_old_image) {
            let removed = self.remove_unless_needed(image).await;
            let what = match removed {
                Ok(true) => "was removed".to_owned(),
                Ok(false) => "is still needed, or has other names".to_owned(),
                Err(error) => format!("was not removed: {error}"),
            };
            tracing::info!(job = %self.ctx.job, image, "the old image {what}");
        }
    }

    /// Removes an image that no name and no container needs; gives whether it did.
    async fn remove_unless_needed(&self, image: &str) -> Result<bool, DockerError> {
        let Some(found) = self.site.client.image(image).await? else {
            return Ok(false);
        };
        let has_names = found["RepoTags"].as_array().is_some_and(|names| !names.is_empty());
        // A name and a digest of one repository are one to the engine, which would take both.
        if has_names {
            Ok(false)
        } else {
            self.site.client.remove_image(image).await
        }
    }

    /// The failure of a run that must end before it is through.
    pub(super) fn cut_off(&self) -> Failure {
        if self.ctx.cancel.is_cut_short() {
            // It is not for the job's sake that it ends.
            self.ctx.cancel.cancel(CancelReason::Shutdown);
        }
        let done = summary(&self.entries);
        Failure {
            done: Some(done.clone()),
            statistics: Some(Box::new(statistics(&self.entries))),
            ..Failure::lasting(format!("it was cut off; {done}"))
        }
    }
}
