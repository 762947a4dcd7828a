//! The kind `duplistatus`: the channels of the application's own settings.

use std::path::Path;

use serde::Deserialize;

use super::letter::Address;
use crate::duplistatus::channels::Channel;

/// The keys of `duplistatus`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    #[serde(default = "yes")]
    ntfy: bool,
    #[serde(default = "yes")]
    email: bool,
}

fn yes() -> bool {
    true
}

impl Application {
    /// The channels, each an address of its own so that one that fails does not repeat the other.
    pub(super) fn addresses(&self, database: &Path) -> Vec<Address> {
        [(self.ntfy, Channel::Ntfy), (self.email, Channel::Email)]
            .into_iter()
            .filter_map(|(wanted, channel)| wanted.then_some(channel))
            .map(|channel| Address::Application {
                database: database.to_owned(),
                channel,
            })
            .collect()
    }
}
