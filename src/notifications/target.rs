//! What every kind of target can do; each has a file of its own here, and the list of them stands in `kinds`.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::Undelivered;
use super::notification::{Address, Delivery, Notification};
use crate::values::{Issue, TargetId};

/// The declared targets.
pub(crate) type Targets = BTreeMap<TargetId, Arc<dyn Target>>;

/// Where messages go.
pub(crate) trait Target: Any + Debug + Send + Sync {
    /// The key it stands under.
    fn name(&self) -> &'static str;

    /// What is wrong with its declaration.
    fn check(&self) -> Vec<Issue> {
        Vec::new()
    }

    /// The addresses that a message to it has; `database` is the application's. It reads nothing.
    fn addresses(&self, id: &TargetId, _database: Option<&Path>) -> Vec<Address> {
        vec![Address::Target(id.clone())]
    }

    /// Sends a message, and gives what the other side said. It may wait.
    fn send(&self, delivery: &Delivery<'_>) -> Result<String, Undelivered>;

    /// Whether it wants to hear of every start and end of a run, not only of news.
    fn is_run_monitor(&self) -> bool {
        false
    }

    fn is_mail(&self) -> bool {
        false
    }

    /// The way it takes, as the application's audit log tells it.
    fn details(&self) -> serde_json::Value {
        serde_json::json!({ "kind": self.name() })
    }

    /// Whether its channels stand in the application's database.
    fn needs_application(&self) -> bool {
        false
    }
}

/// One whose secrets were not kept: messages to it wait.
#[derive(Debug)]
pub(crate) struct Withheld;

impl Target for Withheld {
    fn name(&self) -> &'static str {
        "withheld"
    }

    fn send(&self, _delivery: &Delivery<'_>) -> Result<String, Undelivered> {
        Err(Undelivered::new(
            "its secrets are not kept with the last good configuration; fix the declaration",
        ))
    }
}

/// The addresses that messages to `named` have; the application's settings stand in `database`.
pub(crate) fn addresses<'a>(
    named: impl IntoIterator<Item = &'a TargetId>,
    targets: &Targets,
    database: Option<&Path>,
) -> Vec<Address> {
    let of_target = |id: &TargetId| match targets.get(id) {
        Some(target) => target.addresses(id, database),
        None => vec![Address::Target(id.clone())],
    };
    named.into_iter().flat_map(of_target).collect()
}

/// Why a message cannot be sent to where it is to go.
#[derive(Debug)]
pub(crate) enum NoRoute {
    /// It is not set up any more: nobody waits for the message.
    Nobody,
    /// It cannot be reached.
    Because(String),
}

/// The application that messages can be about: it has channels of its own, and looks for what was delivered.
pub(crate) trait Integration: Debug + Sync {
    /// The way to an address of its own. Reading settings and opening credentials may wait.
    fn route(&self, address: &serde_json::Value) -> Result<Arc<dyn Target>, NoRoute>;

    /// What people call such an address.
    fn name_of(&self, address: &serde_json::Value) -> String;

    /// Notes where the application looks for it that a message was delivered `via` a target.
    fn note_delivery(&self, notification: &Notification, via: Option<&dyn Target>, at: Timestamp)
    -> Result<(), String>;

    /// Tells the application that a message was not delivered, as far as it can be told.
    fn note_failure(&self, notification: &Notification, via: Option<&dyn Target>, error: &str);
}
