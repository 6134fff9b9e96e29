//! The two queues between a shard and the links.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use longline_types::limits;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Command, Delivered, Delivery, ToCluster, ToShard};

/// Where the links take what the shards ask, a batch at a time; all shards of a room share it.
pub type ClusterReceiver = mpsc::Receiver<Vec<ToCluster>>;

/// A shard's end of it.
pub(crate) type ClusterSender = mpsc::Sender<Vec<ToCluster>>;

/// The queue from the shards to the links, for this many batches. A shard never waits for it: what does not fit stays in the
/// shard (see [`crate::link`]).
pub fn cluster_channel(batches: usize) -> (mpsc::Sender<Vec<ToCluster>>, ClusterReceiver) {
    mpsc::channel(batches)
}

/// The queue is full (or the shard has stopped); nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the shard's queue is full")]
pub struct Overloaded;

/// Most commands that wait for a shard.
const COMMANDS: usize = 4096;

/// The links' end of the queue to one shard.
#[derive(Clone)]
pub struct ShardSender {
    shared: Arc<Shared>,
}

/// The shard's end.
pub struct ShardInbox {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    overflowed: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
    limits: Limits,
}

struct Limits {
    items: usize,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<ToShard>,
    delivery_items: usize,
    delivery_bytes: usize,
    commands: usize,
    closed: bool,
}

/// How much waits for a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Depth {
    pub(crate) deliveries: usize,
    /// Their bytes of payload.
    pub(crate) bytes: usize,
    pub(crate) commands: usize,
}

/// All that waited.
#[derive(Default)]
pub(crate) struct Taken {
    /// In the order of their coming.
    pub(crate) items: VecDeque<ToShard>,
    /// A delivery was refused since the last time.
    pub(crate) overflowed: bool,
}

/// A queue to a shard that holds at most this many deliveries with this many bytes of payload (one larger delivery batch goes
/// alone). `wake` is called when something comes into an empty queue.
pub fn shard_queue(
    items: usize,
    bytes: usize,
    wake: impl Fn() + Send + Sync + 'static,
) -> (ShardSender, ShardInbox) {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        overflowed: AtomicBool::new(false),
        wake: Box::new(wake),
        limits: Limits { items, bytes },
    });
    (ShardSender { shared: Arc::clone(&shared) }, ShardInbox { shared })
}

impl ShardSender {
    /// Hands results to the shard. Never refused: there are only as many as there were questions.
    pub fn answer(&self, answers: Vec<Answer>) {
        if !answers.is_empty() {
            self.put(ToShard::Answers(answers), |queue| !queue.closed).ok();
        }
    }

    /// Hands deliveries to the shard, which came at this time. Their results come in order; if the receiver gets nothing, the shard has stopped, which is
    /// to be taken as `NotHere` for none of them and as overloaded for all. Refused as a whole when the queue is full; then all
    /// binds of the shard are checked soon (D2).
    pub fn deliver(
        &self,
        deliveries: Vec<Delivery>,
        came_at: Instant,
    ) -> Result<oneshot::Receiver<Vec<Delivered>>, Overloaded> {
        let items = deliveries.len();
        let bytes: usize = deliveries.iter().map(|d| d.message.payload.len()).sum();
        let (reply, results) = oneshot::channel();
        let limits = &self.shared.limits;
        let taken = self.put(ToShard::Deliver { deliveries, came_at, reply }, |queue| {
            let fits = queue.delivery_items == 0
                || queue.delivery_items + items <= limits.items
                    && queue.delivery_bytes + bytes <= limits.bytes;
            if fits {
                queue.delivery_items += items;
                queue.delivery_bytes += bytes;
            }
            fits && !queue.closed
        });
        if taken.is_err() {
            self.shared.overflowed.store(true, Ordering::Release);
        }
        taken.map(|()| results)
    }

    /// What waits now.
    pub(crate) fn depth(&self) -> Depth {
        let queue = self.shared.lock();
        Depth { deliveries: queue.delivery_items, bytes: queue.delivery_bytes, commands: queue.commands }
    }

    /// Hands a command to the shard. Refused when too many wait.
    pub fn command(&self, command: Command) -> Result<(), Overloaded> {
        self.put(ToShard::Command(command), |queue| {
            let fits = queue.commands < COMMANDS && !queue.closed;
            queue.commands += usize::from(fits);
            fits
        })
    }

    /// Has the shard stop, however full its queue is.
    pub(crate) fn stop(&self) {
        self.put(ToShard::Command(Command::Stop), |queue| !queue.closed).ok();
    }

    /// Whether the shard has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Sets the overflow flag: all binds of the shard are checked soon (D2).
    pub fn mark_overflowed(&self) {
        self.shared.overflowed.store(true, Ordering::Release);
        (self.shared.wake)();
    }

    fn put(&self, item: ToShard, admit: impl FnOnce(&mut Queue) -> bool) -> Result<(), Overloaded> {
        let mut queue = self.shared.lock();
        if !admit(&mut queue) {
            return Err(Overloaded);
        }
        let was_empty = queue.waiting.is_empty();
        queue.waiting.push_back(item);
        drop(queue);
        if was_empty {
            (self.shared.wake)();
        }
        Ok(())
    }
}

impl ShardInbox {
    /// Takes all that waits.
    pub(crate) fn take(&self) -> Taken {
        let mut queue = self.shared.lock();
        queue.delivery_items = 0;
        queue.delivery_bytes = 0;
        queue.commands = 0;
        let items = std::mem::take(&mut queue.waiting);
        drop(queue);
        Taken { items, overflowed: self.shared.overflowed.swap(false, Ordering::AcqRel) }
    }
}

impl Drop for ShardInbox {
    /// The shard has stopped: nothing more is taken, and nobody waits for results.
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.waiting.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Batches to the links hold at most this many questions.
pub(crate) const CLUSTER_BATCH: usize = limits::BATCH_ITEMS * 4;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use longline_types::{Address, Class, MessageId, Route, SessionId, Stamp};

    use super::*;
    use crate::link::Message;

    fn delivery(bytes: usize) -> Delivery {
        let stamp = Stamp::default();
        let route = Route { stamp, node: 1, incarnation: 1, session: SessionId::new(0, 0, 0) };
        let message = Message {
            id: MessageId(1),
            payload: vec![0; bytes].into(),
            sent_at_ms: 0,
            expires_at_ms: 1,
            class: Class::Durable,
            broadcast_seq: 0,
            redelivered: false,
        };
        Delivery { address: Address::new(1, "alice").unwrap(), route, message }
    }

    #[test]
    fn deliveries_are_bounded_in_items_and_bytes_and_a_refusal_is_remembered_d2() {
        let (sender, inbox) = shard_queue(3, 1000, || {});
        assert!(sender.deliver(vec![delivery(1); 2], Instant::now()).is_ok());
        assert_eq!(sender.deliver(vec![delivery(1); 2], Instant::now()).err(), Some(Overloaded));
        let taken = inbox.take();
        assert!(taken.overflowed && taken.items.len() == 1);
        assert!(sender.deliver(vec![delivery(900)], Instant::now()).is_ok());
        assert!(sender.deliver(vec![delivery(200)], Instant::now()).is_err());
        assert!(inbox.take().overflowed);
        assert!(
            sender.deliver(vec![delivery(5000)], Instant::now()).is_ok(),
            "one that is larger goes alone"
        );
        assert!(!inbox.take().overflowed);
    }

    #[test]
    fn answers_are_never_refused_and_commands_have_their_own_bound() {
        let (sender, inbox) = shard_queue(1, 1, || {});
        sender.deliver(vec![delivery(1)], Instant::now()).unwrap();
        let accepted = (0..2 * COMMANDS).filter(|_| sender.command(Command::CheckAll).is_ok()).count();
        assert_eq!(accepted, COMMANDS);
        let bind = crate::link::BindId { session: SessionId::new(0, 0, 0), index: 0, serial: 0 };
        sender.answer(vec![Answer::Check { bind, result: Ok(true) }]);
        sender.stop();
        assert_eq!(inbox.take().items.len(), COMMANDS + 3);
    }

    #[test]
    fn the_shard_is_woken_once_until_it_has_looked() {
        static WOKEN: AtomicU32 = AtomicU32::new(0);
        let (sender, inbox) = shard_queue(10, 10, || {
            WOKEN.fetch_add(1, Ordering::Relaxed);
        });
        for woken in 1..4 {
            (0..3).for_each(|_| sender.command(Command::CheckAll).unwrap());
            assert_eq!(WOKEN.load(Ordering::Relaxed), woken);
            inbox.take();
        }
    }

    #[test]
    fn a_shard_that_has_stopped_takes_nothing_and_lets_nobody_wait() {
        let (sender, inbox) = shard_queue(10, 10, || {});
        let results = sender.deliver(vec![delivery(1)], Instant::now()).unwrap();
        drop(inbox);
        assert!(results.blocking_recv().is_err());
        assert_eq!(sender.deliver(vec![delivery(1)], Instant::now()).err(), Some(Overloaded));
        assert_eq!(sender.command(Command::CheckAll), Err(Overloaded));
    }
}
