//! What the service itself was started with, as far as programs may have it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::values::{Redactor, Secret};

/// The variables that programs inherit, and the secrets that nothing they print may show.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    pub variables: BTreeMap<String, String>,
    pub redactor: Redactor,
}

impl Surroundings {
    /// Of the variables of this process, without those that hold `secrets`, or may.
    pub(crate) fn new<'a>(
        variables: impl IntoIterator<Item = (&'a String, &'a String)>,
        held: &BTreeSet<String>,
        secrets: &[Secret],
    ) -> Self {
        let is_inherited = |name: &str| {
            // What the service manager has told the service, the service's own token, and what may set any value of the declaration.
            let is_managers = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].contains(&name);
            let is_ours = is_managers || name == "CRON_TOKEN" || (name.starts_with("CRON_") && name.contains("__"));
            !is_ours && !held.contains(name)
        };
        let inherited = variables.into_iter().filter(|(name, _)| is_inherited(name));
        Self {
            variables: inherited.map(|(name, value)| (name.clone(), value.clone())).collect(),
            redactor: Redactor::new(secrets.iter().map(Secret::reveal)),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets that the service does not know of.
        f.debug_list().entries(self.variables.keys()).finish()
    }
}
