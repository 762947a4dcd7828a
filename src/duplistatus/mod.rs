//! What only the application's own database knows: its table of settings and the rows meant for this service.

pub mod elapsed;
pub mod interval;
pub mod settings;
