//! What is told of containers: a newer image, an update, one that was kept out, one that was rolled back; each once.

use std::sync::Arc;

use crate::docker::short;
use crate::notifications::{About, Event, Message, Notification, Targets, addresses};
use crate::state::{NewMessage, StateError, Store};
use crate::values::{Clock, JobId, TargetId};

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
    RolledBack,
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
            Self::Broken => "broken",
        }
    }

    fn message(self, name: &str, text: String) -> Message {
        let (title, priority, tags) = match self {
            Self::Found => (format!("{name}: a newer image"), "default", "package"),
            Self::Updated => (format!("{name}: updated"), "default", "white_check_mark"),
            Self::Blocked => (format!("{name}: an update was kept out"), "high", "no_entry"),
            Self::RolledBack => (format!("{name}: an update was rolled back"), "high", "warning"),
            Self::Broken => (format!("{name}: an update needs a look"), "urgent", "rotating_light"),
        };
        Message::new(title, text, priority, tags)
    }

    fn event(self) -> Event {
        match self {
            Self::Found => Event::Found,
            Self::Updated => Event::Succeeded,
            Self::Blocked | Self::RolledBack | Self::Broken => Event::Failed,
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
