//! The reference server of the load tester: what one epoll loop costs, and its injector.
//!
//! [`Raw`] is the physical limit against which a room is measured: one thread, one epoll, no services behind it. Devices speak
//! the client protocol with it, just enough to connect, get messages and acknowledge them; whoever makes the load hands it
//! messages over a second port, and gets the acknowledgements back there. [`Injector`] is the client of that port; the
//! protocol between the two is described in `injection.rs`. Who serves the same protocol with something else behind it uses
//! [`Order`], [`take_whole`] and [`Reports`].
//!
//! What it leaves out, since a reference must not do more than it has to: nothing is stored, heartbeats and handshakes have no
//! deadline, tokens are not looked at, and there is no window. What it does not leave out: lengths are checked before memory
//! is taken, every buffer is bounded, and nothing that a device or an injector sends stops it.

mod broadcasts;
mod client;
mod connection;
mod devices;
mod door;
mod error;
mod injection;
mod injectors;
mod output;
mod peer;
mod raw;
mod reports;
mod server;
mod session;
mod stats;
mod users;

pub use client::{Acks, Injector};
pub use error::InjectError;
pub use injection::{Acked, BATCH, Delivery, Order, PREFACE, Report, take_whole};
pub use raw::{Options, Raw, bind};
pub use reports::Reports;
pub use stats::Stats;
