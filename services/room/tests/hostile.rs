//! What nobody should send: each ends with a numbered CLOSE or a disconnect and a counter, and the others notice nothing.

mod support;

use std::time::{Duration, Instant};

use longline_pb::client::{self, Hello};
use longline_room::EngineConfig;
use longline_room::link::ToCluster;
use longline_types::CloseReason;
use longline_wire::{PREFACE, encode};
use support::device::{Frame, bind};
use support::{Device, Room, config, open_files};

/// A room with one well-behaved session, which is served to the end, and nothing left of the others.
fn beside_a_bystander(config: EngineConfig, attack: impl FnOnce(&Room)) {
    let room = Room::start(config);
    let mut bystander = room.device("bystander");
    room.await_clean("bystander");
    attack(&room);
    bystander.assert_served();
    room.await_metric("longline_room_connections", 1);
    room.await_metric("longline_room_unauthenticated", 0);
    room.await_metric("longline_room_sessions", 1);
    room.await_metric("longline_room_binds", 1);
    room.stop();
}

fn quick() -> EngineConfig {
    EngineConfig { handshake_ms: 300, linger_ms: 200, park_ms: 100, ..config() }
}

#[test]
fn bytes_that_are_not_the_protocol() {
    beside_a_bystander(quick(), |room| {
        let cases: [(&[u8], CloseReason); 10] = [
            (b"POST / HTTP/1.1\r\n\r\n", CloseReason::BadPreface),
            (b"LX", CloseReason::BadPreface),
            (b"LL\x09\x00", CloseReason::UnsupportedVersion),
            (b"LL\x01\x01", CloseReason::UnsupportedVersion),
            (b"LL\x01\x00\x01\xff\xff\xff\x7f", CloseReason::FrameTooLong),
            (b"LL\x01\x00\x01\x80\x80\x80\x80\x80\x80\x80", CloseReason::FrameTooLong),
            (b"LL\x01\x00\x01\x80\x00", CloseReason::FrameTooLong),
            (b"LL\x01\x00\x2a\x00", CloseReason::UnknownFrame),
            (b"LL\x01\x00\x0a\x00", CloseReason::UnexpectedFrame),
            (b"LL\x01\x00\x01\x03\xff\xff\xff", CloseReason::BadBody),
        ];
        for (bytes, reason) in cases {
            let before = room.closes(reason.name());
            let mut device = Device::connect(room.address);
            device.write(bytes);
            assert_eq!(device.close_reason(), Some(reason), "{bytes:x?}");
            assert_eq!(room.closes(reason.name()), before + 1);
        }
    });
}

#[test]
fn hellos_that_say_nonsense() {
    type Change = fn(&mut Hello);
    let cases: [(Change, CloseReason); 5] = [
        (|h| h.device.clear(), CloseReason::BadField),
        (|h| h.device = "x".repeat(129), CloseReason::BadField),
        (|h| h.binds.clear(), CloseReason::NoBind),
        (|h| h.binds = (0..17).map(|i| bind(i, "u")).collect(), CloseReason::BadField),
        (|h| h.binds[0].user = "line\nbreak".into(), CloseReason::NoBind),
    ];
    beside_a_bystander(quick(), |room| {
        for (number, (change, reason)) in cases.into_iter().enumerate() {
            let mut device = Device::connect(room.address);
            device.hello_with(&["mallory"], change);
            assert_eq!(device.close_reason(), Some(reason), "case {number}");
        }
    });
}

#[test]
fn frames_that_a_session_may_not_send() {
    let frame = |kind: u8, body: &[u8]| [&[kind, body.len() as u8], body].concat();
    let mut second_hello = Vec::new();
    encode(&Hello { device: "d".into(), ..Hello::default() }, &mut second_hello).unwrap();
    let cases = [
        (frame(99, b""), CloseReason::UnknownFrame),
        (frame(0, b""), CloseReason::UnknownFrame),
        (frame(6, b"\0"), CloseReason::UnknownFrame),
        (second_hello, CloseReason::UnexpectedFrame),
        (frame(10, b"x"), CloseReason::FrameTooLong),
        (frame(7, b"\xff\xff"), CloseReason::BadBody),
        (frame(8, b"\x0a\x7f"), CloseReason::BadBody),
        (vec![8, 0xff, 0xff, 0xff, 0x7f], CloseReason::FrameTooLong),
        (vec![7, 0x80, 0x80, 0x80, 0x80], CloseReason::FrameTooLong),
    ];
    beside_a_bystander(quick(), |room| {
        for (bytes, reason) in cases {
            let mut device = room.device("mallory");
            device.write(&bytes);
            assert_eq!(device.close_reason(), Some(reason), "{bytes:x?}");
        }
    });
}

#[test]
fn a_truncated_frame_then_nothing() {
    beside_a_bystander(quick(), |room| {
        let mut device = room.device("mallory");
        device.write(&[8, 0x80, 0x01, 1, 2, 3]);
        drop(device);
        room.await_metric("longline_room_closes_total{reason=\"client_gone\"}", 1);
        let mut half = Device::connect(room.address);
        half.write(&PREFACE);
        half.write(&[1, 50, 10]);
        assert_eq!(half.close_reason(), Some(CloseReason::HandshakeTimeout));
    });
}

#[test]
fn one_byte_at_a_time_meets_the_handshake_deadline() {
    beside_a_bystander(quick(), |room| {
        let mut hello = PREFACE.to_vec();
        let body = Hello { device: "slow".into(), binds: vec![bind(0, "mallory")], ..Hello::default() };
        encode(&body, &mut hello).unwrap();
        let mut device = Device::connect(room.address);
        let begun = Instant::now();
        let mut bytes = hello.iter().cycle();
        let close = loop {
            device.write(&[*bytes.next().unwrap()]);
            if let Some(frame) = device.frame_within(Duration::from_millis(40)) {
                break frame;
            }
        };
        assert!(matches!(close, Frame::Close(ref c) if c.reason == 1003), "{close:?}");
        assert!(begun.elapsed() >= Duration::from_millis(300), "not before the deadline");
    });
}

#[test]
fn a_hello_in_single_bytes_is_as_good_as_any() {
    let room = Room::start(config());
    let mut hello = PREFACE.to_vec();
    let body = Hello { device: "d".into(), binds: vec![bind(0, "alice")], ..Hello::default() };
    encode(&body, &mut hello).unwrap();
    let mut device = Device::connect(room.address);
    for byte in hello {
        device.write(&[byte]);
    }
    assert_eq!(device.welcome().binds.len(), 1);
    device.assert_served();
    room.stop();
}

#[test]
fn acknowledgements_of_foreign_ids_change_nothing_and_are_counted() {
    beside_a_bystander(quick(), |room| {
        room.cluster.store("bystander", [support::message(77)]);
        let mut device = room.device("mallory");
        device.ack(0, &[77, 78]);
        device.ack(5, &[77]);
        room.await_metric("longline_room_foreign_acks_total", 3);
        device.assert_served();
        assert!(room.cluster.asked(|q| matches!(q, ToCluster::Ack { .. }).then_some(())).is_empty());
        assert_eq!(room.cluster.waiting("bystander"), [77]);
        device.ack(0, &vec![1; 1025]);
        assert_eq!(device.close_reason(), Some(CloseReason::BadField));
    });
}

#[test]
fn thousands_of_connections_that_say_nothing() {
    let silent = 2000.min(open_files() / 4);
    let taken = silent * 3 / 4;
    let config =
        EngineConfig { handshake_ms: 1500, max_unauthenticated: taken as u32, linger_ms: 200, ..quick() };
    beside_a_bystander(config, |room| {
        let mut devices: Vec<Device> = (0..silent).map(|_| Device::connect(room.address)).collect();
        room.await_metric("longline_room_accepted_total", silent + 1);
        assert_eq!(room.refused("unauthenticated"), silent - taken);
        // The room is not deaf: who waits a moment is served.
        room.await_metric("longline_room_unauthenticated", 0);
        room.device("alice").assert_served();
        assert_eq!(room.closes("handshake_timeout"), taken);
        assert_eq!(room.closes("overloaded"), silent - taken);
        for device in devices.iter_mut().rev().step_by(100) {
            let reason = device.close_reason();
            assert!(
                matches!(reason, Some(CloseReason::HandshakeTimeout | CloseReason::Overloaded)),
                "{reason:?}"
            );
        }
        room.await_metric("longline_room_sessions", 1);
    });
}

#[test]
fn a_full_room_says_when_to_come_back() {
    beside_a_bystander(EngineConfig { max_sessions: 2, ..quick() }, |room| {
        let mut second = room.device("alice");
        let mut third = Device::connect(room.address);
        match third.frame() {
            Frame::Close(close) => assert!(close.reason == 1001 && close.retry_after_ms > 0),
            other => panic!("{other:?}"),
        }
        drop(third);
        second.assert_served();
        drop(second);
        room.await_metric("longline_room_connections", 1);
        room.device("alice").assert_served();
    });
}

#[test]
fn more_frames_than_there_is_reason_for() {
    beside_a_bystander(EngineConfig { frame_burst: 100, ..quick() }, |room| {
        let mut device = room.device("mallory");
        device.write(&[10, 0].repeat(1000));
        assert_eq!(device.close_reason(), Some(CloseReason::TooManyFrames));
    });
}

#[test]
fn who_sends_and_never_reads_costs_a_bounded_amount() {
    let config = EngineConfig { frame_burst: u32::MAX, write_timeout_ms: 500, ..quick() };
    beside_a_bystander(config, |room| {
        let mut device = room.device("mallory");
        device.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let pings = [10, 0].repeat(32 * 1024);
        let end = Instant::now() + Duration::from_secs(10);
        while device.write(&pings) && Instant::now() < end {
            assert!(room.metric("longline_room_output_bytes") < 1 << 20);
        }
        room.await_metric("longline_room_closes_total{reason=\"slow_reader\"}", 1);
    });
}

#[test]
fn uplinks_beyond_what_may_wait_are_put_off() {
    beside_a_bystander(EngineConfig { uplinks_per_session: 2, ..quick() }, |room| {
        let mut device = room.device("mallory");
        room.cluster.lock().silent = true;
        for sequence in 1..=5 {
            device.send(&client::Uplink { sequence, ..client::Uplink::default() });
        }
        for sequence in 3..=5 {
            match device.frame() {
                Frame::UplinkAck(ack) => assert_eq!((ack.sequence, ack.result), (sequence, 2)),
                other => panic!("{other:?}"),
            }
        }
        room.cluster.lock().silent = false;
    });
}
