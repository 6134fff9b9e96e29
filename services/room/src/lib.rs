//! The room service: holds the devices' connections, pushes to them, and brings back what they acknowledge.

mod admission;
mod config;
mod drain;
mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod link;
mod links;
mod list;
mod listeners;
mod metrics;
mod resume;
mod room;
mod service;
mod session;
mod shard;
mod transport;
mod walk;
mod window;

pub use admission::{AdmissionConfig, BadAdmission, KEY as ADMISSION_KEY, Networks};
pub use config::EngineConfig;
pub use drain::DrainConfig;
pub use engine::{Engine, StillRunning};
pub use links::{DRAIN_PREFIX, drain_key};
pub use listeners::Listeners;
pub use room::{Bound, Config, bind};
pub use transport::{
    Certificates, NoiseConfig, ProxyConfig, TlsConfig, Transports, WebSocketConfig, open_noise_key,
};
pub use walk::{Walk, WalkProgress, Walks};
