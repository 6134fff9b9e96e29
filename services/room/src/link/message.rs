use bytes::Bytes;
use longline_pb::{client, types};
use longline_types::{Class, MessageId, Route, SLOTS, Slot, SlowReader, TimeMs};

/// A message on its way to a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its id; of a broadcast, the broadcast's.
    pub id: MessageId,
    /// What the business sent. May share a buffer with its whole batch, so the shard copies what it keeps.
    pub payload: Bytes,
    /// When the center accepted it.
    pub sent_at_ms: TimeMs,
    /// When it is worth nothing any more.
    pub expires_at_ms: TimeMs,
    /// Whether it waits for an acknowledgement.
    pub class: Class,
    /// 0 for a unicast, else the broadcast's sequence in its product.
    pub broadcast_seq: u64,
    /// It may have been written to a socket before.
    pub redelivered: bool,
}

impl From<types::Message> for Message {
    fn from(m: types::Message) -> Self {
        let class = m.class().into();
        Message {
            id: MessageId(m.id),
            payload: m.payload,
            sent_at_ms: m.sent_at_ms,
            expires_at_ms: m.expires_at_ms,
            class,
            broadcast_seq: m.broadcast_seq,
            redelivered: m.redelivered,
        }
    }
}

/// What became of one delivered message (D3). `OVERLOADED` is not here: a refused batch is [`Overloaded`](super::Overloaded) as
/// a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// Handed to the session's output, or it is in flight there already.
    Pushed,
    /// The bind is dirty now and will load.
    Deferred,
    /// No such session, or it does not hold this address: the center removes exactly that route.
    NotHere,
    /// Transient, and not to be had now.
    Dropped,
}

/// A bind that the register has taken, and what its product wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The route as the register holds it now.
    pub route: Route,
    /// Unacknowledged messages in flight at once; at least 1.
    pub window: u16,
    /// After this long without an acknowledgement the bind stalls (D5).
    pub ack_timeout_ms: u32,
    /// The product's longest heartbeat interval; 0: no wish.
    pub max_heartbeat_s: u32,
    /// How its messages are queued. The latest bind of a user of the product decides for all of them in the shard.
    pub queueing: Queueing,
    /// The product wants to know when its users come and go.
    pub presence: bool,
}

/// How a product wants its messages to be queued for devices that read slowly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Queueing {
    /// What becomes of a session that has no space for one more.
    pub slow_reader: SlowReader,
    /// Unwritten bytes of a session up to which it has; 0, or more than [`EngineConfig::output_bytes`](crate::EngineConfig): that many.
    pub max_queued_bytes: u32,
}

/// A bind that was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Anything but `OK` and `UNBOUND`.
    pub result: client::BindResult,
    /// For `UNAVAILABLE`: when to try again.
    pub retry_after_ms: u32,
    /// For people; without secrets.
    pub detail: String,
}

/// What a load brought: the lowest waiting ids except those listed, in the order in which they are pushed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loaded {
    /// The messages; no more than the limit.
    pub messages: Vec<Message>,
    /// There are others.
    pub more: bool,
}

/// The room's place in the cluster; a route is this room's only if it carries both numbers (R3, R4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its number in the view.
    pub node: u32,
    /// Its incarnation.
    pub incarnation: u64,
}

impl Identity {
    /// Whether the route was made under this identity.
    pub fn made(&self, route: &Route) -> bool {
        route.node == self.node && route.incarnation == self.incarnation
    }
}

/// What a room knows of one address, live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    /// When the connection was accepted.
    pub connected_at_ms: TimeMs,
    /// Its connection is broken, and its device may come back.
    pub parked: bool,
    /// ip:port of the device; empty while it is parked.
    pub peer: String,
    /// The device's id.
    pub device: String,
    /// Its SDK.
    pub sdk: String,
    /// Its platform.
    pub platform: String,
    /// The interval chosen for it.
    pub heartbeat_s: u32,
    /// Something may wait in the inbox.
    pub dirty: bool,
    /// A load is under way.
    pub loading: bool,
    /// Messages in flight at once.
    pub window: u32,
    /// Written and not acknowledged: id, and when it was written.
    pub in_flight: Vec<(MessageId, TimeMs)>,
    /// When the last byte came.
    pub last_seen_ms: TimeMs,
    /// How the device is connected: the label of metrics.
    pub transport: &'static str,
    /// Where the connection is on its way: the label of metrics.
    pub state: &'static str,
    /// Where the device says it is: the label of metrics.
    pub network: &'static str,
    /// Binds of the session, this one among them.
    pub binds: u32,
    /// Nothing is pushed since the device does not acknowledge.
    pub stalled: bool,
    /// Messages that the device has acknowledged and the saver has not confirmed.
    pub unconfirmed: u32,
    /// Bytes that the session's socket has not taken yet.
    pub unwritten_bytes: u64,
    /// Frames that the device may send at once.
    pub frames_left: u32,
}

/// A set of slots, to be refilled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotSet {
    bits: Box<[u64]>,
}

impl SlotSet {
    /// Whether the slot is in it.
    pub fn contains(&self, slot: Slot) -> bool {
        self.bits[slot.index() / 64] >> (slot.index() % 64) & 1 == 1
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut bits = vec![0u64; SLOTS / 64].into_boxed_slice();
        for slot in slots {
            bits[slot.index() / 64] |= 1 << (slot.index() % 64);
        }
        SlotSet { bits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_set_holds_what_was_put_in() {
        let chosen = [0, 63, 64, 4095].map(|n| Slot::new(n).unwrap());
        let set: SlotSet = chosen.into_iter().collect();
        let held: Vec<Slot> = Slot::all().filter(|s| set.contains(*s)).collect();
        assert_eq!(held, chosen);
    }
}
