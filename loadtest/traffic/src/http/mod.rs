//! Sending over HTTP/1.1: one request at a time per connection.

pub(crate) mod body;
mod connection;
pub(crate) mod reply;
mod request;
mod sender;

pub(crate) use connection::Connection;
pub(crate) use request::Requests;
pub(crate) use sender::Sender;
