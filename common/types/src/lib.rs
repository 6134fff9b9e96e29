//! The words of the system as types: addresses, ids, slots, stamps, routes, the view, reasons and limits.
//!
//! No I/O and no generated code; `longline-pb` converts between these and the wire.

mod address;
mod close;
mod error;
mod id;
pub mod limits;
mod message;
mod route;
mod slot;
mod subscriber;
mod time;
mod view;

pub use address::{Address, AddressKey, InvalidUser, ProductId, User};
pub use close::CloseReason;
pub use error::{Error, ErrorCode};
pub use id::{IdExhausted, IdGrant, IdMaker, MessageId};
pub use message::{Class, Durability, MessageState, SlowReader};
pub use route::{Device, Route, SessionId, Stamp};
pub use slot::{SLOTS, Slot};
pub use subscriber::subscriber;
pub use time::{TimeMs, now_ms, rfc3339};
pub use view::{Load, Node, NodeState, Role, SlotOwner, View};
