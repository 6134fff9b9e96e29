//! What a room sends, as frames of `tokio-util`.

use bytes::{Buf, BytesMut};
use longline_pb::client;
use longline_wire::{FrameType, Limits, WireError, decode};
use tokio_util::codec::Decoder;

/// A frame from a room.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum RoomFrame {
    Welcome(client::Welcome),
    Bound(client::Bound),
    Push(u8, client::Push),
    UplinkAck(client::UplinkAck),
    Pong,
    Directive(client::Directive),
    Close(client::Close),
}

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads frames from a room.
#[derive(Debug)]
pub(crate) struct RoomCodec;

impl Decoder for RoomCodec {
    type Item = RoomFrame;
    type Error = ReadError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<RoomFrame>, ReadError> {
        let Some((frame, used)) = decode(bytes, &Limits::FROM_ROOM)? else { return Ok(None) };
        let read = match frame.kind {
            FrameType::Welcome => RoomFrame::Welcome(frame.parse()?),
            FrameType::Bound => RoomFrame::Bound(frame.parse()?),
            FrameType::Push => {
                let (index, push) = frame.parse_push()?;
                RoomFrame::Push(index, push)
            }
            FrameType::UplinkAck => RoomFrame::UplinkAck(frame.parse()?),
            FrameType::Pong => RoomFrame::Pong,
            FrameType::Directive => RoomFrame::Directive(frame.parse()?),
            FrameType::Close => RoomFrame::Close(frame.parse()?),
            kind => return Err(WireError::WrongSender(kind).into()),
        };
        bytes.advance(used);
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use longline_wire::encode;

    use super::*;

    #[test]
    fn frames_are_taken_one_by_one() {
        let bound = client::Bound { index: 2, ..client::Bound::default() };
        let mut bytes = BytesMut::new();
        encode(&bound, &mut bytes).unwrap();
        bytes.extend_from_slice(&[FrameType::Pong.number(), 0, FrameType::Bound.number()]);
        assert_eq!(RoomCodec.decode(&mut bytes).unwrap(), Some(RoomFrame::Bound(bound)));
        assert_eq!(RoomCodec.decode(&mut bytes).unwrap(), Some(RoomFrame::Pong));
        assert_eq!(RoomCodec.decode(&mut bytes).unwrap(), None);
        assert_eq!(bytes.len(), 1);
    }

    #[test]
    fn what_a_room_does_not_send_is_an_error() {
        for kind in [FrameType::Hello, FrameType::Ping, FrameType::Ack] {
            assert!(RoomCodec.decode(&mut BytesMut::from(&[kind.number(), 0][..])).is_err());
        }
    }
}
