//! What may follow a cleanup: fresh statistics for the planner, and pages given back, within the lock budget.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::Interrupt;
use crate::values::Issue;

/// Pages given back at a time.
const STEP: u32 = 50;
/// `auto_vacuum = INCREMENTAL`
const INCREMENTAL: i64 = 2;

/// What is to follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maintenance {
    pub optimize: bool,
    /// How many pages are given back at most.
    pub incremental_vacuum: Option<u32>,
}

impl Maintenance {
    /// What keeps it from having an effect.
    pub(crate) fn issue(self, database: &Connection) -> Option<Issue> {
        let mode: i64 = database
            .pragma_query_value(None, "auto_vacuum", |row| row.get(0))
            .ok()?;
        (self.incremental_vacuum.is_some() && mode != INCREMENTAL).then(|| {
            let why = "it has no effect: the database was not made with PRAGMA auto_vacuum = INCREMENTAL";
            Issue::warning("incremental_vacuum", why)
        })
    }

    /// What of it a server does not do.
    pub(crate) fn issue_on_server(self) -> Option<Issue> {
        let why = "it has no effect: a PostgreSQL server looks after statistics and free pages itself";
        let key = match self {
            Self { optimize: true, .. } => "optimize",
            Self {
                incremental_vacuum: Some(_),
                ..
            } => "incremental_vacuum",
            _ => return None,
        };
        Some(Issue::warning(key, why))
    }

    /// Does it, as far as nobody has to wait; says what was done.
    pub(crate) fn run(self, connection: &Connection, budget: Duration, interrupt: &Interrupt) -> Option<String> {
        let mut said = Vec::new();
        if self.optimize {
            // Samples, not whole tables, so that it is short.
            let done = connection.execute_batch("PRAGMA analysis_limit = 200; PRAGMA optimize");
            said.extend(done.is_ok().then(|| "optimized".to_owned()));
        }
        if let Some(most) = self.incremental_vacuum {
            let freed = give_back(connection, most, budget, interrupt);
            said.push(format!("{freed} pages released"));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }
}

fn give_back(connection: &Connection, most: u32, budget: Duration, interrupt: &Interrupt) -> i64 {
    let free = || {
        connection
            .pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0))
            .unwrap_or(0)
    };
    let before = free();
    let mut left = most;
    let mut at_once = STEP;
    while left > 0 && !interrupt.is_cancelled() {
        let (now, began) = (free(), Instant::now());
        let pages = at_once.min(left);
        // The pragma frees a page for each row it gives.
        let done = connection
            .prepare(&format!("PRAGMA incremental_vacuum({pages})"))
            .and_then(|mut statement| {
                let mut rows = statement.raw_query();
                while rows.next()?.is_some() {}
                Ok(())
            });
        let held = began.elapsed();
        if done.is_err() || free() >= now {
            break;
        }
        left -= pages;
        at_once = if held * 2 > budget {
            (at_once / 2).max(1)
        } else {
            at_once.saturating_mul(2)
        };
        std::thread::sleep(held / 2);
    }
    before - free()
}
