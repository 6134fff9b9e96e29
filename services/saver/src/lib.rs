//! The saver service: all access to storage.
//!
//! [`store`] says what storage must do, with SQLite and Redis+MySQL behind it; `service` is the gRPC in front; `sweeps` does what
//! time asks for; `catalog` tells everybody of changed products. Nothing here knows about connections of devices.

mod bound;
mod catalog;
mod config;
mod metrics;
mod service;
pub mod store;
mod sweeps;

pub use bound::{Bound, bind};
pub use config::{Config, StoreConfig, SweepConfig};
