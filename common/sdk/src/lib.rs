//! The Rust client SDK: connect, bind, receive, acknowledge, send uplinks, reconnect.
//!
//! A [`Client`] is one device. It keeps one connection to a room, binds any number of addresses (up to 16) over it, and
//! comes back by itself when the connection ends, until the room says not to or the application closes it:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use longline_sdk::{Client, Event};
//!
//! let (client, mut events) = Client::builder("device-1")
//!     .dispatcher("http://push.example.com")
//!     .bind(1, "alice", "")
//!     .start()?;
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::Message(message) => println!("{}: {:?}", message.id, message.payload),
//!         Event::Closed(reason) => println!("closed for good: {reason}"),
//!         other => println!("{other:?}"),
//!     }
//! }
//! client.close().await;
//! # Ok(()) }
//! ```
//!
//! A message is told once, however often it comes, and is acknowledged as the application takes it from [`Events`], or when
//! it says so ([`Builder::auto_ack`]). A connection that breaks is resumed where the room offers it ([`Builder::resume`]):
//! the session goes on as it was. Everything inside is one task that owns all state; every queue is bounded, and an
//! application that takes no events makes the client stop reading from the room.

mod acks;
mod backoff;
mod binds;
mod builder;
mod client;
mod codec;
mod connection;
mod counter;
mod device;
mod dispatcher;
mod driver;
mod endpoints;
mod error;
mod event;
mod heartbeat;
mod inputs;
mod layer;
mod link;
mod outbox;
mod overheard;
mod resume;
mod seen;
mod transport;
mod trust;
mod uplinks;

pub use binds::BindId;
pub use builder::Builder;
pub use client::{Client, Events};
pub use error::{BindError, ClientGone, StartError, UplinkError};
pub use event::{Closed, Disconnect, Event, Message};
pub use longline_pb::client::{BindResult, Network};
pub use longline_types::{Address, CloseReason, MessageId};
pub use transport::{Transport, UnknownTransport};
