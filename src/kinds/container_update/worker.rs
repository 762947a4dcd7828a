//! What an update works with, and what becomes of one that goes wrong.

use std::path::Path;

use crate::docker::{Client, DockerError};
use crate::values::{CancellationToken, Clock};

/// What an update works with.
pub(super) struct Worker<'a> {
    pub client: &'a Client,
    /// The service's own folder.
    pub folder: &'a Path,
    pub clock: &'a Clock,
    pub cancel: &'a CancellationToken,
}

/// Why an update was not finished.
#[derive(Debug)]
pub(super) struct Broken {
    pub why: String,
    pub blame: Blame,
}

/// What an update was not finished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The new container is not well.
    Image,
    /// Something that has nothing to do with the image.
    Circumstances,
}

impl Broken {
    pub(super) fn by_circumstances(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            blame: Blame::Circumstances,
        }
    }
}

impl From<DockerError> for Broken {
    fn from(error: DockerError) -> Self {
        Self::by_circumstances(error.message)
    }
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self::by_circumstances(why)
    }
}

/// How a step is told that went wrong.
pub(super) fn step(what: &str, error: &DockerError) -> Broken {
    Broken::by_circumstances(format!("{what}: {error}"))
}
