//! The center: the API for businesses and operators, over HTTP and gRPC on one port.
//!
//! The operations are in [`ops`], once; [`http`] and [`grpc`] are thin over them. An accepted message is stored first; [`hints`]
//! then bring it to a connected device in the background. [`broadcast`] drives broadcasts. A center keeps no state that outlives
//! a request, a hint or a claim.

mod auth;
mod broadcast;
mod config;
mod failure;
mod grpc;
mod hints;
mod http;
mod metrics;
mod ops;
mod routes;
mod service;

pub use auth::AdminKeyError;
pub use config::{BroadcastConfig, Config, HintConfig, HttpConfig};
pub use failure::Failure;
pub use service::{Bound, bind};
