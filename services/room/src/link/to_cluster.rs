use std::sync::Arc;

use bytes::Bytes;
use longline_types::{Address, CloseReason, Device, MessageId, Route, SessionId, TimeMs};

use super::BindId;

/// What a shard asks of the cluster.
#[derive(Clone, PartialEq, Debug)]
pub enum ToCluster {
    /// Check the token, look the product up, tell the register. Answer: [`Answer::Bind`](super::Answer::Bind).
    Bind(BindRequest),
    /// The bind has ended, however: take exactly this route out of the register, if it is still there. No answer. Also for a
    /// bind whose session was gone when its answer came.
    Unbind {
        /// What was bound.
        address: Address,
        /// As the register gave it.
        route: Route,
    },
    /// Bring what waits. Answer: [`Answer::Load`](super::Answer::Load).
    Load(LoadRequest),
    /// Does anything wait for this address? Asked only while nothing of it is in flight. Answer:
    /// [`Answer::Check`](super::Answer::Check).
    Check {
        /// Who asks.
        bind: BindId,
        /// Whose inbox.
        address: Address,
    },
    /// The device has the message. Answer: [`Answer::Ack`](super::Answer::Ack); after a failure the shard asks again (D6).
    Ack {
        /// The bind it was pushed on.
        bind: BindId,
        /// Whose message.
        address: Address,
        /// Which one.
        id: MessageId,
        /// 0 for a unicast.
        broadcast_seq: u64,
        /// When it was handed to the socket.
        written_at_ms: TimeMs,
    },
    /// Data for the business. Answer: [`Answer::Uplink`](super::Answer::Uplink).
    Uplink(UplinkRequest),
    /// The user came or went; only for products that asked. No answer.
    Presence {
        /// Who.
        address: Address,
        /// With which device.
        device: Arc<str>,
        /// On which session.
        session: SessionId,
        /// When.
        at_ms: TimeMs,
        /// Which of the two.
        change: PresenceChange,
    },
    /// This route is held here: for a refill (R2) or on the slow round (R6). Answer: [`Answer::Assert`](super::Answer::Assert).
    Assert(AssertRequest),
    /// All routes of the slots of this refill that the shard holds have been asserted, before this in the queue.
    Refilled {
        /// Which shard.
        shard: u8,
        /// The number of the [`Command::Refill`](super::Command::Refill).
        refill: u64,
    },
}

/// Asks for a bind.
#[derive(Clone, PartialEq, Debug)]
pub struct BindRequest {
    /// To be handed back with the answer.
    pub bind: BindId,
    /// What the device wants to be.
    pub address: Address,
    /// The device and its connection counter (R1).
    pub device: Device,
    /// What entitles it.
    pub proof: BindProof,
}

/// Why a bind may be made.
#[derive(Clone, PartialEq, Debug)]
pub enum BindProof {
    /// The token that the device showed; may be empty. At most 4 KiB.
    Token(Box<str>),
    /// The room that sent the device away gave it a ticket. If that does not admit it, the token decides.
    Ticket(Box<TicketAndToken>),
    /// The session held this bind already, under an earlier incarnation of the room (R4). The token was good then.
    Held,
}

/// What a device shows that another room has sent here.
#[derive(Clone, PartialEq, Debug)]
pub struct TicketAndToken {
    /// Of HELLO, the same for all its binds. At most 512 bytes.
    pub ticket: Arc<[u8]>,
    /// As in [`BindProof::Token`].
    pub token: Box<str>,
}

/// Asks for a load (D4).
#[derive(Clone, PartialEq, Debug)]
pub struct LoadRequest {
    /// To be handed back with the answer.
    pub bind: BindId,
    /// Likewise: tells this load from one that was given up.
    pub number: u16,
    /// Whose inbox.
    pub address: Address,
    /// Messages, 1 to 256.
    pub limit: u32,
    /// Bytes of payload; the first message always comes.
    pub max_bytes: u32,
    /// In flight, or acknowledged but not confirmed.
    pub except: Vec<MessageId>,
    /// Highest broadcast sequence of the product that this shard has heard of (S8).
    pub known_broadcast: u64,
    /// The device's own "last seen"; can only raise the floor.
    pub seen_broadcast: u64,
}

/// Asks that data be taken.
#[derive(Clone, PartialEq, Debug)]
pub struct UplinkRequest {
    /// To be handed back with the answer.
    pub session: SessionId,
    /// Who sends it.
    pub address: Address,
    /// With which device.
    pub device: Arc<str>,
    /// The business's number for the kind of data.
    pub route: u32,
    /// The device's number for this piece; to be handed back.
    pub sequence: u64,
    /// At most 64 KiB.
    pub payload: Bytes,
    /// When its last byte came.
    pub received_at_ms: TimeMs,
}

/// Asserts a route.
#[derive(Clone, PartialEq, Debug)]
pub struct AssertRequest {
    /// To be handed back with the answer.
    pub bind: BindId,
    /// What is bound.
    pub address: Address,
    /// As the register gave it.
    pub route: Route,
    /// The device and its connection counter (R1).
    pub device: Device,
    /// The refill that it belongs to; none on the slow round.
    pub refill: Option<u64>,
}

/// Whether a user came or went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PresenceChange {
    /// The bind stands.
    Online,
    /// It has ended. For an UNBIND by the device: [`CloseReason::ClientGone`].
    Offline(CloseReason),
}
