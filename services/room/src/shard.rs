//! One thread of the room: an epoll, its share of the sessions, a timer wheel, one read buffer; it shares nothing.
//!
//! [`core`] is the shard without sockets and clock; [`run`] is the loop around it.

mod core;
mod crossing;
mod departure;
mod paged;
mod parking;
mod ready;
mod run;
mod sockets;
mod sweep;
mod wheel;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod simulation;

pub(crate) use core::{Core, Totals};
pub(crate) use crossing::Crossings;
pub(crate) use paged::Paged;
pub(crate) use run::{Shard, WAKER, Wiring, reserve};
