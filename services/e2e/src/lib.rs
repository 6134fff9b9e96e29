//! What the end-to-end tests stand on: the whole cluster in one process, a business that calls its API, and devices that
//! keep what they received.

mod api;
mod cluster;
mod device;

pub use api::{Answer, Api};
pub use cluster::{Cluster, Shape};
pub use device::{Device, Received};

/// How long anything that has to happen may take; far longer than it does.
pub const SOON: std::time::Duration = std::time::Duration::from_secs(30);
