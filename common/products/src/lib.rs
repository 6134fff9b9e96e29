//! The table of products that every service keeps fresh from a saver.
//!
//! [`ProductTable::start`] follows a saver's `WatchProducts` and keeps all products in memory; reading one costs no I/O. A product
//! created a moment ago may still be missing: [`ProductTable::find`] asks a saver then, but a few times a second at most over all
//! misses, so that clients which name products at random cost the store nothing.

mod misses;
mod product;
mod table;
mod watch;

pub use product::{
    DEFAULT_ACK_TIMEOUT, DEFAULT_INBOX_LIMIT, DEFAULT_MAX_TTL, DEFAULT_TTL, DEFAULT_WINDOW, Product,
};
pub use table::ProductTable;
