//! Small types that check themselves where they are born, so that nothing after them has to look again; and what every
//! part needs: clocks, threads, files.
//! They know no other part of the program.

mod blocking;
mod cancellation;
mod clock;
mod counters;
mod deadline;
mod duration;
mod file;
mod host;
mod id;
mod instant;
mod issue;
mod lock;
mod memory;
mod parameter;
mod pattern;
mod plural;
mod progress;
mod redaction;
mod schedule;
mod secret;
mod severity;
mod signature;
mod size;
mod suggest;
mod table_name;
mod template;
mod threads;
mod time_zone;
mod version;

pub(crate) use blocking::blocking;
pub(crate) use cancellation::{CancelReason, CancellationToken};
pub use clock::Clock;
pub(crate) use clock::Moment;
pub(crate) use counters::{Histogram, counters};
pub(crate) use deadline::{Deadline, awake_and_asleep};
pub(crate) use duration::{Duration, spread};
pub(crate) use file::{
    beside, identity, read_file, read_json, read_text, read_text_in_time, within_patience, within_patience_of,
    write_json,
};
pub(crate) use host::is_this_machine;
pub use id::JobId;
pub(crate) use id::{DatabaseId, EngineId, ExpectationId, GroupId, TargetId};
pub(crate) use instant::{iso, later, write_iso};
pub(crate) use issue::Issue;
pub(crate) use lock::lock;
pub(crate) use memory::{give_back, share as share_memory};
pub(crate) use parameter::{CutoffFormat, Parameter};
pub(crate) use pattern::Pattern;
pub(crate) use plural::{first_of, plural};
pub(crate) use progress::Progress;
pub(crate) use redaction::{Redactor, redact, secrets_of_address, secrets_of_login};
pub use schedule::Schedule;
pub(crate) use secret::{Secret, SecretSource, read_secret, reading_secrets, sounds_secret};
pub use severity::Severity;
pub(crate) use signature::{digest, signature};
pub(crate) use size::Size;
pub(crate) use suggest::{nearest, with_suggestion};
pub(crate) use table_name::TableName;
pub(crate) use template::Template;
pub(crate) use threads::Threads;
pub use time_zone::TimeZone;
pub(crate) use version::{COMMIT, VERSION, VERSION_AND_COMMIT};

/// Implements `Deserialize` from text by `FromStr`, so that a bad value is refused with its own words.
macro_rules! deserialize_from_text {
    ($type:ty) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use deserialize_from_text;

/// Implements `JsonSchema` for a type that is written as a text.
macro_rules! schema_of_text {
    ($type:ty, $description:literal) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $description })
            }
        }
    };
}
pub(crate) use schema_of_text;
