//! Sending over streams of the gRPC service: many requests under way on one connection, answered in their order.

mod convert;
mod sender;
mod stream;

pub(crate) use convert::SendRequests;
pub(crate) use sender::Sender;
