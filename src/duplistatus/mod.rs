//! What only the application's own database knows: its table of settings and the rows meant for this service.

pub(crate) mod audit;
pub(crate) mod backups;
pub(crate) mod channels;
pub(crate) mod dates;
pub(crate) mod declared;
pub(crate) mod due;
pub(crate) mod elapsed;
pub(crate) mod expectation;
pub(crate) mod frequency;
pub(crate) mod interval;
pub(crate) mod message;
pub(crate) mod overdue;
mod secrets;
pub(crate) mod settings;
pub(crate) mod stamps;
pub(crate) mod survey;
