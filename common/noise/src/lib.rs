//! Encryption of the client protocol's link, without sockets and without TLS's memory: `Noise_NK_25519_ChaChaPoly_SHA256` of
//! <https://noiseprotocol.org/noise.html>, revision 34.
//!
//! The device knows the room's public key before it connects and stays anonymous itself; who it is, its tokens say. It sends the
//! [`PREFACE`], which is the handshake's prologue, and one message, and gets one back: [`Initiator`] on its side, [`accept`] on the room's.
//! What is left of the handshake is a [`Session`] of 80 bytes, which turns bytes into records and back. Both messages and all records are
//! preceded by their length, two bytes, the high one first.
//!
//! The first message can be recorded and sent again by anyone, so it carries nothing; a record cannot, and what was recorded cannot be
//! read by who gets hold of the room's key later.

mod cipher;
mod error;
mod handshake;
mod key;
mod session;
mod symmetric;

pub use error::{InvalidKey, NoiseError};
pub use handshake::{Accepted, HANDSHAKE_LEN, Initiator, accept};
pub use key::{KEY_LEN, PublicKey, StaticKey};
pub use session::{LONGEST_RECORD, Opened, Session};

/// The client protocol's preface in this mode, which precedes the first message.
pub const PREFACE: [u8; 4] = *b"LL\x01\x01";
