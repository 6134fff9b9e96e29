//! What goes into a [`Store`](super::Store) and comes out of it. Records that are stored as the wire has them (messages,
//! broadcasts, uplinks, products) are the generated ones.

use longline_pb::saver::{RoomProgress, UplinkRecord};
use longline_pb::types::Message;
use longline_types::{Address, Durability, MessageId, MessageState, ProductId, TimeMs};

/// A key under which the same request is stored once (S1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idempotency {
    /// 1 to 128 bytes, the caller's.
    pub key: String,
    /// Over what the caller asked for.
    pub digest: [u8; 16],
}

/// A message to store.
#[derive(Clone, PartialEq, Debug)]
pub struct Put {
    /// Whose it is.
    pub address: Address,
    /// Id, payload, times and class; `broadcast_seq` is 0.
    pub message: Message,
    /// Recognises a retry by other means than the id.
    pub idempotency: Option<Idempotency>,
    /// Of the waiting messages of the address with this key only the one with the highest id stays.
    pub collapse_key: Option<String>,
    /// What the answer promises.
    pub durability: Durability,
    /// Most waiting messages of the address; 0: no limit.
    pub inbox_limit: u32,
}

/// What became of a [`Put`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Of this message, or of the first try.
    pub id: MessageId,
    /// Now.
    pub state: MessageState,
    /// An earlier try had stored it; this one wrote nothing.
    pub repeated: bool,
    /// Messages that ended as COLLAPSED by it, itself included.
    pub collapsed: u32,
    /// Messages that ended as OVERFLOWED by it.
    pub overflowed: u32,
}

/// A request for a page of an inbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// Whose inbox.
    pub address: Address,
    /// Most messages, at least 1.
    pub limit: usize,
    /// Most payload bytes, beyond the first message.
    pub max_bytes: usize,
    /// Ids that must not come: in flight, or acknowledged but not yet confirmed. Broadcasts are listed by id as well.
    pub except: Vec<MessageId>,
    /// Highest broadcast sequence of the product that the room knows; an older cache is refreshed first (S8).
    pub known_broadcast: u64,
    /// The device's own "last seen".
    pub seen_broadcast: u64,
}

/// A page of an inbox.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Loaded {
    /// Unicasts in id order, then broadcasts in sequence order.
    pub messages: Vec<Message>,
    /// Something is left.
    pub more: bool,
}

/// A question whether a load would bring something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Whose inbox.
    pub address: Address,
    /// Waiting messages that the room has in flight.
    pub in_flight: u64,
}

/// An acknowledgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack {
    /// Who acknowledges.
    pub address: Address,
    /// Of the message or of the broadcast.
    pub id: MessageId,
    /// 0 for a unicast.
    pub broadcast_seq: u64,
    /// When the room wrote it to the socket; 0 unknown.
    pub written_at_ms: TimeMs,
    /// Number of the room; for the history.
    pub room: u32,
}

/// What became of a recall.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recalled {
    /// Whose message it is.
    pub address: Address,
    /// Now.
    pub state: MessageState,
    /// By this call; false: it had ended before.
    pub recalled: bool,
}

/// What waits for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inbox {
    /// Unexpired unicasts.
    pub waiting: u64,
    /// Active broadcasts above the floor and not acknowledged; 0 for an address that was never loaded.
    pub broadcasts_waiting: u64,
    /// Lowest of the waiting unicasts.
    pub oldest: Option<MessageId>,
}

/// Where the messages that were accepted are now (I3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Ever stored.
    pub accepted: u64,
    /// By state, those that are not 0.
    pub counts: Vec<(MessageState, u64)>,
}

/// A broadcast to store.
#[derive(Clone, PartialEq, Debug)]
pub struct PutBroadcast {
    /// To whose users.
    pub product: ProductId,
    /// Its sequence is given by the store.
    pub message: Message,
    /// Online deliveries a second over the whole cluster; 0: no limit.
    pub rate_per_second: u32,
    /// Recognises a retry by other means than the id.
    pub idempotency: Option<Idempotency>,
}

/// What became of a [`PutBroadcast`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredBroadcast {
    /// Of this broadcast, or of the first try.
    pub id: MessageId,
    /// Its sequence in the product, from 1.
    pub seq: u64,
    /// An earlier try had stored it.
    pub repeated: bool,
}

/// Who takes work, how much, and for how long it is theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Number of the node.
    pub node: u32,
    /// Its incarnation.
    pub incarnation: u64,
    /// After this the work is anybody's again.
    pub lease_ms: u32,
    /// Most items.
    pub limit: u32,
}

/// Progress of a broadcast that the reporter drives.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The broadcast's product.
    pub product: ProductId,
    /// The broadcast.
    pub id: MessageId,
    /// Number of the driving node.
    pub node: u32,
    /// Its incarnation.
    pub incarnation: u64,
    /// Rooms with something new; each replaces what was known of (node, incarnation).
    pub rooms: Vec<RoomProgress>,
    /// Every room has walked its sessions.
    pub finished: bool,
    /// How much longer the broadcast is the reporter's.
    pub lease_ms: u32,
}

/// An uplink to queue.
#[derive(Clone, PartialEq, Debug)]
pub struct PutUplink {
    /// With its address present and checked.
    pub record: UplinkRecord,
    /// The coordinator that tries first.
    pub node: u32,
    /// Its incarnation.
    pub incarnation: u64,
    /// How long it holds the uplink.
    pub lease_ms: u32,
}

/// The outcome of a try to hand an uplink to the business.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FinishUplink {
    /// The uplink.
    pub id: MessageId,
    /// By the business, or given up.
    pub taken: bool,
    /// If not taken.
    pub next_try_at_ms: TimeMs,
}
