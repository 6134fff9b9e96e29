//! What is asked of the sender.

use std::ops::Range;
use std::sync::Arc;

use longline_load_truth::{Clock, Ledger};

/// Everything the sender needs for its share of a run.
pub struct Traffic {
    /// What it sends.
    pub load: Unicasts,
    /// Through what.
    pub api: Api,
    /// The users it sends to, by number.
    pub users: Range<u32>,
    /// User N is named `<prefix>-<N>`.
    pub prefix: String,
    /// Where every message is entered.
    pub ledger: Arc<Ledger>,
    /// The ledger's clock.
    pub clock: Clock,
    /// Decides the order of users, the sizes, and the fraction of an interval that the first message waits.
    pub seed: u64,
}

/// What unicasts are like.
#[derive(Clone, PartialEq, Debug)]
pub struct Unicasts {
    /// When messages are sent.
    pub pace: Pace,
    /// In what form.
    pub via: Via,
    /// Payload lengths in bytes with their shares. A payload is at least as long as its header.
    pub payload: Vec<(usize, f64)>,
    /// Class transient: never stored, dropped if the user is not online.
    pub transient: bool,
    /// Time to live; none: the product's default.
    pub ttl_s: Option<u32>,
    /// Connections in all, spread over the centers; at least one per center is made.
    pub connections: usize,
    /// Durable messages have an idempotency key, and a request without an answer is repeated until its deadline, as a
    /// careful business does.
    pub idempotent: bool,
}

impl Unicasts {
    /// Durable messages with nothing but their header, over 16 connections, repeated where they can be: over HTTP and gRPC.
    pub fn new(pace: Pace, via: Via) -> Unicasts {
        Unicasts {
            pace,
            via,
            payload: Vec::new(),
            transient: false,
            ttl_s: None,
            connections: 16,
            idempotent: via != Via::Raw,
        }
    }
}

/// When messages are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// Message `k` is due at `start + k / per_second`, whether or not the system keeps up.
    Open {
        /// Messages a second, above zero.
        per_second: f64,
    },
    /// As fast as messages arrive: so many under way between their plan and their arrival (with [`Via::Raw`]: their
    /// acknowledgement).
    Closed {
        /// Messages under way at most; at least one request's.
        window: usize,
    },
}

/// In what form messages are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// One HTTP request per message.
    Http,
    /// HTTP requests for many users, with one payload for all of them.
    Batch {
        /// Users per request, 1 to 1,000. Fewer if a center has fewer.
        users: usize,
    },
    /// Requests on streams of the gRPC service.
    Grpc {
        /// Users per request, 1 to 1,000; above 1 they share a payload.
        users: usize,
    },
    /// To an injection port: of the reference server, or of the backend of a room alone.
    Raw,
}

impl Via {
    /// Most users of a request, by the API's limit.
    const MOST_USERS: usize = 1000;

    /// Users per request.
    pub(crate) fn users(self) -> usize {
        match self {
            Via::Http | Via::Raw => 1,
            Via::Batch { users } | Via::Grpc { users } => users.clamp(1, Via::MOST_USERS),
        }
    }

    /// Whether a payload is for several users.
    pub(crate) fn shares_payloads(self) -> bool {
        matches!(self, Via::Batch { .. }) || self.users() > 1
    }
}

/// Where messages go in.
#[derive(Clone, Default)]
pub struct Api {
    /// The centers, as `http://host:port`.
    pub centers: Vec<String>,
    /// The product's key.
    pub key: String,
    /// The injection port, host:port, for [`Via::Raw`] and for broadcasts; then the centers are not used.
    pub injector: Option<String>,
}

impl std::fmt::Debug for Api {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("centers", &self.centers).field("injector", &self.injector).finish()
    }
}
