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
    /// The engine was not reached, or the run had to end.
    Moment,
    /// Something that has nothing to do with the image, and stays so.
    Circumstances,
}

impl Broken {
    pub(super) fn by_the_image(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            blame: Blame::Image,
        }
    }

    pub(super) fn by_the_moment(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            blame: Blame::Moment,
        }
    }

    /// The same, with what it is about.
    pub(super) fn of(self, what: &str) -> Self {
        Self {
            why: format!("{what}: {}", self.why),
            ..self
        }
    }
}

impl From<DockerError> for Broken {
    fn from(error: DockerError) -> Self {
        let blame = if error.is_transient {
            Blame::Moment
        } else {
            Blame::Circumstances
        };
        Self {
            why: error.message,
            blame,
        }
    }
}

impl From<String> for Broken {
    fn from(why: String) -> Self {
        Self {
            why,
            blame: Blame::Circumstances,
        }
    }
}

/// A step that went wrong, with what it was.
pub(super) fn step(what: &str, error: DockerError) -> Broken {
    Broken::from(error).of(what)
}
