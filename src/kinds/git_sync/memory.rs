//! What is remembered of a job between its runs: which commit its files show, and which one was deployed. It stands in a file
//! beside the copy of the repository, so that `plan` can read it while the service runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::git::ObjectName;
use crate::values::{read_json, write_json};

/// Written before each step that it speaks of, and on the disk before the step begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// Where the files are, and how: what is remembered holds for them only.
    pub place: String,
    /// The commit whose files are being written, where that was not the end of it.
    pub publishing: Option<ObjectName>,
    /// The commit that the files show.
    pub published: Option<ObjectName>,
    /// What a deployment has made of files in place, as digests.
    pub edited: BTreeMap<String, String>,
    /// The releases that are kept, the newest last.
    pub releases: Vec<ObjectName>,
    /// The last deployment that went well.
    pub deployed: Option<Deployed>,
    /// Commits that were rolled back and are not tried again, the newest last; that one may still have to be.
    pub rejected: Vec<Rejected>,
    /// A commit that has failed.
    pub failing: Option<Failing>,
}

/// What a deployment is of: two of the same content do the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Content {
    /// What each declared path is.
    pub paths: BTreeMap<String, String>,
    /// What `deploy` is, as a digest.
    pub declaration: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Deployed {
    pub commit: ObjectName,
    pub content: Content,
    /// The newest commit that is known to differ in nothing that matters.
    pub same_as: ObjectName,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rejected {
    pub commit: ObjectName,
    pub content: Content,
    /// Why.
    pub message: String,
    /// Whether the commit before it runs again.
    pub is_rolled_back: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Failing {
    pub commit: ObjectName,
    pub content: Content,
    pub times: u32,
    /// Why, the last time.
    pub message: String,
    /// When it is tried again; at the next run, where nothing is said.
    pub not_before: Option<Timestamp>,
}

/// The files that the service keeps of a job.
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The name that tells this folder from others.
    pub(super) fn name(&self) -> String {
        let name = self.folder.file_name();
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What is remembered of the job; nothing where it is of other files.
    ///
    /// # Errors
    /// That it cannot be read.
    pub(super) fn recall(&self, place: &str) -> Result<Memory, String> {
        let path = self.path("memory.json");
        let unreadable = |why: String| {
            format!(
                "{}: {why}; without this file, everything is deployed again",
                path.display()
            )
        };
        let kept: Option<Memory> = read_json(&path).map_err(unreadable)?;
        let of_this_place = kept.filter(|memory| memory.place == place);
        Ok(of_this_place.unwrap_or_else(|| Memory::of(place)))
    }

    /// Remembers, for good.
    pub(super) fn remember(&self, memory: &Memory) -> Result<(), String> {
        write_json(&self.path("memory.json"), memory)
    }
}

/// So many rejected commits are remembered.
const MOST_REJECTED: usize = 50;

impl Memory {
    /// The commit that is still to be rolled back.
    pub(super) fn pending(&self) -> Option<&Rejected> {
        self.rejected.last().filter(|rejected| !rejected.is_rolled_back)
    }

    /// Remembers one that is to be rolled back, or was: in the place of what was known of it.
    pub(super) fn reject(&mut self, rejected: Rejected) {
        self.rejected
            .retain(|known| known.is_rolled_back && known.content != rejected.content);
        self.rejected.push(rejected);
        let surplus = self.rejected.len().saturating_sub(MOST_REJECTED);
        self.rejected.drain(..surplus);
    }

    fn of(place: &str) -> Self {
        Self {
            place: place.to_owned(),
            ..Self::default()
        }
    }
}
