//! The typed border between the shards (threads with an epoll each) and the links (tokio, where the pipelines to the other
//! services live).
//!
//! Who does what:
//!
//! - A shard **asks** ([`ToCluster`]) in batches through one bounded channel. What does not fit waits in the shard, and while
//!   much waits the shard takes no new connections, binds and uplinks; so what waits is bounded by the sessions there are.
//! - The links **answer** every [`Bind`](ToCluster::Bind), [`Load`](ToCluster::Load), [`Check`](ToCluster::Check),
//!   [`Ack`](ToCluster::Ack), [`Uplink`](ToCluster::Uplink) and [`Assert`](ToCluster::Assert) exactly once, in any order,
//!   with success or failure, within a deadline of their own choice (D1 to D6 hold whatever it is). Answers are never refused:
//!   there are only as many as there were questions. A batch that the links let go of unanswered (the task that held it ended)
//!   must not happen while the room lives; a load that nobody answers is given up after
//!   [`load_deadline_ms`](crate::EngineConfig::load_deadline_ms).
//! - The links try other nodes while it is safe, inside that deadline. **Repeating after a failure is the shard's**: loads with a
//!   backoff (D4), acks until they are confirmed or the session ends (D6), binds that are made anew after a new incarnation (R4),
//!   and the slow round (D2, R6). Only a *first* bind and an unbind are repeated by the links: a bind until its deadline (then
//!   they refuse it with `BIND_RESULT_UNAVAILABLE`), an unbind until its outcome is known (R5).
//! - Register operations of one address leave the links one after the other and in the order in which the shards asked (R5).
//! - D9: when the register's answer to a bind names a displaced session of this same room, or its displacement comes first, the
//!   links send [`Command::Displace`] and wait for its reply before they answer the bind; so the old session is given up before
//!   the new one loads.
//! - **Hints and commands** ([`ShardSender::deliver`], [`ShardSender::command`]) are bounded and refused when the queue is full. A
//!   refused delivery sets the shard's overflow flag: all its binds are checked soon (D2).

mod drain;
mod message;
mod queue;
mod to_cluster;
mod to_shard;

pub use drain::{Drain, Guide, Way};
pub use message::{Bound, Delivered, Identity, Inspection, Loaded, Message, Queueing, Refusal, SlotSet};
pub(crate) use queue::{CLUSTER_BATCH, ClusterSender, Taken};
pub use queue::{ClusterReceiver, Overloaded, ShardInbox, ShardSender, cluster_channel, shard_queue};
pub use to_cluster::{
    AssertRequest, BindProof, BindRequest, LoadRequest, PresenceChange, TicketAndToken, ToCluster,
    UplinkRequest,
};
pub use to_shard::{Answer, AssertOutcome, BindOutcome, Command, Delivery, ToShard};

use longline_types::SessionId;

/// One bind of a session: its index on the wire, and a serial that tells it from earlier binds under the same index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BindId {
    /// The session that holds it.
    pub session: SessionId,
    /// The device's number for it, 0 to 15.
    pub index: u8,
    /// Counts the binds of the session.
    pub serial: u16,
}

/// The question was not answered with a result: nobody could be reached, or the time was up. The shard asks again later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no answer from the cluster")]
pub struct Failed;
