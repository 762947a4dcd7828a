//! The kind `duplistatus`: the channels of the application's own settings.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::key_file;
use super::letter::Address;
use crate::duplistatus::channels::{self, Channel};
use crate::store::sqlite::open_read;

/// The keys of `duplistatus`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Application {
    #[serde(default = "yes")]
    pub(crate) ntfy: bool,
    #[serde(default = "yes")]
    pub(crate) email: bool,
}

fn yes() -> bool {
    true
}

impl Application {
    /// The channels, each an address of its own so that one that fails does not repeat the other.
    pub(super) fn addresses(&self, database: &Path) -> Vec<Address> {
        // Where that cannot be told now, the letter waits for it.
        let has_mail = || {
            let connection = open_read(database).ok()?;
            channels::has_mail(&connection, &key_file(database)).ok()
        };
        let email = self.email && has_mail().unwrap_or(true);
        [(self.ntfy, Channel::Ntfy), (email, Channel::Email)]
            .into_iter()
            .filter_map(|(wanted, channel)| wanted.then_some(channel))
            .map(|channel| Address::Application {
                database: database.to_owned(),
                channel,
            })
            .collect()
    }
}
