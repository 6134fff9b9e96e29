//! Hints: bringing accepted messages to connected devices at once, in the background.
//!
//! A hint is looked up (`register.lookup`) and handed to its room (`room.deliver`) together with the group it was stored in. It
//! may be lost: the inbox is the truth, and a check of the bind finds what was missed (invariants 1 and 4). So the queue is
//! bounded, and what does not fit is dropped and counted.

mod delivery;
mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longline_pb::types::Message;
use longline_rpc::methods::RoomDeliver;
use longline_rpc::{Peers, PipelineOptions, Pipelines, WhenFull};
use longline_types::{Address, AddressKey};
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::routes::Routes;
pub(crate) use queue::Bounds;
use queue::Queue;

/// A message on its way to wherever its user is connected.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    pub(crate) address: Address,
    pub(crate) key: AddressKey,
    pub(crate) message: Message,
}

impl Hint {
    pub(crate) fn new(address: Address, message: Message) -> Hint {
        Hint { key: address.key(), address, message }
    }
}

/// The bounded queue of hints and the tasks that empty it. Clones share both.
#[derive(Clone)]
pub(crate) struct Hints {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    routes: Routes,
    rooms: Pipelines<RoomDeliver>,
    timeout: Duration,
    tasks: TaskTracker,
    metrics: Metrics,
}

impl Hints {
    pub(crate) fn new(
        peers: &Peers,
        routes: Routes,
        bounds: Bounds,
        timeout: Duration,
        metrics: Metrics,
    ) -> Hints {
        // This queue is the bound; a pipeline that is full for a moment is waited for.
        let options = PipelineOptions { when_full: WhenFull::Wait, ..PipelineOptions::default() };
        let shared = Shared {
            queue: Mutex::new(Queue::new(bounds)),
            routes,
            rooms: peers.pipelines(options),
            timeout,
            tasks: TaskTracker::new(),
            metrics,
        };
        Hints { shared: Arc::new(shared) }
    }

    /// Takes a group that was stored together, in its order, and returns at once. Hints of one address are looked up and
    /// delivered in the order in which they were offered (D7). What does not fit is dropped and counted.
    pub(crate) fn offer(&self, group: Vec<Hint>) {
        let (run, dropped) = {
            let mut queue = self.queue();
            let before = queue.len();
            let admitted = queue.admit(group);
            self.shared.metrics.hints_queued.add(queue.len() as i64 - before as i64);
            admitted
        };
        if dropped > 0 {
            self.shared.metrics.hints.with_label_values(&["dropped"]).inc_by(dropped as u64);
        }
        self.start(run);
    }

    /// Waits until the queue is empty and no task is left. Nothing may be offered any more.
    pub(crate) async fn drained(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// What follows at these addresses, whose runs have ended.
    fn next(&self, ended: &[Hint]) -> Vec<Hint> {
        let mut queue = self.queue();
        let before = queue.len();
        let next = queue.release(ended);
        self.shared.metrics.hints_queued.add(queue.len() as i64 - before as i64);
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
