//! Any frames, any pieces, any bytes.

use longline_websocket::{
    ClientKey, CloseCode, Control, Decoder, LONGEST_REQUEST, PATH, Side, WebSocketError, decode_request,
    decode_response, encode_close, encode_data, encode_ping, encode_pong,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a side sends.
#[derive(Clone, Debug)]
enum Sent {
    /// A message in these pieces.
    Data(Vec<Vec<u8>>),
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// What the other side hears.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Heard {
    payload: Vec<u8>,
    controls: Vec<Control>,
    error: Option<WebSocketError>,
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        4 => vec(vec(any::<u8>(), 0..200), 1..4).prop_map(Sent::Data),
        1 => vec(any::<u8>(), 65_000..66_000).prop_map(|payload| Sent::Data(vec![payload])),
        2 => vec(any::<u8>(), 0..126).prop_map(Sent::Ping),
        1 => Just(Sent::Pong),
    ]
}

fn write(sent: &[Sent], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = Vec::new();
    for sent in sent {
        match sent {
            Sent::Data(pieces) => {
                for (i, piece) in pieces.iter().enumerate() {
                    let start = out.len();
                    encode_data(piece, mask, &mut out);
                    // The encoder writes whole messages: make pieces of them.
                    let (first, last) = (i == 0, i + 1 == pieces.len());
                    out[start] = if last { 0x80 } else { 0 } | if first { 2 } else { 0 };
                    if !last {
                        encode_ping(b"between", mask, &mut out);
                    }
                }
            }
            Sent::Ping(payload) => encode_ping(payload, mask, &mut out),
            Sent::Pong => encode_pong(b"", mask, &mut out),
            Sent::Close => encode_close(CloseCode::Normal, mask, &mut out),
        }
    }
    out
}

fn hear(sender: Side, bytes: &[u8], sizes: &[usize]) -> Heard {
    let (mut decoder, mut heard) = (Decoder::new(sender), Heard::default());
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((*sizes.next().expect("a size")).min(rest.len()));
        let mut piece = piece.to_vec();
        match decoder.decode(&mut piece, |control| heard.controls.push(control)) {
            Ok(length) => heard.payload.extend_from_slice(&piece[..length]),
            Err(error) => heard.error = Some(error),
        }
        rest = more;
    }
    heard
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Server)]
}

/// Bytes that begin like frames, so that the checks behind the first bytes are reached.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let damaged =
        (vec(sent(), 1..4), any::<Option<[u8; 4]>>(), vec(any::<(prop::sample::Index, u8)>(), 1..4))
            .prop_map(|(sent, mask, damage)| {
                let mut bytes = write(&sent, mask);
                for (at, byte) in damage {
                    // Heads are at the front.
                    let at = at.index(bytes.len().min(300));
                    bytes[at] = byte;
                }
                bytes
            });
    prop_oneof![vec(any::<u8>(), 0..200), damaged]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn payloads_come_out_the_same_in_any_pieces(
        mut frames in vec(sent(), 0..6),
        close: bool,
        mask: Option<[u8; 4]>,
        sizes in vec(1..300_usize, 1..10),
    ) {
        if close {
            frames.push(Sent::Close);
        }
        let sender = if mask.is_some() { Side::Client } else { Side::Server };
        let bytes = write(&frames, mask);
        let heard = hear(sender, &bytes, &sizes);
        let payload: Vec<u8> = frames.iter().flat_map(|sent| match sent {
            Sent::Data(pieces) => pieces.concat(),
            _ => Vec::new(),
        }).collect();
        prop_assert!(heard.payload == payload);
        let pings: Vec<&[u8]> = frames.iter().flat_map(|sent| match sent {
            Sent::Ping(payload) => vec![payload.as_slice()],
            Sent::Data(pieces) => vec![b"between".as_slice(); pieces.len() - 1],
            _ => Vec::new(),
        }).collect();
        let heard_pings: Vec<&[u8]> = heard.controls.iter().filter_map(|control| match control {
            Control::Ping(ping) => Some(ping.as_ref()),
            _ => None,
        }).collect();
        prop_assert_eq!(heard_pings, pings);
        prop_assert_eq!(heard.controls.last() == Some(&Control::Close(Some(1000))), close);
        prop_assert_eq!(heard.error, None);
    }

    #[test]
    fn hostile_bytes_end_the_same_in_any_pieces(
        sender in side(),
        bytes in hostile(),
        sizes in vec(1..30_usize, 1..9),
    ) {
        let whole = hear(sender, &bytes, &[usize::MAX]);
        let pieces = hear(sender, &bytes, &sizes);
        prop_assert_eq!(&pieces.controls, &whole.controls);
        prop_assert_eq!(pieces.error, whole.error);
        // Of the bytes that came together with a fault, the payload before it is lost.
        prop_assert!(whole.error.is_some() || pieces.payload == whole.payload);
    }

    #[test]
    fn no_bytes_make_a_head_panic(bytes in prop_oneof![
        vec(any::<u8>(), 0..300),
        "GET /v1/ws HTTP/1.1\r\n([A-Za-z-]{1,20}: [a-zA-Z0-9=, ]{0,30}\r\n){0,8}(\r\n)?".prop_map(String::into_bytes),
        "HTTP/1.1 101 [a-z]{0,5}\r\n([A-Za-z-]{1,20}: [a-zA-Z0-9=, ]{0,30}\r\n){0,8}(\r\n)?".prop_map(String::into_bytes),
    ]) {
        let whole = decode_request(&bytes, PATH);
        for cut in 0..bytes.len() {
            match decode_request(&bytes[..cut], PATH) {
                Ok(None) => prop_assert!(cut < LONGEST_REQUEST),
                said => prop_assert_eq!(&said, &whole),
            }
        }
        let _ = decode_response(&bytes, &ClientKey::new([0; 16]));
    }
}
