//! The simulated devices of the load tester.
//!
//! A [`Swarm`] is a device for each of a range of users: it connects, says hello, keeps the heartbeat, acknowledges what it is
//! sent, drops, returns and misbehaves as it is told to, and accounts for every message in the ledger of `longline-load-truth`.
//! There is one epoll loop a thread and no task per device; a device is some hundred bytes. The session machine (`device`) is
//! apart from the sockets (`line`, `shard`).

mod acked;
mod acks;
mod chance;
mod connect;
mod control;
mod counts;
mod device;
mod flights;
mod hostile;
mod leftovers;
mod line;
mod options;
mod pace;
mod push;
mod shard;
mod swarm;
mod tally;
#[cfg(test)]
mod testing;
mod time;
mod transport;
mod trouble;
mod wheel;
mod world;
mod wrap;

pub use acked::AckedUplinks;
pub use counts::SwarmCounts;
pub use options::{Churn, Hostile, Network, Options, Routes, Uplinks};
pub use swarm::Swarm;
pub use transport::{Transport, Transports};
