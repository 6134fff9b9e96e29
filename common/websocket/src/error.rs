//! What can be wrong with frames.

use crate::CloseCode;

/// Why bytes are not WebSocket as it is spoken here. There is no way to go on after one: the connection is closed with
/// [`WebSocketError::code`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WebSocketError {
    /// A reserved bit is set, which only an extension may do.
    #[error("a reserved bit of a frame is set, but no extension was agreed on")]
    ReservedBit,
    /// No such kind of frame.
    #[error("frames with opcode {0} do not exist")]
    UnknownOpcode(u8),
    /// Text.
    #[error("text was sent; this protocol is binary")]
    Text,
    /// A client's frame is not masked.
    #[error("a client's frame is not masked")]
    Unmasked,
    /// A server's frame is masked.
    #[error("a server's frame is masked")]
    Masked,
    /// A control frame in pieces or beyond 125 bytes.
    #[error("a control frame is in pieces or longer than 125 bytes")]
    BadControl,
    /// A length that is not in its shortest form, or beyond 63 bits.
    #[error("the length of a frame is not in its shortest form or beyond 63 bits")]
    BadLength,
    /// A piece of a message that has not begun.
    #[error("a message is continued that has not begun")]
    NothingToContinue,
    /// A message within another.
    #[error("a message begins before the last piece of the one before it")]
    NotContinued,
    /// A close frame of one byte, or with a code that is not to be sent.
    #[error("a close frame has no valid code")]
    BadClose,
    /// The reason in a close frame is not UTF-8.
    #[error("the reason in a close frame is not UTF-8")]
    BadCloseText,
}

impl WebSocketError {
    /// The code to close the connection with.
    pub fn code(self) -> CloseCode {
        match self {
            WebSocketError::Text => CloseCode::Unsupported,
            WebSocketError::BadCloseText => CloseCode::InvalidText,
            _ => CloseCode::ProtocolError,
        }
    }
}
