//! Small types that check themselves where they are born, so that nothing after them has to look again.
//! They know no other part of the program.

mod duration;
mod id;
mod instant;
mod parameter;
mod pattern;
mod schedule;
mod secret;
mod table_name;
mod template;
mod time_zone;

pub use duration::Duration;
pub use id::{DatabaseId, ExpectationId, GroupId, JobId, TargetId};
pub use instant::iso;
pub use parameter::{CutoffFormat, Parameter};
pub use pattern::Pattern;
pub use schedule::Schedule;
pub use secret::Secret;
pub use table_name::TableName;
pub use template::Template;
pub use time_zone::TimeZone;

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
use deserialize_from_text;
