//! Databases: how any SQLite file is opened, and the service's own state in one of them.
//! What the application's tables mean is left to `duplistatus`, what jobs do with them to `actions`.

pub(crate) mod alerts;
mod depth;
pub(crate) mod findings;
mod history;
pub(crate) mod last_good;
mod ledger;
mod letter;
pub(crate) mod marks;
pub(crate) mod outbox;
mod progress;
mod run;
mod schema;
pub(crate) mod sqlite;
mod state;

pub use history::{Filter, History};
pub(crate) use ledger::{Ended, MOST_CLEARED, Telling};
pub(crate) use run::{Finish, LastRun, NewRun};
pub use run::{Run, RunId, Status, Trigger};
pub(crate) use state::State;
