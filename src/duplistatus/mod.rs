//! What only the application's own database knows: its table of settings and the rows meant for this service.

pub mod backups;
pub mod dates;
pub mod elapsed;
pub mod expectation;
pub mod interval;
pub mod overdue;
pub mod settings;
