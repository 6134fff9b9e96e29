//! From bytes to frames.

use longline_pb::client;
use longline_types::limits;

use crate::scan::count_field;
use crate::varint::{self, Length};
use crate::{Body, FrameType, Limits, WireError};

/// A whole frame, borrowed from the bytes it was found in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRef<'a> {
    /// Its type.
    pub kind: FrameType,
    /// Its body; for PUSH with the bind's index as first byte.
    pub body: &'a [u8],
}

/// Finds the frame at the start of `bytes`: the frame and how many bytes it took, or none while it is not whole.
///
/// A type or a length that is not within `limits` is an error as soon as it can be seen, so that a caller never keeps bytes
/// for a frame it would refuse: a partial frame takes at most `5 + longest body` bytes.
pub fn decode<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Option<(FrameRef<'a>, usize)>, WireError> {
    let Some((&number, rest)) = bytes.split_first() else { return Ok(None) };
    let kind = FrameType::from_number(number).ok_or(WireError::UnknownType(number))?;
    let limit = limits.longest(kind).ok_or(WireError::WrongSender(kind))?;
    let (length, length_bytes) = match varint::read(rest) {
        Length::Known(length, _) if length > limit => {
            return Err(WireError::TooLong { kind, length, limit });
        }
        Length::Known(length, length_bytes) => (length, length_bytes),
        Length::Incomplete => return Ok(None),
        Length::Invalid => return Err(WireError::BadLength(kind)),
    };
    match rest.get(length_bytes..length_bytes + length) {
        Some(body) => Ok(Some((FrameRef { kind, body }, 1 + length_bytes + length))),
        None => Ok(None),
    }
}

impl<'a> FrameRef<'a> {
    /// The body as a message of its type. Lists with a limit are counted before they are kept.
    ///
    /// # Errors
    /// [`WireError::BadBody`] if it is not one, or if `M` is the message of another type of frame.
    pub fn parse<M: Body>(&self) -> Result<M, WireError> {
        if self.kind != M::KIND {
            return Err(WireError::BadBody(self.kind));
        }
        self.check_lists()?;
        M::decode(self.body).map_err(|_| WireError::BadBody(self.kind))
    }

    /// The bind's index and the message of a PUSH. The payload is copied out of the frame.
    pub fn parse_push(&self) -> Result<(u8, client::Push), WireError> {
        let (index, body) = self.split_push()?;
        let push = prost::Message::decode(body).map_err(|_| WireError::BadBody(self.kind))?;
        Ok((index, push))
    }

    /// The bind's index and the encoded message of a PUSH.
    pub fn split_push(&self) -> Result<(u8, &'a [u8]), WireError> {
        match (self.kind, self.body.split_first()) {
            (FrameType::Push, Some((&index, body))) => Ok((index, body)),
            _ => Err(WireError::BadBody(self.kind)),
        }
    }

    /// A list of thousands of empty items would take far more memory decoded than encoded.
    fn check_lists(&self) -> Result<(), WireError> {
        const HELLO_BINDS: u32 = 6;
        let kind = self.kind;
        if kind == FrameType::Hello
            && count_field(self.body, HELLO_BINDS).ok_or(WireError::BadBody(kind))? > limits::BINDS
        {
            return Err(WireError::TooManyItems { kind, limit: limits::BINDS });
        }
        Ok(())
    }
}
