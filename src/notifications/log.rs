//! The kind `log`: messages go to the log of this service.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Delivery, Target, Undelivered};

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

impl Target for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn send(&self, delivery: &Delivery<'_>) -> Result<String, Undelivered> {
        let message = &delivery.notification.message;
        let (event, title, text) = (delivery.notification.event.as_str(), &message.title, &message.text);
        match self.level {
            Level::Error => tracing::error!(id = delivery.id, event, "{title}: {text}"),
            Level::Warn => tracing::warn!(id = delivery.id, event, "{title}: {text}"),
            Level::Info => tracing::info!(id = delivery.id, event, "{title}: {text}"),
        }
        Ok("written to the log".to_owned())
    }
}
