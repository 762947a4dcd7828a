//! Which build this is.

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from; empty where that is not known.
pub(crate) const COMMIT: &str = env!("DUPLISTATUS_CRON_COMMIT");
/// Both, as `--version` shows them.
pub(crate) const VERSION_AND_COMMIT: &str = env!("DUPLISTATUS_CRON_VERSION");
