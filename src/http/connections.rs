//! The connections that are open: so many and no more. Where all places are taken, the one that has sent no whole request
//! for longest gives way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::values::lock;

/// The places of connections.
pub(super) struct Connections {
    most: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    count: usize,
    /// Those that have no request under way, in the order in which they began to wait for one.
    waiting: BTreeMap<u64, Arc<Notify>>,
    numbers: u64,
}

/// The place of one connection.
pub(super) struct Connection {
    open: Arc<Mutex<Open>>,
    gives_way: Arc<Notify>,
    /// Its number among those that wait, while it does.
    number: Mutex<Option<u64>>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        let open = Arc::default();
        Self { most, open }
    }

    /// A place for one more; none where every other has a request under way.
    pub(super) fn admit(&self) -> Option<Connection> {
        let mut open = lock(&self.open);
        if open.count >= self.most {
            let (_, longest) = open.waiting.pop_first()?;
            longest.notify_one();
        }
        open.count += 1;
        drop(open);
        Some(Connection {
            open: Arc::clone(&self.open),
            gives_way: Arc::default(),
            number: Mutex::default(),
        })
    }
}

impl Connection {
    /// It waits for a request, from now on or still.
    pub(super) fn waits(&self) {
        let mut number = lock(&self.number);
        if number.is_none() {
            let mut open = lock(&self.open);
            open.numbers += 1;
            let own = open.numbers;
            open.waiting.insert(own, Arc::clone(&self.gives_way));
            *number = Some(own);
        }
    }

    /// Its request is whole.
    pub(super) fn is_served(&self) {
        if let Some(number) = lock(&self.number).take() {
            lock(&self.open).waiting.remove(&number);
        }
    }

    /// Waits until it must give way to another.
    pub(super) async fn is_to_give_way(&self) {
        self.gives_way.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.is_served();
        lock(&self.open).count -= 1;
    }
}
