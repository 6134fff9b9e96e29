//! A whole cluster as real processes on this machine: start, kill, restart, stop.
//!
//! Every process is the real binary with a configuration file of its own, beside a redis-server and a mariadbd of its own, in
//! one scratch folder and on free ports. A process that is started again comes back with the same configuration on the same
//! ports. All of them end with the [`Cluster`], and at the latest with the process that started it, also when that is killed.
//! `cargo xtask cluster` and the end-to-end tests stand on this. [`Nodes`] is a part of a cluster without the stores.

mod api;
mod binary;
mod cluster;
mod describe;
mod node;
mod nodes;
mod options;
mod settings;

pub use binary::{Profile, binary, built_by};
pub use cluster::Cluster;
pub use describe::{Description, NodeDescription, Product};
pub use node::{Addresses, NodeProcess};
pub use nodes::Nodes;
pub use options::Options;
