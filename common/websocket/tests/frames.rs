//! What frames look like on the wire, and what is refused.

use longline_websocket::{
    CloseCode, Control, Decoder, FrameHead, Side, WebSocketError, encode_close, encode_data, encode_ping,
    encode_pong,
};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// All that a decoder says of these bytes when they come at once.
fn decode(sender: Side, bytes: &[u8]) -> (Vec<Control>, Result<Vec<u8>, WebSocketError>) {
    let (mut controls, mut bytes) = (Vec::new(), bytes.to_vec());
    let length = Decoder::new(sender).decode(&mut bytes, |control| controls.push(control));
    (controls, length.map(|length| bytes[..length].to_vec()))
}

/// The last byte is the first that tells.
fn refused(sender: Side, bytes: &[u8]) -> WebSocketError {
    let before = &bytes[..bytes.len() - 1];
    assert!(decode(sender, before).1.is_ok(), "{bytes:02x?}");
    let mut decoder = Decoder::new(sender);
    let error = decoder.decode(&mut bytes.to_vec(), |_| ()).expect_err("an error");
    // What comes after is passed over.
    let mut controls = 0;
    assert_eq!(
        decoder.decode(&mut [0x82, 0x80, 0, 0, 0, 0, 0x89, 0x80, 0, 0, 0, 0], |_| controls += 1),
        Ok(0)
    );
    assert!(decoder.has_ended() && controls == 0);
    error
}

#[test]
fn heads_are_as_short_as_can_be() {
    let head = |length| FrameHead::of_server(length).as_ref().to_vec();
    assert_eq!(head(0), [0x82, 0]);
    assert_eq!(head(125), [0x82, 125]);
    assert_eq!(head(126), [0x82, 126, 0, 126]);
    assert_eq!(head(65_535), [0x82, 126, 0xff, 0xff]);
    assert_eq!(head(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(FrameHead::of_client(5, KEY).as_ref(), [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(FrameHead::of_client(70_000, KEY).as_ref().len(), 14);
}

#[test]
fn the_examples_of_the_rfc() {
    // 5.7: a masked "Hello", as binary; an unmasked one in pieces with a ping between; a ping and its pong.
    let mut out = Vec::new();
    encode_data(b"Hello", Some(KEY), &mut out);
    assert_eq!(out, [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    assert_eq!(decode(Side::Client, &out).1, Ok(b"Hello".to_vec()));
    let pieces = [0x02, 3, b'H', b'e', b'l', 0x89, 5, b'H', b'e', b'l', b'l', b'o', 0x80, 2, b'l', b'o'];
    let (controls, payload) = decode(Side::Server, &pieces);
    let [Control::Ping(ping)] = controls[..] else { panic!("{controls:?}") };
    assert_eq!((payload, ping.as_ref()), (Ok(b"Hello".to_vec()), b"Hello".as_slice()));
    out.clear();
    encode_pong(ping.as_ref(), Some(KEY), &mut out);
    assert_eq!(out, [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    assert_eq!(decode(Side::Client, &out), (vec![Control::Pong], Ok(vec![])));
}

#[test]
fn close_frames_say_why() {
    let mut out = Vec::new();
    encode_close(CloseCode::GoingAway, None, &mut out);
    assert_eq!(out, [0x88, 2, 0x03, 0xe9]);
    out.extend_from_slice(&[0x82, 1, 7]);
    assert_eq!(
        decode(Side::Server, &out),
        (vec![Control::Close(Some(1001))], Ok(vec![])),
        "nothing counts after it"
    );
    assert_eq!(decode(Side::Server, &[0x88, 0]), (vec![Control::Close(None)], Ok(vec![])));
    assert_eq!(decode(Side::Server, &[0x88, 4, 0x0f, 0xa0, b'h', b'i']).0, [Control::Close(Some(4000))]);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        let [high, low] = code.to_be_bytes();
        assert_eq!(refused(Side::Server, &[0x88, 2, high, low]), WebSocketError::BadClose, "{code}");
    }
    assert_eq!(refused(Side::Server, &[0x88, 1, 3]), WebSocketError::BadClose);
    assert_eq!(refused(Side::Server, &[0x88, 3, 0x03, 0xe8, 0xff]), WebSocketError::BadCloseText);
}

#[test]
fn a_mask_is_the_clients() {
    assert_eq!(refused(Side::Client, &[0x82, 0x05]), WebSocketError::Unmasked);
    assert_eq!(refused(Side::Server, &[0x82, 0x85]), WebSocketError::Masked);
}

#[test]
fn frames_that_are_none() {
    let server = |bytes: &[u8]| refused(Side::Server, bytes);
    assert_eq!(server(&[0xc2]), WebSocketError::ReservedBit);
    assert_eq!(server(&[0xa2]), WebSocketError::ReservedBit);
    assert_eq!(server(&[0x92]), WebSocketError::ReservedBit);
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(server(&[0x80 | opcode]), WebSocketError::UnknownOpcode(opcode));
    }
    assert_eq!(server(&[0x81]), WebSocketError::Text);
    assert_eq!(server(&[0x01]), WebSocketError::Text);
    assert_eq!(server(&[0x80]), WebSocketError::NothingToContinue);
    assert_eq!(server(&[0x82, 1, 7, 0x00]), WebSocketError::NothingToContinue);
    assert_eq!(server(&[0x02, 1, 7, 0x82]), WebSocketError::NotContinued);
    assert_eq!(server(&[0x02, 0, 0x89, 0, 0x02]), WebSocketError::NotContinued);
    assert_eq!(server(&[0x09]), WebSocketError::BadControl);
    assert_eq!(server(&[0x89, 126]), WebSocketError::BadControl);
    assert_eq!(server(&[0x88, 127]), WebSocketError::BadControl);
}

#[test]
fn lengths_are_in_their_shortest_form() {
    for sender in [Side::Server, Side::Client] {
        let mask = if sender == Side::Client { 0x80 } else { 0 };
        let bad = |bytes: &[u8]| {
            let bytes = [&[0x82, mask | bytes[0]], &bytes[1..]].concat();
            assert_eq!(refused(sender, &bytes), WebSocketError::BadLength, "{bytes:02x?}");
        };
        bad(&[126, 0, 0]);
        bad(&[126, 0, 125]);
        bad(&[127, 0, 0, 0, 0, 0, 0]);
        bad(&[127, 0x80]);
        let good = |bytes: &[u8]| {
            let bytes = [&[0x82, mask | bytes[0]], &bytes[1..]].concat();
            assert_eq!(decode(sender, &bytes).1, Ok(vec![]), "{bytes:02x?}");
        };
        good(&[126, 0, 126]);
        good(&[126, 1, 0]);
        good(&[127, 0, 0, 0, 0, 0, 1, 0, 0]);
        good(&[127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }
}

#[test]
fn control_frames_take_at_most_125_bytes() {
    let mut out = Vec::new();
    encode_ping(&[7; 200], None, &mut out);
    let (controls, payload) = decode(Side::Server, &out);
    let [Control::Ping(ping)] = controls[..] else { panic!("{controls:?}") };
    assert_eq!((ping.as_ref(), payload), ([7; 125].as_slice(), Ok(vec![])));
}

#[test]
fn every_error_has_its_code() {
    assert_eq!(WebSocketError::Text.code().number(), 1003);
    assert_eq!(WebSocketError::BadCloseText.code().number(), 1007);
    assert_eq!(WebSocketError::Unmasked.code().number(), 1002);
}
