//! Databases: how any SQLite file is opened, and the service's own state in one of them.
//! What the application's tables mean is left to `duplistatus`, what jobs do with them to `actions`.

pub mod alerts;
mod depth;
pub mod findings;
mod history;
pub mod last_good;
mod ledger;
mod letter;
pub mod marks;
pub mod outbox;
mod progress;
mod run;
mod schema;
pub mod sqlite;
mod state;

pub use history::{Filter, History};
pub use ledger::{Ended, MOST_CLEARED, Telling};
pub use run::{Finish, LastRun, NewRun, Run, RunId, Status, Trigger};
pub use state::State;
