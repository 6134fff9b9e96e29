//! What stands behind a room that is measured alone: an inbox in memory, fed as the reference server is.
//!
//! A room needs a saver, and somebody who hands it messages. With the real ones the stores are the limit, not the room. The
//! [`Backend`] is both in one process, and cheap: it joins the keeper as a saver and answers what a room asks of one (load,
//! check, ack, the products) from memory; and it takes messages through the injection protocol of [`longline_load_raw`], looks
//! their users up at the register, hands them to the room as a center does, and reports to the injector what devices have
//! acknowledged. So to the load tester's agents it looks like the reference server, and to the room like the cluster.
//!
//! It is no store: nothing outlives the process, nothing expires, and only what a room asks for is answered. What it keeps of the
//! contract is what makes the verdict true: a durable message is in the inbox before it is handed to the room (D1), stays until the
//! room brings its acknowledgement, and comes with a load where the room has put it off (D4).

mod backend;
mod broadcasts;
mod deliver;
mod inbox;
mod injectors;
mod peer;
mod post;
mod saver;
mod shared;
mod users;
mod walks;

pub use backend::{Backend, Options, PRODUCT};
