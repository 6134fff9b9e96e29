//! What a swarm is told before it starts and while it runs.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use longline_load_truth::{Clock, Ledger};
use longline_pb::client;

use crate::Transports;

/// Tells devices where to connect.
pub trait Routes: Send + Sync {
    /// The room for this user; `attempt` counts the tries that were of no use since the last connection that worked. None while
    /// that is not known: the device asks again soon. Must not block.
    fn room(&self, user: u32, attempt: u32) -> Option<SocketAddr>;
}

/// A swarm to be.
#[derive(Clone)]
pub struct Options {
    /// Threads, each with its own epoll and its share of the devices; at least 1.
    pub threads: usize,
    /// The users, one device each.
    pub users: Range<u32>,
    /// User `n` is named `<prefix>-<n>`.
    pub prefix: String,
    /// The product whose users they are.
    pub product: u32,
    /// Signs the users' tokens (HS256); none if the product wants no tokens.
    pub token_key: Option<Vec<u8>>,
    /// Addresses to connect from, round-robin by user; empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// Shortest time between two looks at sockets and timers: what comes meanwhile is served together. Zero: at once.
    pub step: Duration,
    /// The networks the devices are on; empty: unspecified, without a wish for the heartbeat.
    pub networks: Vec<Network>,
    /// Over what they connect.
    pub transports: Transports,
    /// Share of the devices, 0 to 1, that resume sessions whose connection broke; those that misbehave never do.
    pub resume: f64,
    /// Shares of devices that misbehave.
    pub hostile: Hostile,
    /// Everything that is left to chance follows from it, as far as the network's timing lets it.
    pub seed: u64,
    /// Where messages are accounted for.
    pub ledger: Arc<Ledger>,
    /// The clock of the run.
    pub clock: Clock,
    /// Number of the run, for the headers of uplinks.
    pub run: u32,
    /// Number of this agent, for the headers of uplinks.
    pub agent: u16,
    /// Where to connect.
    pub routes: Arc<dyn Routes>,
}

/// A kind of network, and how many devices are on it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Network {
    /// As HELLO says it.
    pub kind: client::Network,
    /// Weight among the networks.
    pub share: f64,
    /// Shortest and longest heartbeat the device can keep, seconds; 0 for no wish.
    pub heartbeat_s: (u32, u32),
}

/// Shares of all devices (0 to 1, together at most 1) that misbehave until [`Swarm::all_back`](crate::Swarm::all_back).
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Hostile {
    /// Reads and never acknowledges.
    pub never_ack: f64,
    /// Reads at most 64 bytes a second.
    pub slow: f64,
    /// Reads nothing after it is bound.
    pub stop_reading: f64,
    /// Sends what is no protocol, before or after WELCOME.
    pub rubbish: f64,
    /// Says nothing after connecting, or nothing after HELLO.
    pub silent: f64,
}

/// Devices that drop and return.
#[derive(Clone, PartialEq, Debug)]
pub struct Churn {
    /// Drops per second over all devices.
    pub per_second: f64,
    /// Share of the drops whose socket stays open and is neither read nor written any more.
    pub half_open: f64,
    /// Shortest and longest time away.
    pub away: (Duration, Duration),
}

/// Data that devices send to the business.
#[derive(Clone, PartialEq, Debug)]
pub struct Uplinks {
    /// Uplinks per second over all devices.
    pub per_second: f64,
    /// Bytes of each; at least the header's, at most 64 KiB.
    pub payload_bytes: usize,
    /// The business's route number.
    pub route: u32,
}
