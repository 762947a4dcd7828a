//! Work that waits, on a thread that may.

use std::panic::resume_unwind;

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
