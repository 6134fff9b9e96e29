//! The room service: holds the devices' connections, pushes to them, and brings back what they acknowledge.

mod config;
pub mod link;
mod walk;

pub use config::EngineConfig;
pub use walk::{Walk, WalkProgress, Walks};
