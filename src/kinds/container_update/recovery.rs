//! Updates that were cut off: each is finished or undone, by the step that was written down and by what is there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::journal::{Member, Phase, Update, open_updates};
use super::memory::{Bad, Files};
use super::messages::{News, Teller, from_to};
use super::own_folder;
use super::swap::in_words;
use super::worker::{Blame, Broken, Worker};
use crate::docker::{Client, Container, Turns};
use crate::notifications::Targets;
use crate::state::Store;
use crate::values::{CancellationToken, Clock, later};

/// How long to wait for an engine that does not answer.
const PAUSE: Duration = Duration::from_secs(15);

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

/// Takes up what an earlier process left, and goes on until nothing is left or the service ends.
pub(crate) async fn recover(recovery: Recovery) {
    let folder = own_folder(&recovery.store);
    while let Err(why) = recovery.take_up(&folder, None).await {
        tracing::warn!(
            "an update of a container is still cut off, and is taken up again in {} s: {why}",
            PAUSE.as_secs()
        );
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = recovery.cancel.end_is_near() => return,
        }
    }
}

impl Recovery {
    /// Takes up the updates that were cut off: all, or those of the engine that is known as `key`, whose turn the caller
    /// has.
    ///
    /// # Errors
    /// Which of them could not be settled.
    pub(super) async fn take_up(&self, folder: &Path, key: Option<&str>) -> Result<(), String> {
        let mut failed = Vec::new();
        for update in open_updates(folder).await? {
            if key.is_some_and(|key| key != update.key) {
                continue;
            }
            let _turn = match key {
                Some(_) => None,
                None => Some(self.turns.take(&update.key).await),
            };
            // A run may have settled it while this waited for its turn.
            let is_open = open_updates(folder)
                .await?
                .iter()
                .any(|open| open.members[0].old_id() == update.members[0].old_id());
            let name = update.name().to_owned();
            if is_open && let Err(why) = self.settle(folder, update).await {
                failed.push(format!("{name}: {why}"));
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed.join("; "))
        }
    }

    async fn settle(&self, folder: &Path, mut update: Update) -> Result<(), String> {
        let client = Client::connect(&update.address()?)
            .await
            .map_err(|error| error.message)?;
        let worker = Worker {
            client: &client,
            folder,
            clock: &self.clock,
            cancel: &self.cancel,
        };
        let mut found = Vec::new();
        for member in &mut update.members {
            let old = client.find(member.old_id()).await.map_err(|error| error.message)?;
            let new = worker.find_new(member).await.map_err(|error| error.message)?;
            member.new = new.as_ref().map(|new| new.id().to_owned());
            found.push(Found { old, new });
        }
        let name = update.name().to_owned();
        let way = way(update.phase, &found);
        tracing::info!(
            container = name,
            "an update was cut off ({:?}); it goes {way:?}",
            update.phase
        );
        match way {
            Way::Finish => {
                self.tell_updated(&update, SignedDuration::ZERO).await?;
                worker.finish(&update).await.map_err(|broken| broken.why)
            }
            Way::Forwards => self.go_on(&worker, update, &found).await,
            Way::Back => {
                let why = "the service ended in the midst of it".to_owned();
                self.go_back(
                    &worker,
                    &update,
                    Broken {
                        why,
                        blame: Blame::Circumstances,
                    },
                )
                .await
            }
            Way::Lost => {
                let kept = update.give_up(folder).await?;
                let text = format!(
                    "Neither the old container {name} nor the new one is there any more: somebody has removed them while the service was down. What the container was is kept in {}.",
                    kept.display()
                );
                tracing::error!(container = name, "{text}");
                self.tell(&update, News::Broken, text).await
            }
        }
    }

    async fn go_on(&self, worker: &Worker<'_>, mut update: Update, found: &[Found]) -> Result<(), String> {
        let gone_on = async {
            for (member, Found { old, new }) in update.members.iter().zip(found) {
                self.take_places(worker, member, old.as_ref(), new.as_ref()).await?;
            }
            worker.start_all(&mut update).await
        };
        match gone_on.await {
            Ok(_) => {
                // How long it was down cannot be told apart from how long the service was.
                update.enter(Phase::Done, worker.folder).await?;
                self.tell_updated(&update, SignedDuration::ZERO).await?;
                worker.finish(&update).await.map_err(|broken| broken.why)
            }
            Err(broken) if found.iter().all(|found| found.old.is_some()) => self.go_back(worker, &update, broken).await,
            Err(broken) => Err(broken.why),
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

    async fn go_back(&self, worker: &Worker<'_>, update: &Update, broken: Broken) -> Result<(), String> {
        let evidence = worker.evidence(update).await;
        let was_touched = update.phase >= Phase::Stopping;
        if broken.blame == Blame::Image {
            self.remember_bad(worker.folder, update, &broken.why).await?;
        }
        worker.restore(update).await?;
        let name = update.name();
        if !was_touched {
            tracing::info!(
                container = name,
                "an update was undone that had not touched the container: {}",
                broken.why
            );
            return Ok(());
        }
        tracing::warn!(container = name, "rolled back: {}", broken.why);
        let text = rolled_back(update, &broken.why, None, &evidence);
        self.tell(update, News::RolledBack, text).await
    }

    async fn remember_bad(&self, folder: &Path, update: &Update, why: &str) -> Result<(), String> {
        let bad = Bad {
            digest: update.digest.clone(),
            at: self.clock.now(),
            why: why.to_owned(),
        };
        let name = update.name().to_owned();
        let files = Files::of(folder, &update.key);
        files.change(move |memory| drop(memory.bad.insert(name, bad))).await
    }

    async fn tell_updated(&self, update: &Update, down: SignedDuration) -> Result<(), String> {
        tracing::info!(container = update.name(), "updated");
        self.tell(update, News::Updated, updated(update, None, down)).await
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

impl Update {
    /// Tells it from every other one.
    pub(super) fn identity(&self) -> String {
        format!("{} {}", self.digest, later(self.began_at, SignedDuration::ZERO))
    }
}

/// What is told of an update.
pub(super) fn updated(update: &Update, from: Option<&str>, down: SignedDuration) -> String {
    let others: Vec<&str> = update
        .members
        .iter()
        .skip(1)
        .map(|member| member.name.as_str())
        .collect();
    let others = if others.is_empty() {
        String::new()
    } else {
        format!("\nMade anew with it: {}.", others.join(", "))
    };
    let down = if down.is_zero() {
        String::new()
    } else {
        format!("\nIt was down for {}.", in_words(down))
    };
    format!("{}{down}{others}", from_to(&update.image, from, &update.digest))
}

/// What is told of one that was rolled back.
pub(super) fn rolled_back(update: &Update, why: &str, down: Option<SignedDuration>, evidence: &str) -> String {
    let down = down.map_or_else(String::new, |down| format!("\nIt was down for {}.", in_words(down)));
    let evidence = if evidence.is_empty() {
        String::new()
    } else {
        format!("\n\n{}", evidence.trim_end())
    };
    format!(
        "{}\n{why}. The container runs on its old image again.{down}{evidence}",
        from_to(&update.image, None, &update.digest)
    )
}

fn way(phase: Phase, found: &[Found]) -> Way {
    let all_new = found.iter().all(|found| found.new.is_some());
    let is_lost = found.iter().any(|found| found.old.is_none() && found.new.is_none());
    let is_old_gone = found.iter().any(|found| found.old.is_none());
    let runs = |container: &Option<Container>| container.as_ref().is_some_and(Container::is_running);
    let old_runs = found.iter().any(|found| runs(&found.old));
    let has_begun = found
        .first()
        .and_then(|found| found.new.as_ref())
        .is_some_and(Container::has_started);
    match phase {
        _ if is_lost => Way::Lost,
        Phase::Done if all_new => Way::Finish,
        _ if is_old_gone => Way::Forwards,
        Phase::Starting | Phase::Waiting if all_new && has_begun && !old_runs => Way::Forwards,
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
            (Phase::Waiting, stopped(), stopped(), Way::Forwards),
            (Phase::Waiting, runs(), runs(), Way::Back),
            (Phase::Waiting, stopped(), None, Way::Back),
            (Phase::Done, stopped(), runs(), Way::Finish),
            (Phase::Done, None, runs(), Way::Finish),
            (Phase::Done, stopped(), None, Way::Back),
            (Phase::Creating, None, fresh(), Way::Forwards),
            (Phase::Waiting, None, None, Way::Lost),
        ] {
            let label = format!("{phase:?} {} {}", old.is_some(), new.is_some());
            assert_eq!(way(phase, &[Found { old, new }]), expected, "{label}");
        }
    }
}
