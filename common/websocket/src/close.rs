//! Codes of close frames.

/// Why a side closes, as RFC 6455, 7.4 numbers it. The client protocol's own reason is in its CLOSE, which comes before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum CloseCode {
    /// All is said.
    Normal = 1000,
    /// The room stops, or the client leaves.
    GoingAway = 1001,
    /// The frames are not WebSocket.
    ProtocolError = 1002,
    /// A kind of data that is not spoken here: text.
    Unsupported = 1003,
    /// Text that is not UTF-8: the reason of a close frame.
    InvalidText = 1007,
    /// Refused for a reason that no other code names.
    Policy = 1008,
    /// Something failed in the server.
    Internal = 1011,
}

impl CloseCode {
    /// Its number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// Whether a close frame may name this code: the protocol's own, and those of applications.
pub(crate) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
