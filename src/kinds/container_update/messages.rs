//! What is told of containers: a newer image, an update, one that was kept out, one that was rolled back; each once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::journal::Update;
use super::worker::{Blame, Broken};
use crate::docker::short;
use crate::notifications::{About, Event, Message, Notification, Targets, addresses};
use crate::state::{NewMessage, StateError, Store};
use crate::values::{Clock, JobId, TargetId, iso};

/// Whom to tell, and of which job.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    pub job: JobId,
    pub notify: Vec<TargetId>,
    pub targets: Arc<Targets>,
    pub store: Store,
    pub clock: Clock,
}

/// What is told of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Found,
    Updated,
    Blocked,
    /// The new image was not well.
    RolledBack,
    /// The update was undone, and is tried again.
    Undone,
    /// What nobody could put back.
    Broken,
}

impl News {
    fn word(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Updated => "updated",
            Self::Blocked => "blocked",
            Self::RolledBack => "rolled back",
            Self::Undone => "undone",
            Self::Broken => "broken",
        }
    }

    fn message(self, name: &str, text: String) -> Message {
        let (what, priority, tags) = match self {
            Self::Found => ("a newer image", "default", "package"),
            Self::Updated => ("updated", "default", "white_check_mark"),
            Self::Blocked => ("update blocked", "high", "no_entry"),
            Self::RolledBack => ("update rolled back", "high", "warning"),
            Self::Undone => (
                "update undone, to be tried again",
                "default",
                "leftwards_arrow_with_hook",
            ),
            Self::Broken => ("update failed and could not be undone", "urgent", "rotating_light"),
        };
        Message::new(format!("{name}: {what}"), text, priority, tags)
    }

    fn event(self) -> Event {
        match self {
            Self::Found => Event::Found,
            Self::Updated => Event::Succeeded,
            Self::Blocked | Self::RolledBack | Self::Undone | Self::Broken => Event::Failed,
        }
    }
}

impl Teller {
    /// Tells something of a container, once: `of` is what makes it the same as what was told before.
    ///
    /// # Errors
    /// That it cannot be written down.
    pub(super) async fn tell(&self, news: News, name: &str, of: &str, text: String) -> Result<(), StateError> {
        let subject = format!("container {} {name} {}", self.job, news.word());
        let message = news.message(name, text);
        let row = |address| {
            let notification = Notification {
                address,
                event: news.event(),
                about: About::Job(self.job.clone()),
                message: message.clone(),
            };
            notification.to_row(&subject, of)
        };
        let messages: Vec<NewMessage> = addresses(&self.notify, &self.targets, None)
            .into_iter()
            .filter_map(row)
            .collect();
        self.store.post(messages, self.clock.moment()).await
    }
}

/// From which digest to which, for people.
pub(super) fn from_to(image: &str, from: Option<&str>, to: &str) -> String {
    let from = from.map_or_else(String::new, |from| format!("{} → ", short(from)));
    format!("{image}: {from}{}", short(to))
}

impl Update {
    /// Tells it from every other one.
    pub(super) fn identity(&self) -> String {
        format!("{} {}", self.digest, iso(self.began_at))
    }
}

fn for_so_long(down: Option<SignedDuration>) -> String {
    let down = down.filter(|down| !down.is_zero());
    down.map_or_else(String::new, |down| format!("\nIt was down for {}.", in_words(down)))
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
        format!("\nRecreated with it: {}.", others.join(", "))
    };
    let down = for_so_long(Some(down));
    format!("{}{down}{others}", from_to(&update.image, from, &update.digest))
}

/// What is told of one that was put back; `ended` is what is wrong with the old containers.
pub(super) fn put_back(
    update: &Update,
    broken: &Broken,
    ended: Option<String>,
    down: Option<SignedDuration>,
    evidence: &str,
) -> (News, String) {
    let evidence = match evidence.trim_end() {
        "" => String::new(),
        evidence => format!("\n\n{evidence}"),
    };
    let is_to_blame = broken.blame != Blame::Moment;
    let again = if is_to_blame {
        ""
    } else {
        " The image is not to blame, and is tried again."
    };
    let (change, why) = (from_to(&update.image, None, &update.digest), &broken.why);
    let Some(ended) = ended else {
        let news = if is_to_blame { News::RolledBack } else { News::Undone };
        let down = for_so_long(down);
        let said = format!("{change}\n{why}.\nThe container runs on its old image again.{again}{down}{evidence}");
        return (news, said);
    };
    let said = format!("{change}\n{why}.\nEverything is back in its place, but {ended}.{evidence}");
    (News::Broken, said)
}

/// What is told of one that could not be put back.
pub(super) fn not_put_back(update: &Update, why: &str, folder: &Path) -> String {
    let (change, kept) = (from_to(&update.image, None, &update.digest), update.file(folder));
    format!(
        "{change}\nIt was not put back: {why}.\nIt is tried again; what the engine told of the container is kept in {}.",
        kept.display()
    )
}

/// A time in words, for people.
pub(super) fn in_words(time: SignedDuration) -> String {
    let time = Duration::try_from(time).unwrap_or_default();
    if time >= Duration::from_secs(100) {
        format!("{} min", time.as_secs().div_ceil(60))
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
