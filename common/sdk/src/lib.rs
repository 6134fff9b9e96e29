//! The Rust client SDK: connect, bind, receive, acknowledge, send uplinks, reconnect.
