//! What can go wrong between an injector and the server.

use std::io;

/// Why an injector's connection is of no more use, or why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The connection failed.
    #[error("the connection to the reference server failed: {0}")]
    Io(#[from] io::Error),
    /// The connection has ended, and why if that is known here.
    #[error("the connection to the reference server has ended{0}")]
    Ended(String),
    /// What came is not the protocol. Nothing can be read any more.
    #[error("not the injection protocol: {0}")]
    Malformed(&'static str),
    /// A payload is longer than a message may be; nothing of its group was sent.
    #[error("a payload of {0} bytes is longer than a message may be")]
    PayloadTooLong(usize),
    /// The prefix of the users is longer than a user's name may be; nothing was sent.
    #[error("a prefix of {0} bytes is longer than the name of a user may be")]
    PrefixTooLong(usize),
}
