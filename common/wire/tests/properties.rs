//! Any frames, any pieces, any bytes.

use bytes::BytesMut;
use longline_pb::client;
use longline_wire::{
    EncodedPush, FrameType, Limits, Sender, WireError, decode, decode_preface, encode, encode_empty,
    encode_push,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A frame that a device sends.
#[derive(Clone, Debug, PartialEq)]
enum Sent {
    Hello(client::Hello),
    Bind(client::Bind),
    Unbind(client::Unbind),
    Ack(client::Ack),
    Uplink(client::Uplink),
    Ping,
    Close(client::Close),
}

fn bind() -> impl Strategy<Value = client::Bind> {
    (0..16_u32, any::<u32>(), ".{0,32}", ".{0,40}", any::<u64>()).prop_map(
        |(index, product, user, token, last_broadcast)| client::Bind {
            index,
            product,
            user,
            token,
            last_broadcast,
        },
    )
}

fn acks() -> impl Strategy<Value = client::Ack> {
    (0..16_u32, vec(any::<u64>(), 0..300)).prop_map(|(index, ids)| client::Ack { index, ids })
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        (".{0,32}", any::<u64>(), vec(bind(), 0..4), vec(any::<u8>(), 0..64), vec(acks(), 0..4)).prop_map(
            |(device, connection_counter, binds, resume_token, have)| {
                Sent::Hello(client::Hello {
                    device,
                    connection_counter,
                    binds,
                    resume_token,
                    have,
                    ..client::Hello::default()
                })
            }
        ),
        bind().prop_map(Sent::Bind),
        any::<u32>().prop_map(|index| Sent::Unbind(client::Unbind { index })),
        acks().prop_map(Sent::Ack),
        (any::<u32>(), any::<u32>(), vec(any::<u8>(), 0..400), any::<u64>()).prop_map(
            |(index, route, payload, sequence)| {
                Sent::Uplink(client::Uplink { index, route, payload: payload.into(), sequence })
            }
        ),
        Just(Sent::Ping),
        (any::<u32>(), ".{0,60}", any::<u32>()).prop_map(|(reason, detail, retry_after_ms)| {
            Sent::Close(client::Close { reason, detail, retry_after_ms })
        }),
    ]
}

fn write(frames: &[Sent]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        match frame {
            Sent::Hello(m) => encode(m, &mut out),
            Sent::Bind(m) => encode(m, &mut out),
            Sent::Unbind(m) => encode(m, &mut out),
            Sent::Ack(m) => encode(m, &mut out),
            Sent::Uplink(m) => encode(m, &mut out),
            Sent::Ping => encode_empty(FrameType::Ping, &mut out),
            Sent::Close(m) => encode(m, &mut out),
        }
        .expect("a frame within its limit");
    }
    out
}

/// The first frame of `bytes` and its length, decoded whole.
fn read(bytes: &[u8]) -> Result<Option<(Sent, usize)>, WireError> {
    let Some((frame, used)) = decode(bytes, &Limits::FROM_DEVICE)? else { return Ok(None) };
    let sent = match frame.kind {
        FrameType::Hello => Sent::Hello(frame.parse()?),
        FrameType::Bind => Sent::Bind(frame.parse()?),
        FrameType::Unbind => Sent::Unbind(frame.parse()?),
        FrameType::Ack => Sent::Ack(frame.parse()?),
        FrameType::Uplink => Sent::Uplink(frame.parse()?),
        FrameType::Ping => Sent::Ping,
        FrameType::Close => Sent::Close(frame.parse()?),
        other => panic!("{other} got through"),
    };
    Ok(Some((sent, used)))
}

/// Reads as a connection does: bytes come in pieces, frames are taken from the front.
fn read_in_pieces(pieces: impl Iterator<Item = Vec<u8>>) -> (Vec<Sent>, Result<usize, WireError>) {
    let (mut buffer, mut frames) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend(piece);
        loop {
            match read(&buffer) {
                Ok(Some((frame, used))) => {
                    frames.push(frame);
                    buffer.drain(..used);
                }
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(buffer.len()))
}

fn cut(bytes: &[u8], sizes: &[usize]) -> impl Iterator<Item = Vec<u8>> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let (piece, more) = rest.split_at((*sizes.next()?).min(rest.len()));
        rest = more;
        (!piece.is_empty()).then(|| piece.to_vec())
    })
}

/// Bytes that begin like frames, so that the checks behind the type are reached.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let frame = (0..16_u8, vec(any::<u8>(), 0..6), vec(any::<u8>(), 0..40))
        .prop_map(|(kind, length, body)| [vec![kind], length, body].concat());
    let fitting = (1..14_u8, vec(any::<u8>(), 0..120))
        .prop_map(|(kind, body)| [vec![kind, body.len() as u8], body].concat());
    let damaged =
        (vec(sent(), 1..4), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(frames, at, byte)| {
            let mut bytes = write(&frames).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        });
    prop_oneof![vec(any::<u8>(), 0..200), vec(frame, 0..5).prop_map(|f| f.concat()), fitting, damaged]
}

proptest! {
    #[test]
    fn any_frames_in_any_pieces_come_out_the_same(
        frames in vec(sent(), 0..8),
        sizes in vec(1..50_usize, 1..20),
    ) {
        let bytes = write(&frames);
        prop_assert_eq!(read_in_pieces(cut(&bytes, &sizes)), (frames.clone(), Ok(0)));
        prop_assert_eq!(read_in_pieces(std::iter::once(bytes.to_vec())), (frames, Ok(0)));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_read_beyond(bytes in hostile()) {
        for sender in [Sender::Device, Sender::Room] {
            if let Ok(Some((frame, used))) = decode(&bytes, &Limits::of(sender)) {
                prop_assert!(used <= bytes.len());
                prop_assert_eq!(frame.body, &bytes[used - frame.body.len()..used]);
                prop_assert!(frame.body.len() <= frame.kind.limit());
                prop_assert!(frame.kind.is_sent_by(sender));
                let _ = frame.parse_push();
                // What follows a frame does not change it.
                prop_assert_eq!(decode(&bytes[..used], &Limits::of(sender)), Ok(Some((frame, used))));
                prop_assert_eq!(decode(&bytes[..used - 1], &Limits::of(sender)), Ok(None));
            }
        }
        let _ = read(&bytes);
        let _ = decode_preface(&bytes);
    }

    #[test]
    fn hostile_bytes_end_the_same_in_any_pieces(bytes in hostile(), sizes in vec(1..9_usize, 1..9)) {
        let whole = read_in_pieces(std::iter::once(bytes.clone()));
        prop_assert_eq!(read_in_pieces(cut(&bytes, &sizes)), whole);
    }

    #[test]
    fn a_partial_frame_is_refused_or_bounded(bytes in hostile()) {
        if decode(&bytes, &Limits::FROM_DEVICE) == Ok(None) {
            let longest = bytes.first().map_or(0, |n| FrameType::from_number(*n).unwrap().limit());
            prop_assert!(bytes.len() < 1 + 4 + longest);
        }
    }

    #[test]
    fn pushes_come_back(
        index: u8,
        id: u64,
        payload in vec(any::<u8>(), 0..300),
        flags in 0..16_u32,
        times in any::<(u64, u64, u64)>(),
    ) {
        let push = client::Push {
            id,
            payload: payload.into(),
            flags,
            sent_at_ms: times.0,
            expires_at_ms: times.1,
            broadcast_seq: times.2,
        };
        let mut out = Vec::new();
        encode_push(index, &EncodedPush::new(&push).unwrap(), &mut out).unwrap();
        let (frame, used) = decode(&out, &Limits::FROM_ROOM).unwrap().unwrap();
        prop_assert_eq!(used, out.len());
        prop_assert_eq!(frame.parse_push().unwrap(), (index, push));
    }
}
