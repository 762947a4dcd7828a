//! Threads for one kind of work that waits, such as that on one database: what does not get one of them queues.
//!
//! A thread that is done with one piece of work takes up the next, so that thousands of short ones cost few switches
//! between threads. There is one thread as long as it gets on; more join it, up to a limit, where work had to wait.
//! They are tokio's own, so that a test's clock stands still while one works.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::lock;

/// How long work may wait before another thread joins.
const PATIENCE: Duration = Duration::from_millis(10);
/// So few pieces of work taken up in that time mean that the threads do not get on.
const SLOW: u64 = 4;
/// How many results are told at once, where more work waits.
const TOLD_AT_ONCE: usize = 32;

/// Threads, and the work that waits for them.
#[derive(Clone)]
pub(crate) struct Threads(Arc<Inner>);

/// Does some work, and gives what tells its result.
type Work = Box<dyn FnOnce() -> Option<Tell> + Send>;
type Tell = Box<dyn FnOnce() + Send>;

struct Inner {
    most: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    /// Results that are not told yet.
    done: Vec<Tell>,
    /// Threads at work.
    busy: usize,
    /// Pieces of work taken up so far.
    taken_up: u64,
    /// Whether someone sees to it that enough threads are at work.
    is_watched: bool,
}

impl Threads {
    /// Up to `most` threads.
    pub(crate) fn new(most: usize) -> Self {
        let queue = Mutex::default();
        Self(Arc::new(Inner { most, queue }))
    }

    /// Does `work` on one of the threads, once its turn has come; never, where nobody waits for it any more by then.
    /// A panic in it goes on in the caller.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = oneshot::channel();
        self.put(Box::new(move || {
            if tell.is_closed() {
                return None;
            }
            let done = catch_unwind(AssertUnwindSafe(work));
            Some(Box::new(move || drop(tell.send(done))))
        }));
        match told.await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => resume_unwind(panic),
            // The service has ended.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many pieces of work wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    fn put(&self, work: Work) {
        let mut queue = self.0.lock();
        queue.waiting.push_back(work);
        if queue.busy == 0 {
            self.0.join(&mut queue);
        } else if queue.busy < self.0.most && !queue.is_watched {
            queue.is_watched = true;
            tokio::spawn(watch(Arc::clone(&self.0)));
        }
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads")
            .field("most", &self.0.most)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Has one more thread work.
    fn join(self: &Arc<Self>, queue: &mut Queue) {
        queue.busy += 1;
        let inner = Arc::clone(self);
        tokio::task::spawn_blocking(move || inner.work());
    }

    /// Works until nothing waits.
    fn work(&self) {
        loop {
            let mut queue = self.lock();
            // Each time wakes another thread, so that results are told several at once, where the next ones come soon.
            if !queue.is_watched || queue.waiting.is_empty() || queue.done.len() >= TOLD_AT_ONCE {
                let done = std::mem::take(&mut queue.done);
                drop(queue);
                tell_all(done);
                queue = self.lock();
            }
            let Some(next) = queue.waiting.pop_front() else {
                queue.busy -= 1;
                return;
            };
            queue.taken_up += 1;
            drop(queue);
            if let Some(tell) = next() {
                self.lock().done.push(tell);
            }
        }
    }
}

fn tell_all(done: Vec<Tell>) {
    for tell in done {
        tell();
    }
}

/// Has more threads join as long as work waits and those there are do not get on; tells results that were kept back.
async fn watch(inner: Arc<Inner>) {
    loop {
        let before = inner.lock().taken_up;
        tokio::time::sleep(PATIENCE).await;
        let mut queue = inner.lock();
        queue.is_watched = !queue.waiting.is_empty() && queue.busy < inner.most;
        if queue.is_watched && queue.taken_up - before < SLOW {
            let more = queue.busy.min(inner.most - queue.busy).min(queue.waiting.len());
            for _ in 0..more {
                inner.join(&mut queue);
            }
        }
        let (done, is_over) = (std::mem::take(&mut queue.done), !queue.is_watched);
        drop(queue);
        tell_all(done);
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_joined_by_others_up_to_the_limit() {
        let threads = Threads::new(2);
        let (release, released) = mpsc::channel::<()>();
        let hangs = {
            let threads = threads.clone();
            tokio::spawn(async move { threads.run(move || released.recv()).await })
        };
        tokio::task::yield_now().await;
        assert_eq!(threads.run(|| 7).await, 7, "beside what hangs");
        release.send(()).unwrap();
        hangs.await.unwrap().unwrap();
        let panics = threads.clone();
        let ended = tokio::spawn(async move { panics.run(|| panic!("told to")).await }).await;
        assert!(ended.unwrap_err().is_panic());
        assert_eq!(threads.run(|| 8).await, 8, "after a panic");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_done() {
        let threads = Threads::new(1);
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let (begins, begun) = oneshot::channel();
        let hanging = threads.clone();
        let hang = move || {
            let _ = begins.send(());
            released.recv()
        };
        tokio::spawn(async move { hanging.run(hang).await });
        begun.await.unwrap();
        let left = threads.run(move || tell.send(()).unwrap());
        tokio::select! {
            biased;
            () = left => panic!("it waits"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(threads.waiting(), 1);
        release.send(()).unwrap();
        assert_eq!(threads.run(|| 9).await, 9);
        assert!(told.recv().is_err(), "it was never begun");
    }
}
