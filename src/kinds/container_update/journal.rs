//! An update under way, written down before each step that changes anything: whoever finds the file of one that was cut off knows
//! what it was about, and what to look for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::docker::{Address, Container, short};
use crate::values::{JobId, TargetId, blocking, read_json, write_json};

/// The step that is about to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Tagging,
    Creating,
    Stopping,
    Renaming,
    /// The old ones are kept from being started again by the engine.
    Holding,
    Starting,
    Waiting,
    /// The new ones are well: what is left of the old ones goes.
    Done,
}

/// An update of a container, together with those that share a namespace of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Update {
    pub job: JobId,
    /// Where the engine is reached, and what it is known as.
    pub engine: String,
    pub key: String,
    /// The image as it is asked for, and the digest that is brought in.
    pub image: String,
    pub digest: String,
    pub old_image: String,
    pub new_image: String,
    /// What the image's name stood for before.
    pub tagged_before: Option<String>,
    /// The container that is updated first, then those that depend on it, in the order in which they are started.
    pub members: Vec<Member>,
    pub phase: Phase,
    pub healthy_within: Duration,
    pub settle: Duration,
    /// Whom to tell.
    pub notify: Vec<TargetId>,
    pub began_at: Timestamp,
    /// When the first of the old ones was asked to stop.
    pub stopped_at: Option<Timestamp>,
}

/// A container that is replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub name: String,
    /// Everything that the engine told of it.
    pub old: Value,
    /// The id of the one that takes its place, once that is known.
    pub new: Option<String>,
}

impl Member {
    pub(super) fn of(old: &Container) -> Self {
        Self {
            name: old.name().to_owned(),
            old: old.json().clone(),
            new: None,
        }
    }

    pub(super) fn old_id(&self) -> &str {
        self.old["Id"].as_str().unwrap_or_default()
    }

    pub(super) fn was_running(&self) -> bool {
        self.old["State"]["Running"] == true
    }

    /// What the new one is called at first.
    pub(super) fn new_name(&self) -> String {
        format!("{}_new_{}", self.name, short(self.old_id()))
    }

    /// What the old one is called once the new one has its name.
    pub(super) fn old_name(&self) -> String {
        format!("{}_old_{}", self.name, short(self.old_id()))
    }
}

/// The name of the container whose update has given this one, where only an update gives such names.
pub(super) fn given_by_an_update_of(name: &str) -> Option<&str> {
    let of = |word: &str| {
        let (of, id) = name.rsplit_once(word)?;
        (id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit())).then_some(of)
    };
    of("_new_").or_else(|| of("_old_"))
}

impl Update {
    /// Whether it is about a container of this name, or one that depends on it is.
    pub(super) fn involves(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name)
    }

    /// The name of the container that it is about.
    pub(super) fn name(&self) -> &str {
        self.members.first().map_or("", |member| member.name.as_str())
    }

    pub(super) fn address(&self) -> Result<Address, String> {
        self.engine.parse()
    }

    /// Where it is written down.
    pub(super) fn file(&self, folder: &Path) -> PathBuf {
        let id = self.members.first().map_or("", Member::old_id);
        folder.join("updates").join(format!("{}.json", short(id)))
    }

    /// Writes down what is about to be done, for good.
    ///
    /// # Errors
    /// That it cannot be written: then nothing may be done.
    pub(super) async fn enter(&mut self, phase: Phase, folder: &Path) -> Result<(), String> {
        let before = std::mem::replace(&mut self.phase, phase);
        let (path, now) = (self.file(folder), self.clone());
        let written = blocking(move || write_json(&path, &now)).await;
        if written.is_err() {
            self.phase = before;
        }
        written
    }

    /// Forgets an update that is over.
    pub(super) async fn close(&self, folder: &Path) -> Result<(), String> {
        let path = self.file(folder);
        let gone = blocking(move || match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(format!("{} cannot be removed: {error}", path.display()))
            }
            _ => Ok(()),
        });
        gone.await
    }

    /// Puts the file of one that nothing can be done about where nobody takes it up again; gives where.
    pub(super) async fn give_up(&self, folder: &Path) -> Result<PathBuf, String> {
        let path = self.file(folder);
        let aside = crate::values::beside(&path, ".lost");
        let to = aside.clone();
        blocking(move || std::fs::rename(&path, &to))
            .await
            .map_err(|error| error.to_string())?;
        Ok(aside)
    }
}

/// The updates that were not closed; and what is wrong with those that cannot be read.
pub(super) async fn open_updates(folder: &Path) -> (Vec<Update>, Vec<String>) {
    let folder = folder.join("updates");
    let read = move || {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return (found, problems),
            Err(error) => return (found, vec![format!("{} cannot be read: {error}", folder.display())]),
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            match read_json::<Update>(&path) {
                // It was closed just now.
                Ok(None) => {}
                Ok(Some(update)) if update.members.is_empty() => {
                    problems.push(format!("{} tells of no container", path.display()));
                }
                Ok(Some(update)) => found.push(update),
                Err(why) => problems.push(format!(
                    "an update that was cut off cannot be continued, as {} cannot be read: {why}; see to its container, then remove the file",
                    path.display()
                )),
            }
        }
        (found, problems)
    };
    blocking(read).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_updates_are_known() {
        for (name, expected) in [
            ("web_new_0123456789ab", Some("web")),
            ("web_old_0123456789ab", Some("web")),
            ("web_new_x", None),
            ("web_old_0123456789abc", None),
            ("brand_new_world", None),
        ] {
            assert_eq!(given_by_an_update_of(name), expected, "{name}");
        }
    }
}
