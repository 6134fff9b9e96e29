use std::sync::Arc;
use std::time::Instant;

use longline_pb::client;
use longline_types::{Address, AddressKey, MessageId, Route, SessionId, Stamp};
use tokio::sync::oneshot;

use super::{
    BindId, Bound, Delivered, Drain, Failed, Identity, Inspection, Loaded, Message, Refusal, SlotSet,
};
use crate::walk::Walk;

/// What comes to a shard through its queue, in order.
#[derive(Debug)]
pub enum ToShard {
    /// Results of what it asked.
    Answers(Vec<Answer>),
    /// Hints with their payloads.
    Deliver {
        /// In the order in which they are pushed.
        deliveries: Vec<Delivery>,
        /// When the room got them.
        came_at: Instant,
        /// Where the results go: one for each, in order.
        reply: oneshot::Sender<Vec<Delivered>>,
    },
    /// Rare things.
    Command(Command),
}

/// A message for a session of the shard.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whom it is for.
    pub address: Address,
    /// Where the register says that is.
    pub route: Route,
    /// What it is.
    pub message: Message,
}

/// The result of one question.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of a bind.
    Bind {
        /// As asked.
        bind: BindId,
        /// As asked; needed if the session has gone meanwhile.
        address: Address,
        /// What became of it.
        outcome: BindOutcome,
    },
    /// Of a load.
    Load {
        /// As asked.
        bind: BindId,
        /// As asked.
        number: u16,
        /// What it brought.
        result: Result<Loaded, Failed>,
    },
    /// Of a check.
    Check {
        /// As asked.
        bind: BindId,
        /// Whether a load would bring something.
        result: Result<bool, Failed>,
    },
    /// Of an ack.
    Ack {
        /// As asked.
        bind: BindId,
        /// As asked.
        id: MessageId,
        /// Confirmed: whether it ended by this call. Both confirm.
        result: Result<bool, Failed>,
    },
    /// Of an uplink.
    Uplink {
        /// As asked.
        session: SessionId,
        /// As asked.
        sequence: u64,
        /// What the device is told.
        result: client::UplinkResult,
        /// For `RETRY`.
        retry_after_ms: u32,
    },
    /// Of an assertion.
    Assert {
        /// As asked.
        bind: BindId,
        /// Of the route that was asserted.
        stamp: Stamp,
        /// What the register said.
        outcome: AssertOutcome,
    },
}

/// What became of a bind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BindOutcome {
    /// The register has taken it.
    Bound(Bound),
    /// It was refused, or nobody could be reached in time.
    Refused(Refusal),
}

/// What the register says of an asserted route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssertOutcome {
    /// It stands.
    Current,
    /// A higher stamp stands there.
    Displaced,
    /// Not known; asked again on the next round.
    Failed,
}

/// What the cluster asks of a shard.
#[derive(Debug)]
pub enum Command {
    /// The room has joined, or (R4) joined anew: then every bind is made again and is dirty.
    Identity(Identity),
    /// The route is not current any more (R5). Answer: whether it was found; both confirm.
    Displace {
        /// Of the address.
        key: AddressKey,
        /// The displaced one.
        route: Route,
        /// Where the answer goes.
        reply: oneshot::Sender<bool>,
    },
    /// The business ends the bind. Answer: whether it was found.
    Kick {
        /// Whose.
        address: Address,
        /// Where the register says it is.
        route: Route,
        /// Told to the device.
        detail: String,
        /// Where the answer goes.
        reply: oneshot::Sender<bool>,
    },
    /// What is known of the address here; none if it is not bound here.
    Inspect {
        /// Whose.
        address: Address,
        /// Where the register says it is.
        route: Route,
        /// Where the answer goes.
        reply: oneshot::Sender<Option<Inspection>>,
    },
    /// Show every bind of a product a broadcast. Made by [`Walks`](crate::Walks).
    Walk(Arc<Walk>),
    /// Assert every route of these slots, then send [`ToCluster::Refilled`](super::ToCluster::Refilled); the binds are checked
    /// soon after.
    Refill {
        /// To be handed back.
        refill: u64,
        /// Which slots.
        slots: Arc<SlotSet>,
    },
    /// Check every bind soon (D2).
    CheckAll,
    /// Take no new connections, ask all sessions to leave, then close those that are left. One that replaces another begins anew.
    Drain(Drain),
    /// Accept again after a drain that was called off; sessions that were asked already still go.
    Resume,
    /// Close everything and end the thread.
    Stop,
}
