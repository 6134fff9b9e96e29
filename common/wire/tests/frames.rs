//! What each frame looks like on the wire, and that all of it is read back.

mod examples;

use bytes::BytesMut;
use examples::{all, hex, push};
use longline_pb::client;
use longline_types::CloseReason;
use longline_wire::{
    EncodeError, EncodedPush, FrameRef, FrameType, Limits, PREFACE, WireError, decode, encode, encode_empty,
    encode_push, encode_push_message,
};

#[test]
fn the_bytes_of_every_frame_are_fixed() {
    let lines: Vec<String> = all().iter().map(|e| format!("{}: {}", e.name, hex(&e.bytes))).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    preface: 4c 4c 01 00
    HELLO: 01 28 0a 03 64 2d 31 10 07 1a 06 6d 69 6e 69 2f 31 22 05 6c 69 6e 75 78 28 01 32 09 10 01 1a 05 61 6c 69 63 65 38 1e 40 ac 02
    WELCOME: 02 19 09 2a 00 00 00 01 00 00 00 18 f0 01 28 80 d8 c1 a2 8c 34 32 04 10 01 18 20
    BIND: 03 0c 08 01 10 02 1a 03 62 6f 62 22 01 74
    UNBIND: 04 02 08 01
    UNBIND of index 0: 04 00
    BOUND: 05 06 08 01 10 01 18 20
    PUSH: 06 23 00 09 2a 00 00 00 00 00 00 00 12 07 22 68 65 6c 6c 6f 22 18 01 20 80 d8 c1 a2 8c 34 28 e0 ac c5 a2 8c 34
    ACK: 07 12 12 10 2a 00 00 00 00 00 00 00 2b 00 00 00 00 00 00 00
    UPLINK: 08 0d 10 03 1a 07 7b 22 61 22 3a 31 7d 20 09
    UPLINK_ACK: 09 04 08 09 10 01
    PING: 0a 00
    PONG: 0b 00
    DIRECTIVE reconnect: 0c 1a 0a 18 0a 0d 31 30 2e 30 2e 30 2e 32 3a 39 30 30 30 10 b0 ea 01 1a 03 01 02 03
    DIRECTIVE heartbeat: 0c 02 10 3c
    CLOSE: 0d 16 08 e8 07 12 0e 74 68 65 20 72 6f 6f 6d 20 73 74 6f 70 73 18 88 27
    HELLO resume: 01 22 0a 03 64 2d 31 10 08 32 09 10 01 1a 05 61 6c 69 63 65 4a 02 0a 0b 52 0a 12 08 2a 00 00 00 00 00 00 00
    WELCOME resumed: 02 1f 09 2a 00 00 00 01 00 00 00 12 02 0c 0d 18 f0 01 20 01 28 80 d8 c1 a2 8c 34 32 04 10 01 18 20
    ");
}

#[test]
fn a_push_made_once_is_the_push_made_for_one() {
    let shared = EncodedPush::new(&push()).unwrap();
    for index in [0, 1, 15, 255] {
        let (mut one, mut other) = (BytesMut::new(), Vec::new());
        encode_push(index, &shared, &mut one).unwrap();
        encode_push_message(index, &push(), &mut other).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.len(), shared.wire_len());
        assert_eq!([shared.head(index).as_ref(), shared.rest()].concat(), other);
        let (frame, used) = decode(&one, &Limits::FROM_ROOM).unwrap().unwrap();
        assert_eq!((used, frame.parse_push().unwrap()), (one.len(), (index, push())));
    }
    assert_eq!(shared.clone().rest().as_ptr(), shared.rest().as_ptr(), "clones share the bytes");
}

#[test]
fn a_push_of_any_length_says_it_rightly() {
    for size in [0, 1, 60, 118, 127, 128, 16_300, 16_384, 65_536] {
        let push = client::Push { payload: vec![7; size].into(), ..push() };
        let mut bytes = BytesMut::new();
        encode_push(3, &EncodedPush::new(&push).unwrap(), &mut bytes).unwrap();
        let (frame, used) = decode(&bytes, &Limits::FROM_ROOM).unwrap().unwrap();
        assert_eq!(used, bytes.len());
        assert_eq!(frame.parse_push().unwrap(), (3, push));
    }
}

#[test]
fn what_is_too_long_is_not_written() {
    let mut out = Vec::new();
    let push = client::Push { payload: vec![0; 71 * 1024].into(), ..push() };
    assert!(matches!(EncodedPush::new(&push), Err(EncodeError::TooLong { kind: FrameType::Push, .. })));
    assert!(encode_push_message(0, &push, &mut out).is_err());
    let close = client::Close { detail: "x".repeat(1100), ..client::Close::default() };
    assert!(encode(&close, &mut out).is_err());
    let mut full = [0; 5];
    assert_eq!(encode(&examples::hello(), &mut full.as_mut_slice()), Err(EncodeError::NoSpace));
    assert_eq!(encode_empty(FrameType::Ping, &mut [0_u8; 1].as_mut_slice()), Err(EncodeError::NoSpace));
    assert!(out.is_empty() && full == [0; 5]);
}

#[test]
fn refusals_come_with_the_first_byte_that_tells() {
    let refused = |bytes: &[u8], reason: CloseReason| {
        let (last, before) = bytes.split_last().unwrap();
        assert_eq!(decode(before, &Limits::FROM_DEVICE), Ok(None), "before {last:#x}");
        assert_eq!(decode(bytes, &Limits::FROM_DEVICE).unwrap_err().reason(), reason);
    };
    refused(&[0], CloseReason::UnknownFrame);
    refused(&[14], CloseReason::UnknownFrame);
    refused(&[FrameType::Push.number()], CloseReason::UnknownFrame);
    refused(&[FrameType::Ping.number(), 1], CloseReason::FrameTooLong);
    refused(&[FrameType::Unbind.number(), 17], CloseReason::FrameTooLong);
    refused(&[FrameType::Hello.number(), 0xff, 0xff, 0x7f], CloseReason::FrameTooLong);
    refused(&[FrameType::Hello.number(), 0xff, 0xff, 0xff, 0xff], CloseReason::FrameTooLong);
    refused(&[FrameType::Hello.number(), 0x80, 0x00], CloseReason::FrameTooLong);
}

#[test]
fn bodies_that_are_not_their_message_are_refused() {
    let frame = |kind, body| FrameRef { kind, body };
    let bad = |kind| Err::<(), _>(WireError::BadBody(kind));
    assert_eq!(frame(FrameType::Hello, &[0xff]).parse::<client::Hello>().map(drop), bad(FrameType::Hello));
    assert_eq!(frame(FrameType::Ack, &[0x12, 9]).parse::<client::Ack>().map(drop), bad(FrameType::Ack));
    assert_eq!(frame(FrameType::Ack, &[]).parse::<client::Bind>().map(drop), bad(FrameType::Ack));
    assert_eq!(frame(FrameType::Push, &[]).parse_push().map(drop), bad(FrameType::Push));
    assert_eq!(frame(FrameType::Ack, &[0]).split_push().map(drop), bad(FrameType::Ack));
}

#[test]
fn a_hello_of_many_empty_binds_is_refused_before_it_is_kept() {
    let body = [0x32, 0].repeat(17);
    let hello = FrameRef { kind: FrameType::Hello, body: &body };
    let refusal = hello.parse::<client::Hello>().unwrap_err();
    assert_eq!(refusal, WireError::TooManyItems { kind: FrameType::Hello, limit: 16 });
    assert_eq!(FrameRef { body: &body[2..], ..hello }.parse::<client::Hello>().unwrap().binds.len(), 16);
}

#[test]
fn the_preface_is_no_frame() {
    assert_eq!(decode(&PREFACE, &Limits::FROM_DEVICE), Err(WireError::UnknownType(b'L')));
}
