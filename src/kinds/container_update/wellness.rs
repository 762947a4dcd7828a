//! Whether a container is well: its health check says so, or it runs for a while without one.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::worker::{Broken, Worker};
use crate::docker::{Container, Health};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the engine may be away meanwhile.
const AWAY: Duration = Duration::from_mins(1);

/// What is seen of a container that has begun.
enum Look {
    Well,
    NotYet,
    Sick(String),
}

impl Worker<'_> {
    /// Waits until the container with this id is well: healthy within its time, or running for `settle`; gives what it is then.
    ///
    /// # Errors
    /// That it is not, or that nobody knows, as the run is to end or the engine does not answer.
    pub(super) async fn wait_until_well(
        &self,
        id: &str,
        healthy_within: Duration,
        settle: Duration,
    ) -> Result<Container, Broken> {
        let began = Instant::now();
        let mut last_seen = began;
        let mut first: Option<Container> = None;
        loop {
            let found = match self.client.container(id).await {
                Ok(found) => found,
                // An engine that is restarted comes back.
                Err(error) if error.is_transient && last_seen.elapsed() < AWAY && !self.cancel.is_ending() => {
                    sleep(LOOK).await;
                    continue;
                }
                Err(error) => return Err(Broken::by_the_moment(error.message)),
            };
            last_seen = Instant::now();
            let first = first.get_or_insert_with(|| found.clone());
            match look(first, &found, began.elapsed(), settle) {
                Look::Well => return Ok(found),
                Look::Sick(why) => return Err(Broken::by_the_image(why)),
                Look::NotYet => {}
            }
            let within = found.decides_within().unwrap_or_default().max(healthy_within);
            if found.health() == Health::Starting && began.elapsed() >= within {
                let why = format!("it was not healthy within {} s", within.as_secs());
                return Err(Broken::by_the_image(why));
            }
            // Without a health check, there is nothing to wait for but the end of `settle`.
            let until_settled = settle.saturating_sub(began.elapsed());
            let pause = if found.health() == Health::Unchecked {
                until_settled.min(LOOK)
            } else {
                LOOK
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.cancel.end_is_near() => return Err(Broken::by_the_moment("the run had to end before the new container was known to be well")),
            }
        }
    }
}

fn look(first: &Container, found: &Container, since: Duration, settle: Duration) -> Look {
    let sick = |why: String| Look::Sick(why);
    if found.restarts() > 0 || found.status() == "restarting" || found.started_at() != first.started_at() {
        return sick(format!(
            "it ended with exit code {} and was restarted",
            found.exit_code()
        ));
    }
    if !found.is_running() {
        let why = if found.error().is_empty() {
            String::new()
        } else {
            format!(" ({})", found.error())
        };
        return sick(format!("it ended with exit code {}{why}", found.exit_code()));
    }
    match found.health() {
        Health::Healthy => Look::Well,
        Health::Unhealthy => sick("its health check says that it is unhealthy".to_owned()),
        Health::Unchecked if since >= settle => Look::Well,
        Health::Starting | Health::Unchecked => Look::NotYet,
    }
}
