//! Why a run does not take place.

/// Why a run does not take place: one word of a closed list, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub reason: &'static str,
    pub why: String,
}

impl Skip {
    /// Every reason there is.
    pub(crate) const REASONS: [&str; 5] = ["missed", "overlap", "replaced", "stopped", "cancelled"];

    /// Its time came while the service was down or held up.
    pub(crate) fn missed(why: impl Into<String>) -> Self {
        Self::new(0, why)
    }

    /// Other runs of its job are in the way.
    pub(crate) fn overlap(why: impl Into<String>) -> Self {
        Self::new(1, why)
    }

    /// A newer run takes its place.
    pub(crate) fn replaced() -> Self {
        Self::new(2, "it was replaced by a newer run")
    }

    /// Its job was stopped or changed.
    pub(crate) fn stopped(why: impl Into<String>) -> Self {
        Self::new(3, why)
    }

    /// Somebody has cancelled it.
    pub(crate) fn cancelled(why: impl Into<String>) -> Self {
        Self::new(4, why)
    }

    fn new(reason: usize, why: impl Into<String>) -> Self {
        Self {
            reason: Self::REASONS[reason],
            why: why.into(),
        }
    }
}
