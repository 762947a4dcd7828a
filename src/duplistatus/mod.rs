//! What only the application's own database knows: its table of settings and the rows meant for this service.

pub mod audit;
pub mod backups;
pub mod channels;
pub mod dates;
pub mod declared;
pub mod due;
pub mod elapsed;
pub mod expectation;
pub mod frequency;
pub mod interval;
pub mod message;
pub mod overdue;
mod secrets;
pub mod settings;
pub mod stamps;
pub mod survey;
