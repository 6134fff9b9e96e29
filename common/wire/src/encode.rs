//! From messages to frames.

use bytes::BufMut;
use longline_pb::client;
use prost::Message;

use crate::varint::Varint;
use crate::{EncodeError, FrameType};

/// A message that is the body of one type of frame. PUSH is not among them, since a byte precedes its message:
/// [`encode_push`](crate::encode_push).
pub trait Body: Message + Default {
    /// The frame's type.
    const KIND: FrameType;
}

macro_rules! bodies {
    ($($name:ident),*) => { $(
        impl Body for client::$name {
            const KIND: FrameType = FrameType::$name;
        }
    )* };
}

bodies!(Hello, Welcome, Bind, Unbind, Bound, Ack, Uplink, UplinkAck, Directive, Close);

/// Appends the frame with this body, without a temporary allocation.
///
/// # Errors
/// If the body is beyond its type's limit; nothing is written then.
pub fn encode<M: Body>(body: &M, out: &mut impl BufMut) -> Result<(), EncodeError> {
    let length = body.encoded_len();
    header(M::KIND, length, out)?;
    body.encode(out).map_err(|_| EncodeError::NoSpace)
}

/// Appends a frame without a body: PING or PONG. Of other types it is the frame whose message has only defaults.
pub fn encode_empty(kind: FrameType, out: &mut impl BufMut) -> Result<(), EncodeError> {
    header(kind, 0, out)
}

/// Appends type and length, once it is sure that the body may and will follow.
pub(crate) fn header(kind: FrameType, length: usize, out: &mut impl BufMut) -> Result<(), EncodeError> {
    let varint = checked_length(kind, length)?;
    let varint = varint.as_slice();
    if out.remaining_mut() < 1 + varint.len() + length {
        return Err(EncodeError::NoSpace);
    }
    out.put_u8(kind.number());
    out.put_slice(varint);
    Ok(())
}

/// The length's bytes, if a body of this type may have it.
pub(crate) fn checked_length(kind: FrameType, length: usize) -> Result<Varint, EncodeError> {
    let limit = kind.limit();
    Varint::of(length).filter(|_| length <= limit).ok_or(EncodeError::TooLong { kind, length, limit })
}
