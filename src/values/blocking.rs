//! Work that waits, on a thread that may.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Does `work` as [`blocking`] does, once one of `threads` is free. It is taken for as long as the work goes on, even where
/// nobody waits for it any more.
pub(crate) async fn blocking_within<T: Send + 'static>(
    threads: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    // It is never closed.
    let thread = Arc::clone(threads).acquire_owned().await;
    blocking(move || {
        let _thread = thread;
        work()
    })
    .await
}

/// Does `work` on a thread that may wait. A panic in it goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The service has ended.
            Err(_) => std::future::pending().await,
        },
    }
}
