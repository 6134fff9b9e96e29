//! What can go wrong in a call of the application.

use std::path::PathBuf;

use longline_noise::InvalidKey;
use longline_types::InvalidUser;

/// Why a client was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The device id is empty or longer than 128 bytes.
    #[error("a device id has 1 to 128 bytes")]
    Device,
    /// There is neither a dispatcher nor a room.
    #[error("name a dispatcher's URL or a room's host:port")]
    Nowhere,
    /// One of the binds cannot be asked for, or there is none.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The file with the certificates to trust cannot be used.
    #[error("the CA file {} cannot be used: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No certificate can have this name.
    #[error("{0:?} is no name of a host")]
    TlsName(String),
    /// The public key of the rooms is none.
    #[error("the rooms' Noise key is not one: {0}")]
    NoiseKey(InvalidKey),
    /// Noise needs the public key of the rooms, and there is no dispatcher that could name it.
    #[error("the transport noise needs the rooms' public key, or a dispatcher")]
    NoNoiseKey,
    /// The HTTP client for the dispatcher cannot be made.
    #[error("no HTTP client for the dispatcher: {0}")]
    Http(#[from] reqwest::Error),
}

/// Why a bind was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BindError {
    /// The user name is not valid.
    #[error(transparent)]
    User(#[from] InvalidUser),
    /// The token is longer than 4 KiB.
    #[error("a token has at most 4 KiB")]
    Token,
    /// The device has 16 binds already.
    #[error("a device has at most 16 binds")]
    TooMany,
    /// The device has a bind for this address already.
    #[error("the address is bound already")]
    Duplicate,
    /// A client starts with at least one bind.
    #[error("a client starts with at least one bind")]
    None,
    /// The client has ended.
    #[error(transparent)]
    Gone(#[from] ClientGone),
}

/// The client has ended: it was closed, or closed for good by the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the client has ended")]
pub struct ClientGone;

/// Why an uplink was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UplinkError {
    /// The payload is longer than 64 KiB.
    #[error("an uplink's payload has at most 64 KiB")]
    TooLarge,
    /// The product takes no data under this route number.
    #[error("the product takes no data under this route number")]
    NoRoute,
    /// The room refused it.
    #[error("the room refused it")]
    Refused,
    /// There is no such bind, or it ended meanwhile.
    #[error("there is no such bind")]
    NoBind,
    /// The time was up. It may have been taken, or not.
    #[error("not confirmed in time; it may have been taken")]
    Deadline,
    /// The client has ended. What was under way may have been taken, or not.
    #[error(transparent)]
    Gone(#[from] ClientGone),
}
