//! Updates that were cut off: each is finished or undone, by the step that was written down and by what is there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::FOLDER;
use super::journal::{Member, Phase, Update, open_updates};
use super::memory::Files;
use super::messages::{News, Teller, not_put_back, put_back, updated};
use super::worker::{Blame, Broken, Worker};
use crate::docker::{Client, Container, Turns};
use crate::notifications::Targets;
use crate::state::Store;
use crate::values::{CancellationToken, Clock};

/// How often to look for updates that are still cut off, where there are some, and where there are none.
const SOON: Duration = Duration::from_secs(15);
const LATER: Duration = Duration::from_secs(30);

/// What a start takes up updates with.
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    pub store: Store,
    pub clock: Clock,
    pub turns: Turns,
    pub targets: Arc<Targets>,
    pub cancel: CancellationToken,
}

/// What is to become of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Forwards,
    Back,
    /// It is done but for what is left of the old containers.
    Finish,
    /// Neither the old container nor the new one is there.
    Lost,
}

/// A container's two selves, as far as they are there.
struct Found {
    old: Option<Container>,
    new: Option<Container>,
}

/// Takes up what was cut off, by the end of an earlier process or because an engine did not answer, until the service ends.
pub(crate) async fn recover(recovery: Recovery) {
    let folder = recovery.store.folder_beside(FOLDER);
    loop {
        let pause = match recovery.take_up(&folder, None).await {
            Ok(()) => LATER,
            Err(why) => {
                tracing::warn!(
                    "updates of containers are still cut off, and are looked at again in {} s: {why}",
                    SOON.as_secs()
                );
                SOON
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = recovery.cancel.end_is_near() => return,
        }
    }
}

impl Recovery {
    /// Takes up the updates that were cut off: all, or those of the engine that is known as `key` and whose turn the caller
    /// has.
    ///
    /// # Errors
    /// Which of them could not be settled.
    pub(super) async fn take_up(&self, folder: &Path, of: Option<(&str, &Client)>) -> Result<(), String> {
        let (updates, mut failed) = open_updates(folder).await;
        for update in updates {
            if of.is_some_and(|(key, _)| key != update.key) {
                continue;
            }
            let settled = match of {
                Some((_, client)) => self.settle(folder, update, client).await,
                None => self.take_up_in_turn(folder, update).await,
            };
            failed.extend(settled.err());
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed.join("; "))
        }
    }

    async fn take_up_in_turn(&self, folder: &Path, update: Update) -> Result<(), String> {
        let _turn = tokio::select! {
            turn = self.turns.take(&update.key) => turn,
            () = self.cancel.end_is_near() => return Ok(()),
        };
        // A run may have gone on with it, or have ended it, while this waited for its turn.
        let (updates, _) = open_updates(folder).await;
        let now = updates.into_iter().find(|now| now.file(folder) == update.file(folder));
        let Some(update) = now else { return Ok(()) };
        let client = Client::connect(&update.address()?).await;
        let client = client.map_err(|error| format!("{}: {error}", update.name()))?;
        self.settle(folder, update, &client).await
    }

    async fn settle(&self, folder: &Path, update: Update, client: &Client) -> Result<(), String> {
        let (name, identity) = (update.name().to_owned(), update.clone());
        let worker = Worker {
            client,
            folder,
            clock: &self.clock,
            cancel: &self.cancel,
        };
        let Err(broken) = self.settle_with(&worker, update).await else {
            return Ok(());
        };
        if broken.blame != Blame::Moment {
            let text = not_put_back(&identity, &broken.why, folder);
            self.tell(&identity, News::Broken, text).await?;
        }
        Err(format!("{name}: {}", broken.why))
    }

    async fn settle_with(&self, worker: &Worker<'_>, mut update: Update) -> Result<(), Broken> {
        let mut found = Vec::new();
        for member in &mut update.members {
            let old = worker.client.find(member.old_id()).await?;
            let new = worker.find_new(member).await?;
            member.new = new.as_ref().map(|new| new.id().to_owned());
            found.push(Found { old, new });
        }
        let (way, name) = (way(update.phase, &found), update.name().to_owned());
        tracing::info!(job = %update.job, container = name, "an update was cut off ({:?}): {}", update.phase, way.in_words());
        match way {
            Way::Finish => {
                self.tell_updated(&update).await?;
                worker.finish(&update).await
            }
            Way::Forwards => self.go_on(worker, update, &found).await,
            Way::Back => {
                let why = "it was cut off";
                self.go_back(worker, &update, Broken::by_the_moment(why)).await
            }
            Way::Lost => {
                let kept = update.give_up(worker.folder).await?;
                let text = format!(
                    "Neither the old container {name} nor the new one is there any more: somebody has removed them. What the engine told of the old one is kept in {}.",
                    kept.display()
                );
                tracing::error!(container = name, "{text}");
                Ok(self.tell(&update, News::Broken, text).await?)
            }
        }
    }

    async fn go_on(&self, worker: &Worker<'_>, mut update: Update, found: &[Found]) -> Result<(), Broken> {
        let gone_on = async {
            for (member, Found { old, new }) in update.members.iter().zip(found) {
                self.take_places(worker, member, old.as_ref(), new.as_ref()).await?;
            }
            worker.start_all(&mut update).await
        };
        let gone_on = gone_on.await;
        let has_a_way_back = found.iter().all(|found| found.old.is_some());
        match gone_on {
            // How long it was down cannot be told apart from how long the service was.
            Ok(_) => {
                update.enter(Phase::Done, worker.folder).await?;
                self.tell_updated(&update).await?;
                worker.finish(&update).await
            }
            Err(broken) if has_a_way_back => self.go_back(worker, &update, broken).await,
            Err(broken) if broken.blame == Blame::Moment => Err(broken),
            Err(broken) => {
                let kept = update.give_up(worker.folder).await?;
                let text = format!(
                    "{}. There is no way back, as somebody has removed the old container. What the engine told of it is kept in {}.",
                    broken.why,
                    kept.display()
                );
                Ok(self.tell(&update, News::Broken, text).await?)
            }
        }
    }

    /// Sees to the names and restart policies of an update that goes on.
    async fn take_places(
        &self,
        worker: &Worker<'_>,
        member: &Member,
        old: Option<&Container>,
        new: Option<&Container>,
    ) -> Result<(), Broken> {
        if let Some(old) = old {
            if old.name() == member.name {
                worker.client.rename(old.id(), &member.old_name()).await?;
            }
            worker.hold(old.json()).await?;
        }
        if let Some(new) = new.filter(|new| new.name() != member.name) {
            worker.client.rename(new.id(), &member.name).await?;
        }
        Ok(())
    }

    async fn go_back(&self, worker: &Worker<'_>, update: &Update, broken: Broken) -> Result<(), Broken> {
        let evidence = worker.evidence(update).await;
        let ended = worker.restore(update).await?;
        let name = update.name();
        if broken.blame == Blame::Image {
            let files = Files::of(worker.folder, &update.key);
            files
                .remember_bad(name, &update.digest, self.clock.now(), &broken.why)
                .await?;
        }
        tracing::warn!(job = %update.job, container = name, "the old container is back: {}", broken.why);
        if update.phase >= Phase::Stopping {
            let (news, text) = put_back(update, &broken, ended, None, &evidence);
            self.tell(update, news, text).await?;
        }
        Ok(update.close(worker.folder).await?)
    }

    async fn tell_updated(&self, update: &Update) -> Result<(), String> {
        tracing::info!(job = %update.job, container = update.name(), "updated");
        self.tell(update, News::Updated, updated(update, None, SignedDuration::ZERO))
            .await
    }

    async fn tell(&self, update: &Update, news: News, text: String) -> Result<(), String> {
        let teller = Teller {
            job: update.job.clone(),
            notify: update.notify.clone(),
            targets: Arc::clone(&self.targets),
            store: self.store.clone(),
            clock: self.clock.clone(),
        };
        let told = teller.tell(news, update.name(), &update.identity(), text).await;
        told.map_err(|error| error.message)
    }
}

impl Way {
    fn in_words(self) -> &'static str {
        match self {
            Self::Forwards => "it goes on",
            Self::Back => "the old container is put back",
            Self::Finish => "what is left of the old container is removed",
            Self::Lost => "the container is gone",
        }
    }
}

fn way(phase: Phase, found: &[Found]) -> Way {
    let all_new = found.iter().all(|found| found.new.is_some());
    let is_lost = found.iter().any(|found| found.old.is_none() && found.new.is_none());
    let is_old_gone = found.iter().any(|found| found.old.is_none());
    let runs = |container: &Option<Container>| container.as_ref().is_some_and(Container::is_running);
    let old_runs = found.iter().any(|found| runs(&found.old));
    let new_runs = found.first().is_some_and(|first| runs(&first.new));
    match phase {
        // It was well, and that was told: whoever removed it since then meant to.
        Phase::Done => Way::Finish,
        _ if is_lost => Way::Lost,
        _ if is_old_gone => Way::Forwards,
        Phase::Starting | Phase::Waiting if all_new && new_runs && !old_runs => Way::Forwards,
        _ => Way::Back,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(is_running: bool, has_started: bool) -> Option<Container> {
        let started = if has_started {
            "2026-11-22T05:16:36Z"
        } else {
            "0001-01-01T00:00:00Z"
        };
        let found = json!({ "Id": "a", "Name": "/a", "Image": "i", "State": { "Running": is_running, "StartedAt": started }, "Config": {}, "HostConfig": {} });
        Container::kept(&found)
    }

    #[test]
    fn an_update_goes_on_or_back_by_its_step_and_by_what_is_there() {
        let runs = || container(true, true);
        let stopped = || container(false, true);
        let fresh = || container(false, false);
        for (phase, old, new, expected) in [
            (Phase::Tagging, runs(), None, Way::Back),
            (Phase::Creating, runs(), fresh(), Way::Back),
            (Phase::Stopping, stopped(), fresh(), Way::Back),
            (Phase::Starting, stopped(), fresh(), Way::Back),
            (Phase::Starting, stopped(), runs(), Way::Forwards),
            (Phase::Waiting, stopped(), runs(), Way::Forwards),
            (Phase::Waiting, stopped(), stopped(), Way::Back),
            (Phase::Waiting, runs(), runs(), Way::Back),
            (Phase::Waiting, stopped(), None, Way::Back),
            (Phase::Done, stopped(), runs(), Way::Finish),
            (Phase::Done, None, runs(), Way::Finish),
            (Phase::Done, stopped(), None, Way::Finish),
            (Phase::Creating, None, fresh(), Way::Forwards),
            (Phase::Waiting, None, None, Way::Lost),
        ] {
            let label = format!("{phase:?} {} {}", old.is_some(), new.is_some());
            assert_eq!(way(phase, &[Found { old, new }]), expected, "{label}");
        }
    }
}
