use longline_pb::client;
use longline_wire::{
    FrameRef, FrameType, Limits, PREFACE_LEN, Sender, WireError, decode, decode_preface, encode,
};

use super::pieces;

/// The frame codec. The first byte chooses the sender, the second the size of the pieces; then come preface and frames.
///
/// Whole or in pieces, the same frames come out and the same error; no frame is beyond its limit; what a body says is said again when
/// it is written and read once more.
pub fn codec(data: &[u8]) {
    let Some((&[side, size], bytes)) = data.split_first_chunk() else { return };
    let sender = if side & 1 == 0 { Sender::Device } else { Sender::Room };
    let whole = read([bytes].into_iter(), sender);
    assert_eq!(read(pieces(bytes, size), sender), whole);
}

/// Frames as (type, length of the body), and how it ended: an error or bytes that are left.
type Read = (Vec<(FrameType, usize)>, Result<usize, WireError>);

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, sender: Sender) -> Read {
    let limits = Limits::of(sender);
    let (mut buffer, mut frames) = (Vec::new(), Vec::new());
    let mut preface = sender == Sender::Device;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut used = 0;
        if preface {
            match decode_preface(&buffer) {
                Ok(None) => continue,
                Ok(Some(_)) => (preface, used) = (false, PREFACE_LEN),
                Err(error) => return (frames, Err(error)),
            }
        }
        loop {
            match decode(&buffer[used..], &limits) {
                Ok(Some((frame, length))) => {
                    assert!(used + length <= buffer.len() && frame.kind.is_sent_by(sender));
                    assert!(frame.body.len() <= frame.kind.limit());
                    check_body(&frame);
                    frames.push((frame.kind, frame.body.len()));
                    used += length;
                }
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        buffer.drain(..used);
    }
    let left = buffer.len();
    (frames, Ok(left))
}

fn check_body(frame: &FrameRef<'_>) {
    match frame.kind {
        FrameType::Hello => again::<client::Hello>(frame),
        FrameType::Welcome => again::<client::Welcome>(frame),
        FrameType::Bind => again::<client::Bind>(frame),
        FrameType::Unbind => again::<client::Unbind>(frame),
        FrameType::Bound => again::<client::Bound>(frame),
        FrameType::Ack => again::<client::Ack>(frame),
        FrameType::Uplink => again::<client::Uplink>(frame),
        FrameType::UplinkAck => again::<client::UplinkAck>(frame),
        FrameType::Directive => again::<client::Directive>(frame),
        FrameType::Close => again::<client::Close>(frame),
        FrameType::Push => drop(frame.parse_push()),
        FrameType::Ping | FrameType::Pong => {}
    }
}

fn again<M: longline_wire::Body + PartialEq>(frame: &FrameRef<'_>) {
    let Ok(message) = frame.parse::<M>() else { return };
    let mut written = Vec::new();
    // Numbers that were packed badly may take more bytes when they are written rightly, and then too many.
    if encode(&message, &mut written).is_ok() {
        let limits = if M::KIND.is_sent_by(Sender::Device) { Limits::FROM_DEVICE } else { Limits::FROM_ROOM };
        let (frame, used) = decode(&written, &limits).ok().flatten().expect("a frame that was written");
        assert_eq!(used, written.len());
        assert!(frame.parse::<M>().is_ok_and(|read| read == message));
    }
}
