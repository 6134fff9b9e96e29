//! Product keys, the admin key, user tokens, admission tickets and webhook signatures.
//!
//! Secrets are compared in constant time, are never printed by `Debug`, and have their length checked before they are parsed.

mod admin_key;
mod product_key;
mod ticket;
mod token;
pub mod webhook;

pub use admin_key::{AdminKey, WeakAdminKey};
pub use product_key::{InvalidProductKey, ProductKey, StoredKey};
pub use ticket::{InvalidTicket, TicketKeys};
pub use token::{InvalidToken, TokenKeys, sign_token};
