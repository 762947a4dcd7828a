//! The kind `log`: messages go to the log of this service.

use schemars::JsonSchema;
use serde::Deserialize;

use super::letter::Parcel;

/// The keys of `log`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    #[serde(default)]
    level: Level,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Level {
    #[default]
    Error,
    Warn,
    Info,
}

impl Log {
    pub(super) fn send(&self, parcel: &Parcel<'_>) -> String {
        let message = &parcel.envelope.message;
        let (event, title, text) = (parcel.envelope.event.as_str(), &message.title, &message.text);
        match self.level {
            Level::Error => tracing::error!(id = parcel.id, event, "{title}: {text}"),
            Level::Warn => tracing::warn!(id = parcel.id, event, "{title}: {text}"),
            Level::Info => tracing::info!(id = parcel.id, event, "{title}: {text}"),
        }
        "written to the log".to_owned()
    }
}
