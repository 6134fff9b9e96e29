//! The saver service: all access to storage.

pub mod store;
