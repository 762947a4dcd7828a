//! Why a run does not take place.

const MISSED: &str = "missed";
const OVERLAP: &str = "overlap";
const REPLACED: &str = "replaced";
const STOPPED: &str = "stopped";
const CANCELLED: &str = "cancelled";

/// Why a run does not take place: one word of a closed list, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub reason: &'static str,
    pub why: String,
}

impl Skip {
    /// Every reason there is.
    pub(crate) const REASONS: [&str; 5] = [MISSED, OVERLAP, REPLACED, STOPPED, CANCELLED];

    /// Its time came while the service was down or held up.
    pub(crate) fn missed(why: impl Into<String>) -> Self {
        Self::new(MISSED, why)
    }

    /// Other runs of its job are in the way.
    pub(crate) fn overlap(why: impl Into<String>) -> Self {
        Self::new(OVERLAP, why)
    }

    /// A newer run takes its place.
    pub(crate) fn replaced() -> Self {
        Self::new(REPLACED, "it was replaced by a newer run")
    }

    /// Its job was stopped or changed, so that it is in no schedule any more.
    pub(crate) fn unwanted() -> Self {
        Self::stopped("the job was stopped or changed while the run was queued")
    }

    /// Its job was stopped or changed.
    pub(crate) fn stopped(why: impl Into<String>) -> Self {
        Self::new(STOPPED, why)
    }

    /// Somebody has cancelled it.
    pub(crate) fn cancelled(why: impl Into<String>) -> Self {
        Self::new(CANCELLED, why)
    }

    fn new(reason: &'static str, why: impl Into<String>) -> Self {
        Self {
            reason,
            why: why.into(),
        }
    }
}
