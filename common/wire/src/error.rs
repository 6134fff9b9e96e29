//! What can be wrong with bytes, and the reason a connection is closed with then.

use longline_types::CloseReason;

use crate::FrameType;

/// Why bytes are not the protocol. There is no way to go on after one: the connection is closed with [`WireError::reason`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// The first bytes are not `LL`.
    #[error("the connection does not start with the bytes LL")]
    BadPreface,
    /// Another version of the protocol.
    #[error("version {0} of the protocol is not spoken here")]
    UnsupportedVersion(u8),
    /// Another mode of the protocol.
    #[error("mode {0} of the protocol is not spoken here")]
    UnsupportedMode(u8),
    /// No frame has this type.
    #[error("frame type {0} does not exist")]
    UnknownType(u8),
    /// The other side does not send this type.
    #[error("{0} is not sent by this side")]
    WrongSender(FrameType),
    /// The length is no varint of at most 4 bytes in its shortest form.
    #[error("the length of a {0} is not a varint of at most 4 bytes in its shortest form")]
    BadLength(FrameType),
    /// The length is beyond the type's limit.
    #[error("a {kind} of {length} bytes is beyond the limit of {limit}")]
    TooLong {
        /// The frame's type.
        kind: FrameType,
        /// What it says its body's length is.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The body is not the protobuf message it should be.
    #[error("the body of a {0} is not its protobuf message")]
    BadBody(FrameType),
    /// A repeated field has more items than are allowed.
    #[error("a {kind} has more than {limit} items in a list")]
    TooManyItems {
        /// The frame's type.
        kind: FrameType,
        /// What is allowed.
        limit: usize,
    },
}

impl WireError {
    /// The reason to close the connection with.
    pub fn reason(self) -> CloseReason {
        match self {
            WireError::BadPreface => CloseReason::BadPreface,
            WireError::UnsupportedVersion(_) | WireError::UnsupportedMode(_) => {
                CloseReason::UnsupportedVersion
            }
            WireError::UnknownType(_) | WireError::WrongSender(_) => CloseReason::UnknownFrame,
            WireError::BadLength(_) | WireError::TooLong { .. } => CloseReason::FrameTooLong,
            WireError::BadBody(_) => CloseReason::BadBody,
            WireError::TooManyItems { .. } => CloseReason::BadField,
        }
    }
}

impl From<WireError> for CloseReason {
    fn from(error: WireError) -> CloseReason {
        error.reason()
    }
}

/// Why a frame was not appended. Nothing of it was written then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// The body is longer than the other side accepts.
    #[error("a {kind} of {length} bytes is beyond the limit of {limit}")]
    TooLong {
        /// The frame's type.
        kind: FrameType,
        /// Its body's length.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The buffer cannot grow and has no space left.
    #[error("the buffer has no space left for the frame")]
    NoSpace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_reason() {
        let kind = FrameType::Hello;
        let reasons = [
            (WireError::BadPreface, 2000),
            (WireError::UnsupportedVersion(9), 2001),
            (WireError::UnsupportedMode(1), 2001),
            (WireError::BadLength(kind), 2002),
            (WireError::TooLong { kind, length: 2, limit: 1 }, 2002),
            (WireError::UnknownType(99), 2003),
            (WireError::WrongSender(FrameType::Push), 2003),
            (WireError::BadBody(kind), 2004),
            (WireError::TooManyItems { kind, limit: 16 }, 2006),
        ];
        for (error, number) in reasons {
            assert_eq!(CloseReason::from(error).number(), number, "{error}");
            assert!(!error.reason().may_return());
        }
    }
}
