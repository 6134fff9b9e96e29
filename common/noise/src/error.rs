//! What can be wrong with a handshake, a record or a key.

/// Why a link cannot go on. The connection is closed without an answer, since there is no key to answer under.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoiseError {
    /// A message of the handshake has another length than it must have.
    #[error("a message of the Noise handshake is not 48 bytes long")]
    BadHandshake,
    /// The handshake or a record is not what the other side has sent, or was made for another key.
    #[error(
        "what came is damaged, or encrypted for another key; a device needs the room's current public key"
    )]
    Forged,
    /// A record that is too short to be one.
    #[error("a record of {0} bytes is shorter than its own 16 of authentication")]
    ShortRecord(usize),
    /// All numbers of records are used up.
    #[error("as many records were sent as one connection may carry")]
    Exhausted,
    /// The system has no random numbers, or no memory.
    #[error("the cryptographic library failed")]
    Library,
}

/// Why bytes or text are no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a key is 32 bytes, written as 44 characters of base64")]
pub struct InvalidKey;
