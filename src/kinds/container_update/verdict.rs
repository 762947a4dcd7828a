//! What became of the containers of a run, and what that makes of the run.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::run::{Failure, Report};
use crate::values::first_of;

/// How many containers are named.
const NAMED: usize = 5;

/// What became of a container, and why.
pub(super) struct Entry {
    pub name: String,
    pub image: String,
    pub verdict: Verdict,
    pub why: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub down: Option<SignedDuration>,
}

/// What became of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Current,
    Found,
    Pulled,
    Updated,
    Held,
    Blocked,
    Bad,
    Skipped,
    /// Nobody knows whether there is anything newer; perhaps the next time.
    Undecided {
        is_transient: bool,
    },
    RolledBack,
    Failed {
        is_transient: bool,
    },
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Found => "found",
            Self::Pulled => "pulled",
            Self::Updated => "updated",
            Self::Held => "held",
            Self::Blocked => "blocked",
            Self::Bad => "bad",
            Self::Skipped => "skipped",
            Self::Undecided { .. } => "undecided",
            Self::RolledBack => "rolled back",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether the run has failed with it.
    pub(super) fn is_failure(self) -> bool {
        matches!(self, Self::Undecided { .. } | Self::RolledBack | Self::Failed { .. })
    }

    fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Undecided { is_transient: true } | Self::Failed { is_transient: true }
        )
    }
}

/// What a run has to say: it has failed where a container has.
pub(super) fn report(entries: &[Entry], warnings: Vec<String>) -> Result<Report, Failure> {
    let failures: Vec<String> = entries
        .iter()
        .filter(|entry| entry.verdict.is_failure())
        .map(|entry| format!("{}: {}: {}", entry.name, entry.verdict.word(), entry.why))
        .collect();
    let (summary, statistics) = (summary(entries), statistics(entries));
    if failures.is_empty() {
        return Ok(Report {
            message: summary,
            statistics: Some(statistics),
            warnings,
        });
    }
    // What was done stays in the history of this run: another attempt would not tell of it.
    let has_changed = entries
        .iter()
        .any(|entry| matches!(entry.verdict, Verdict::Updated | Verdict::RolledBack));
    let may_pass = !has_changed
        && entries
            .iter()
            .filter(|entry| entry.verdict.is_failure())
            .all(|entry| entry.verdict.may_pass());
    let message = if failures.len() == entries.len() {
        failures.join("; ")
    } else {
        format!("{}; in all: {summary}", failures.join("; "))
    };
    Err(Failure {
        is_transient: may_pass,
        done: Some(summary),
        statistics: Some(Box::new(statistics)),
        ..Failure::lasting(message)
    })
}

/// What became of all containers, in a sentence.
pub(super) fn summary(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "no container is selected".to_owned();
    }
    let mut parts: Vec<String> = Vec::new();
    let mut words: Vec<&str> = entries.iter().map(|entry| entry.verdict.word()).collect();
    words.sort_unstable();
    words.dedup();
    for word in words {
        let of_word = entries.iter().filter(|entry| entry.verdict.word() == word);
        let names: Vec<&str> = of_word.map(|entry| entry.name.as_str()).collect();
        parts.push(format!("{} {word} ({})", names.len(), first_of(&names, NAMED)));
    }
    parts.join(", ")
}

pub(super) fn statistics(entries: &[Entry]) -> Value {
    let count = |is_it: fn(Verdict) -> bool| entries.iter().filter(|entry| is_it(entry.verdict)).count();
    let containers: Vec<Value> = entries
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name, "image": entry.image, "result": entry.verdict.word(), "reason": entry.why,
                "from": entry.from, "to": entry.to, "downtime_ms": entry.down.map(|down| u64::try_from(down.as_millis()).unwrap_or(0)),
            })
        })
        .collect();
    json!({
        "checked": count(|verdict| verdict != Verdict::Skipped),
        "updated": count(|verdict| verdict == Verdict::Updated),
        "rolled_back": count(|verdict| verdict == Verdict::RolledBack),
        "skipped": count(|verdict| matches!(verdict, Verdict::Skipped | Verdict::Held | Verdict::Blocked | Verdict::Bad)),
        "failed": count(|verdict| matches!(verdict, Verdict::Failed { .. } | Verdict::Undecided { .. })),
        "containers": containers,
    })
}
