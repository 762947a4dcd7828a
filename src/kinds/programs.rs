//! What kinds share that run programs: a thread that waits for them, and the way to ask them to end with the run.

use crate::process::{self, Asked};
use crate::run::{Failure, RunContext};

/// How long ending a program takes that does not end when it is killed, and taking in what others still print.
pub(super) const AFTER_THE_KILL: std::time::Duration = std::time::Duration::from_secs(20);

/// Does `work` on a thread that may wait; the programs that it runs are asked to end when the run is to end.
pub(super) async fn with_programs<G: Clone + Send + 'static, T: Send + 'static>(
    ctx: &RunContext,
    given: &G,
    work: impl FnOnce(&G, &RunContext, &Asked) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    with_programs_until(ctx, given, std::future::pending(), work).await
}

/// The same; they are asked to end once `end` is over as well.
pub(super) async fn with_programs_until<G: Clone + Send + 'static, T: Send + 'static>(
    ctx: &RunContext,
    given: &G,
    end: impl Future<Output = ()> + Send,
    work: impl FnOnce(&G, &RunContext, &Asked) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (ask, asked) = process::asking().map_err(|error| Failure::lasting(error.to_string()))?;
    let mut done = std::pin::pin!(ctx.blocking(given, move |given, ctx| work(given, ctx, &asked)));
    tokio::select! {
        done = &mut done => return done,
        () = ctx.cancel.cancelled() => ask.for_the_end(),
        () = end => ask.for_the_end(),
    }
    tokio::select! {
        done = &mut done => return done,
        () = ctx.cancel.shut_down() => ask.for_a_quick_end(),
    }
    done.await
}
