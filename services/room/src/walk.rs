//! Broadcasts on their way through the sessions of this room.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longline_pb::client;
use longline_types::{Error, ErrorCode, MessageId, ProductId, TimeMs, now_ms};
use longline_wire::EncodedPush;

use crate::link::{Command, Message, ShardSender};

/// Walks of which the room still knows the progress.
const KEPT: usize = 1024;

/// One broadcast, shown to every bind of its product once. Shared by all shards.
#[derive(Debug)]
pub struct Walk {
    /// Whose binds.
    pub product: ProductId,
    /// The broadcast's id.
    pub id: MessageId,
    /// Its sequence in the product.
    pub seq: u64,
    /// When it is worth nothing any more.
    pub expires_at_ms: TimeMs,
    /// The PUSH, the same for every bind but for the index.
    pub push: EncodedPush,
    /// Sessions a second in each shard; none: no limit.
    pub rate_per_shard: Option<f64>,
    started_at_ms: TimeMs,
    sessions: AtomicU64,
    pushed: AtomicU64,
    acked: AtomicU64,
    shards_left: AtomicU32,
}

/// How far a walk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalkProgress {
    /// Every shard has walked its sessions.
    pub done: bool,
    /// Binds of the product walked so far.
    pub sessions: u64,
    /// Of these, pushed to at once; the others load it.
    pub pushed: u64,
    /// Acknowledged by sessions of this room that stood when the walk began, and confirmed by the saver.
    pub acked: u64,
}

impl Walk {
    fn new(product: ProductId, message: &Message, rate: u32, shards: usize) -> Result<Walk, Error> {
        if message.broadcast_seq == 0 {
            return Err(Error::invalid("a broadcast has a sequence"));
        }
        let push = EncodedPush::new(&client::Push {
            id: message.id.0,
            payload: message.payload.clone(),
            flags: client::PushFlag::Broadcast as u32,
            sent_at_ms: message.sent_at_ms,
            expires_at_ms: message.expires_at_ms,
            broadcast_seq: message.broadcast_seq,
        })
        .map_err(Error::invalid)?;
        Ok(Walk {
            product,
            id: message.id,
            seq: message.broadcast_seq,
            expires_at_ms: message.expires_at_ms,
            push,
            started_at_ms: now_ms(),
            rate_per_shard: (rate > 0).then(|| f64::from(rate) / shards.max(1) as f64),
            sessions: AtomicU64::new(0),
            pushed: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            shards_left: AtomicU32::new(shards as u32),
        })
    }

    /// A bind was walked.
    pub(crate) fn walked(&self, pushed: bool) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.pushed.fetch_add(u64::from(pushed), Ordering::Relaxed);
    }

    /// The acknowledgement of a session that was connected at this time was confirmed. Those that came after the walk had begun
    /// are not counted: they were reached by a load, as users who were offline are.
    pub(crate) fn acked(&self, connected_at_ms: TimeMs) {
        if connected_at_ms <= self.started_at_ms {
            self.acked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A shard has walked all its sessions.
    pub(crate) fn shard_done(&self) {
        self.shards_left.fetch_sub(1, Ordering::AcqRel);
    }

    /// How far it is.
    pub fn progress(&self) -> WalkProgress {
        WalkProgress {
            done: self.shards_left.load(Ordering::Acquire) == 0,
            sessions: self.sessions.load(Ordering::Relaxed),
            pushed: self.pushed.load(Ordering::Relaxed),
            acked: self.acked.load(Ordering::Relaxed),
        }
    }
}

/// The walks of a room, by broadcast: each is made once, whoever asks for it and how often (S8).
#[derive(Debug, Default)]
pub struct Walks {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    walks: HashMap<(ProductId, MessageId), Arc<Walk>>,
    order: VecDeque<(ProductId, MessageId)>,
}

impl Walks {
    /// Starts the walk, unless this room has started it before, and says how far it is. `rate` is in sessions a second for the
    /// whole room; 0: no limit. A shard whose queue is full checks all its binds instead, which finds the broadcast too (D2).
    ///
    /// # Errors
    /// `InvalidArgument` if it is no broadcast or too large, `ResourceExhausted` while more than 1,024 walks are under way.
    pub fn start(
        &self,
        shards: &[ShardSender],
        product: ProductId,
        message: &Message,
        rate: u32,
    ) -> Result<WalkProgress, Error> {
        let mut table = self.lock();
        let key = (product, message.id);
        if let Some(walk) = table.walks.get(&key) {
            return Ok(walk.progress());
        }
        table.make_room()?;
        let walk = Arc::new(Walk::new(product, message, rate, shards.len())?);
        table.walks.insert(key, Arc::clone(&walk));
        table.order.push_back(key);
        drop(table);
        for shard in shards {
            if shard.command(Command::Walk(Arc::clone(&walk))).is_err() {
                shard.mark_overflowed();
                walk.shard_done();
            }
        }
        Ok(walk.progress())
    }

    /// How far the walk is; none if this room has not started it, or long ago.
    pub fn progress(&self, product: ProductId, id: MessageId) -> Option<WalkProgress> {
        self.lock().walks.get(&(product, id)).map(|walk| walk.progress())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets the oldest finished walk if the table is full.
    fn make_room(&mut self) -> Result<(), Error> {
        if self.order.len() < KEPT {
            return Ok(());
        }
        let finished =
            self.order.iter().position(|key| self.walks.get(key).is_none_or(|w| w.progress().done));
        let key = finished.and_then(|place| self.order.remove(place)).ok_or_else(|| {
            Error::new(ErrorCode::ResourceExhausted, "too many broadcasts are under way in this room")
        })?;
        self.walks.remove(&key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use longline_types::Class;

    use super::*;
    use crate::link::{ToShard, shard_queue};

    fn broadcast(id: u64) -> Message {
        Message {
            id: MessageId(id),
            payload: Bytes::from_static(b"all"),
            sent_at_ms: 1,
            expires_at_ms: u64::MAX,
            class: Class::Durable,
            broadcast_seq: id,
            redelivered: false,
        }
    }

    #[test]
    fn a_broadcast_is_walked_once_however_often_it_is_asked_for_s8() {
        let (shard, inbox) = shard_queue(1, 1, || {});
        let walks = Walks::default();
        for _ in 0..3 {
            walks.start(std::slice::from_ref(&shard), ProductId(1), &broadcast(7), 0).unwrap();
        }
        let started = inbox.take().items;
        assert_eq!(started.len(), 1);
        assert!(matches!(&started[0], ToShard::Command(Command::Walk(walk)) if walk.seq == 7));
        assert_eq!(walks.progress(ProductId(2), MessageId(7)), None);
    }

    #[test]
    fn sessions_that_came_after_the_walk_had_begun_are_not_counted_as_reached_online() {
        let walks = Walks::default();
        walks.start(&[], ProductId(1), &broadcast(7), 0).unwrap();
        let walk = walks.lock().walks[&(ProductId(1), MessageId(7))].clone();
        walk.acked(walk.started_at_ms - 1);
        walk.acked(walk.started_at_ms + 1);
        assert_eq!(walk.progress().acked, 1);
    }

    #[test]
    fn a_shard_that_takes_nothing_checks_instead_d2() {
        let (shard, inbox) = shard_queue(1, 1, || {});
        while shard.command(Command::CheckAll).is_ok() {}
        let progress = Walks::default().start(&[shard], ProductId(1), &broadcast(7), 5).unwrap();
        assert!(progress.done);
        assert!(inbox.take().overflowed);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_finished_walks_first() {
        let walks = Walks::default();
        for id in 0..KEPT as u64 {
            walks.start(&[], ProductId(1), &broadcast(id + 1), 0).unwrap();
        }
        let (shard, _inbox) = shard_queue(1, 1, || {});
        walks.start(std::slice::from_ref(&shard), ProductId(1), &broadcast(5000), 0).unwrap();
        assert_eq!(walks.progress(ProductId(1), MessageId(1)), None);
        for id in 0..KEPT as u64 - 1 {
            walks.start(std::slice::from_ref(&shard), ProductId(1), &broadcast(6000 + id), 0).unwrap();
        }
        let refused = walks.start(&[shard], ProductId(1), &broadcast(9000), 0).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ResourceExhausted);
    }
}
