//! What the load tester sends: unicasts and broadcasts, open or closed loop.
//!
//! A *planner* makes messages when they fall due, whether or not the system keeps up, and enters them in the ledger with that
//! time: latencies count from it, so that a system that stalls cannot hide it. What no connection is free for waits in a
//! bounded *backlog* per center; what does not fit there is counted as skipped. *Senders*, one per connection, take from it and
//! tell the ledger what the API answered.
//!
//! The same crate has the other end: [`webhook`] receives what devices send up.

mod address;
mod alarm;
mod audience;
mod backlog;
mod backoff;
mod body;
mod broadcast;
mod desk;
mod grpc;
mod http;
mod job;
mod load;
mod planner;
mod progress;
mod raw;
mod schedule;
mod sizes;
#[cfg(test)]
mod tests;
mod unicasts;
mod walk;
pub mod webhook;
mod window;

pub use address::BadApi;
pub use broadcast::{SendError, broadcast};
pub use load::{Api, Pace, Traffic, Unicasts, Via};
pub use progress::{Progress, TrafficCounts};
pub use unicasts::unicasts;
