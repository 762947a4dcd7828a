//! The kinds of targets a declaration can name: a closed list, one file for each with its keys, its rules and how
//! it is reached. A new kind is a file here, a variant and an arm of [`Target`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Undelivered;
use super::application::Application;
use super::email::Email;
use super::healthchecks::Healthchecks;
use super::letter::Parcel;
use super::log::Log;
use super::ntfy::Ntfy;
use super::webhook::Webhook;
use crate::values::TargetId;

/// The declared targets.
pub(crate) type Targets = BTreeMap<TargetId, Target>;

/// Where messages go: exactly one kind, named by the key it stands under.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The log of this service.
    Log(Log),
    /// A topic of an ntfy server.
    Ntfy(Ntfy),
    /// Mail.
    Email(Email),
    /// A JSON document, posted to an address.
    Webhook(Webhook),
    /// The pings of a dead man's switch, as Healthchecks takes them.
    Healthchecks(Healthchecks),
    /// The channels of the application's own settings.
    Duplistatus(Application),
    /// One whose secrets were not kept: messages to it wait.
    #[serde(skip)]
    Withheld,
}

impl Target {
    /// The keys a kind can stand under, as the declaration writes them.
    pub(crate) const KINDS: &[&str] = &["log", "ntfy", "email", "webhook", "healthchecks", "duplistatus"];
    /// The keys whose value may be `{ env = "NAME" }` or `{ file = "path" }`; below `headers`, every key.
    pub(crate) const SECRETS: &[&str] = &["url", "token", "username", "password", "secret", "headers"];

    /// The keys, whatever the kind, whose value is no secret; every other is hidden.
    pub(crate) const HARMLESS: &[&str] = &[
        "topic",
        "priority",
        "tags",
        "host",
        "port",
        "protection",
        "accept_invalid_certificates",
        "from",
        "to",
        "level",
        "email",
        "ntfy",
    ];

    /// The key it stands under.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Ntfy(_) => "ntfy",
            Self::Email(_) => "email",
            Self::Webhook(_) => "webhook",
            Self::Healthchecks(_) => "healthchecks",
            Self::Duplistatus(_) => "duplistatus",
            Self::Withheld => "withheld",
        }
    }

    /// What is wrong with its declaration, by the key at fault.
    pub(crate) fn flaws(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Log(_) | Self::Duplistatus(_) | Self::Withheld => Vec::new(),
            Self::Ntfy(ntfy) => ntfy.flaws(),
            Self::Email(email) => email.flaws(),
            Self::Webhook(webhook) => webhook.flaws(),
            Self::Healthchecks(healthchecks) => healthchecks.flaws(),
        }
    }

    /// Sends a message, and gives what the other side said.
    pub(super) fn send(&self, parcel: &Parcel<'_>) -> Result<String, Undelivered> {
        match self {
            Self::Log(log) => Ok(log.send(parcel)),
            Self::Ntfy(ntfy) => ntfy.send(parcel),
            Self::Email(email) => email.send(parcel),
            Self::Webhook(webhook) => webhook.send(parcel),
            Self::Healthchecks(healthchecks) => healthchecks.send(parcel),
            Self::Withheld => Err(Undelivered::new(
                "its secrets are not kept with the last good configuration; mend the declaration",
            )),
            Self::Duplistatus(_) => Err(Undelivered::new("the application's channels are addressed one by one")),
        }
    }

    /// Whether it wants to hear of every start and end of a run, not only of news.
    pub(super) fn hears_every_run(&self) -> bool {
        matches!(self, Self::Healthchecks(_))
    }
}
