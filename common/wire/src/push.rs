//! PUSH: one byte with the bind's index, then a message that may be the same for very many sessions.

use bytes::{BufMut, Bytes, BytesMut};
use longline_pb::client;
use prost::Message;

use crate::encode::{checked_length, header};
use crate::{EncodeError, FrameType};

const MAX_HEAD: usize = 6;

/// A PUSH made once for every session that gets it: all but the bind's index. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct EncodedPush {
    /// The encoded message, which follows the index.
    rest: Bytes,
    /// Type and length, and space for the index.
    head: [u8; MAX_HEAD],
    head_len: u8,
}

impl EncodedPush {
    /// Encodes the message.
    ///
    /// # Errors
    /// If it is beyond the limit of a PUSH, which a payload of at most 64 KiB never is.
    pub fn new(push: &client::Push) -> Result<EncodedPush, EncodeError> {
        let length = push.encoded_len();
        let varint = checked_length(FrameType::Push, length + 1)?;
        let varint = varint.as_slice();
        let mut head = [0; MAX_HEAD];
        head[0] = FrameType::Push.number();
        head[1..=varint.len()].copy_from_slice(varint);
        let mut rest = BytesMut::with_capacity(length);
        push.encode(&mut rest).map_err(|_| EncodeError::NoSpace)?;
        Ok(EncodedPush { rest: rest.freeze(), head, head_len: 2 + varint.len() as u8 })
    }

    /// The frame's bytes before [`EncodedPush::rest`] for the bind with this index; for writes from several slices.
    pub fn head(&self, index: u8) -> PushHead {
        let mut head = PushHead { bytes: self.head, len: self.head_len };
        head.bytes[usize::from(head.len) - 1] = index;
        head
    }

    /// The encoded message, the same for all sessions.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// Bytes of the whole frame on the wire.
    pub fn wire_len(&self) -> usize {
        usize::from(self.head_len) + self.rest.len()
    }
}

/// Type, length and bind index of a PUSH, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct PushHead {
    bytes: [u8; MAX_HEAD],
    len: u8,
}

impl AsRef<[u8]> for PushHead {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Appends a PUSH that was encoded before, for the bind with this index.
///
/// # Errors
/// If the buffer cannot grow; nothing is written then.
pub fn encode_push(index: u8, push: &EncodedPush, out: &mut impl BufMut) -> Result<(), EncodeError> {
    if out.remaining_mut() < push.wire_len() {
        return Err(EncodeError::NoSpace);
    }
    out.put_slice(push.head(index).as_ref());
    out.put_slice(&push.rest);
    Ok(())
}

/// Appends a PUSH for one session only, without a temporary allocation.
///
/// # Errors
/// If it is beyond the limit; nothing is written then.
pub fn encode_push_message(index: u8, push: &client::Push, out: &mut impl BufMut) -> Result<(), EncodeError> {
    header(FrameType::Push, push.encoded_len() + 1, out)?;
    out.put_u8(index);
    push.encode(out).map_err(|_| EncodeError::NoSpace)
}
