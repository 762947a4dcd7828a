//! What a message says.

use serde::{Deserialize, Serialize};

/// A message, ready to be sent by any channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub title: String,
    pub text: String,
    /// Its priority, as ntfy names it.
    pub priority: String,
    /// Its tags, as ntfy takes them.
    pub tags: String,
}

impl Message {
    pub(crate) fn new(title: impl Into<String>, text: impl Into<String>, priority: &str, tags: &str) -> Self {
        Self {
            title: title.into(),
            text: text.into(),
            priority: priority.to_owned(),
            tags: tags.to_owned(),
        }
    }
}
