//! The business's side of uplinks: a web server that the coordinator calls, and the record of what came.

mod record;
mod server;

pub use record::Record;
pub use server::{Options, Webhook};
