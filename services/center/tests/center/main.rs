//! A center among fakes of the services it asks, over real sockets.

#![allow(clippy::unwrap_used)]

mod admin;
mod broadcasts;
mod errors;
mod grpc;
mod hints;
mod messages;
mod openapi;
mod sockets;
mod stop;
mod support;
mod users;
