//! The replacement of one container within a run, and what is remembered and told of its end.

use jiff::SignedDuration;
use serde_json::Value;

use super::journal::{Phase, Update};
use super::messages::{News, in_words, not_put_back, put_back, updated};
use super::preparation::Prepared;
use super::round::{Round, turn};
use super::standing::{Newer, Wait};
use super::verdict::Verdict;
use super::worker::{Blame, Broken, Worker};
use crate::docker::Container;
use crate::run::Failure;
use crate::values::Redactor;

/// How much is kept of what a container said that was not well, in bytes.
const MOST_EVIDENCE: usize = 64 * 1024;

impl Round<'_> {
    /// Updates a container, which may have changed since it was looked at.
    pub(super) async fn update(
        &mut self,
        container: &Container,
        newer: &Newer,
        new_image: &Value,
    ) -> Result<(), Failure> {
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
        // Another job may have found out meanwhile.
        let memory = self.site.files.recall().await.map_err(Failure::lasting)?;
        if let Some(Wait::Bad(why)) = newer.wait(self.job, &now, &memory, self.ctx.clock.now()) {
            self.note(&now, Verdict::Bad, why, Some(newer));
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
        tracing::info!(job = %self.ctx.job, container = container.name(), "updating: {}", newer.change());
        let done = async {
            worker.create(&mut update, prepared).await?;
            let down = worker.swap(&mut update).await?;
            update.enter(Phase::Done, worker.folder).await?;
            Ok::<_, Broken>(down)
        };
        match done.await {
            Ok(down) => self.updated(&worker, container, newer, (update, down)).await,
            Err(broken) => {
                let is_cut_off = broken.blame == Blame::Moment && self.ctx.cancel.is_ending();
                self.broken(&worker, container, newer, (update, broken)).await?;
                if is_cut_off { Err(self.cut_off()) } else { Ok(()) }
            }
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
            why = format!("{why}; {}; it will be removed later", broken.why);
        }
        self.left.insert(update.old_image.clone());
        if let Err(failed) = self.restart_followers(container, &update).await {
            why = format!("{why}; {failed}");
        }
        self.note(container, Verdict::Updated, why, Some(newer));
        if let Some(entry) = self.entries.last_mut() {
            entry.down = Some(down);
        }
        Ok(())
    }

    /// Restarts what the compose file says restarts with a container.
    async fn restart_followers(&self, container: &Container, update: &Update) -> Result<(), String> {
        let followers = self
            .site
            .restarting_with(container)
            .await
            .map_err(|error| error.message)?;
        let mut failed = Vec::new();
        for follower in followers {
            // Those that were recreated have just begun.
            let is_new = update.members.iter().any(|member| member.name == follower.name());
            if !is_new && let Err(error) = self.site.client.restart(&follower).await {
                failed.push(format!("{} was not restarted with it: {error}", follower.name()));
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed.join("; "))
        }
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
        let restored = worker.restore(&update).await;
        let why = Redactor::new(container.secrets()).redact(&broken.why);
        let broken = Broken { why, ..broken };
        let is_transient = broken.blame == Blame::Moment;
        if !evidence.is_empty() {
            self.ctx.output.keep_start(&evidence, MOST_EVIDENCE);
        }
        let ended = match restored {
            Ok(ended) => ended,
            Err(failed) => return self.left_broken(container, newer, &update, (broken, failed)).await,
        };
        if broken.blame == Blame::Image {
            self.failed.insert(newer.key());
            let now = self.ctx.clock.now();
            let remembered = self
                .site
                .files
                .remember_bad(container.name(), &newer.digest, now, &broken.why);
            remembered.await.map_err(Failure::lasting)?;
        }
        if !was_touched {
            let why = format!("{}; nothing was changed", broken.why);
            self.note(container, Verdict::Failed { is_transient }, why, Some(newer));
            return update.close(worker.folder).await.map_err(Failure::lasting);
        }
        let down = update.stopped_at.map(|at| self.ctx.clock.now().duration_since(at));
        let (news, text) = put_back(&update, &broken, ended.clone(), down, &evidence);
        self.teller
            .tell(news, container.name(), &update.identity(), text)
            .await?;
        update.close(worker.folder).await.map_err(Failure::lasting)?;
        let why = ended.map_or(broken.why.clone(), |ended| format!("{}; {ended}", broken.why));
        self.note(container, Verdict::RolledBack, why, Some(newer));
        if let Some(entry) = self.entries.last_mut() {
            entry.down = down;
        }
        Ok(())
    }

    /// Tells of an update that could not be put back.
    async fn left_broken(
        &mut self,
        container: &Container,
        newer: &Newer,
        update: &Update,
        (broken, failed): (Broken, Broken),
    ) -> Result<(), Failure> {
        let why = format!("{}; {}", broken.why, failed.why);
        let text = not_put_back(update, &why, &self.site.folder);
        self.teller
            .tell(News::Broken, container.name(), &update.identity(), text)
            .await?;
        self.note(container, Verdict::Failed { is_transient: false }, why, Some(newer));
        Ok(())
    }
}
