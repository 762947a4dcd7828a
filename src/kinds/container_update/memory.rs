//! What is remembered of an engine between runs: since when a digest is known, and which ones were not well. It stands in a file
//! beside the state, so that `plan` can read it while the service runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::values::{blocking, digest, lock, read_json, write_json};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// The newest digest of each image, by its name.
    pub seen: BTreeMap<String, Seen>,
    /// The digest that names the same content as an image, by the image's id.
    pub same: BTreeMap<String, String>,
    /// What was rolled back, by the name of the container.
    pub bad: BTreeMap<String, Bad>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub digest: String,
    pub first: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Bad {
    pub digest: String,
    pub at: Timestamp,
    pub why: String,
}

/// The files that are kept of an engine.
#[derive(Clone, Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    /// Those of the engine that is known as `key`, below the service's own folder.
    pub(super) fn of(folder: &Path, key: &str) -> Self {
        Self(folder.join(&digest(key)[..16]))
    }

    fn path(&self) -> PathBuf {
        self.0.join("memory.json")
    }

    /// What is remembered; nothing where nothing is.
    ///
    /// # Errors
    /// That it cannot be read.
    pub(super) async fn recall(&self) -> Result<Memory, String> {
        let path = self.path();
        blocking(move || read(&path)).await
    }

    /// Remembers that an image was not well in a container.
    ///
    /// # Errors
    /// As of [`Files::change`].
    pub(super) async fn remember_bad(
        &self,
        container: &str,
        digest: &str,
        at: Timestamp,
        why: &str,
    ) -> Result<(), String> {
        let bad = Bad {
            digest: digest.to_owned(),
            at,
            why: why.to_owned(),
        };
        let container = container.to_owned();
        self.change(move |memory| drop(memory.bad.insert(container, bad))).await
    }

    /// Changes what is remembered, for good.
    ///
    /// # Errors
    /// That it cannot be read, or written.
    pub(super) async fn change(&self, change: impl FnOnce(&mut Memory) + Send + 'static) -> Result<(), String> {
        // Several jobs may work with one engine.
        static CHANGING: Mutex<()> = Mutex::new(());
        let path = self.path();
        blocking(move || {
            let _turn = lock(&CHANGING);
            let before = read(&path)?;
            let mut memory = before.clone();
            change(&mut memory);
            if memory == before {
                return Ok(());
            }
            write_json(&path, &memory)
        })
        .await
    }
}

fn read(path: &Path) -> Result<Memory, String> {
    let unreadable = |why: String| {
        let path = path.display();
        format!("{path}: {why}; without this file, every digest is new, and none is known to be bad")
    };
    read_json(path).map(Option::unwrap_or_default).map_err(unreadable)
}
