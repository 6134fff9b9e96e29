//! Clients that mean harm, or know no better, against the whole system: each ends with a numbered CLOSE or a disconnect and a
//! counter, and nobody else feels it.
#![allow(clippy::unwrap_used)]

use longline_e2e::{Cluster, Device, SOON, Shape};
use longline_pb::client::{Ack, Bind, BindResult, Bound, Close, Hello, Welcome};
use longline_types::CloseReason;
use longline_wire::{FrameType, Limits, PREFACE, decode, encode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Everything the room sends until it closes, or an error after a long wait.
async fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is as good an end as any.
    let _ =
        tokio::time::timeout(SOON, socket.read_to_end(&mut all)).await.expect("the room ends the connection");
    all
}

/// The reason of the CLOSE in what the room sent, if there is one.
fn reason(bytes: &[u8]) -> Option<CloseReason> {
    let mut rest = bytes;
    while let Ok(Some((frame, length))) = decode(rest, &Limits::FROM_ROOM) {
        if frame.kind == FrameType::Close {
            return CloseReason::from_number(frame.parse::<Close>().unwrap().reason);
        }
        rest = &rest[length..];
    }
    None
}

fn hello(product: u32, user: &str, token: &str) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    let bind = Bind { index: 0, product, user: user.to_owned(), token: token.to_owned(), last_broadcast: 0 };
    let hello =
        Hello { device: "hostile".to_owned(), connection_counter: 1, binds: vec![bind], ..Hello::default() };
    encode(&hello, &mut bytes).unwrap();
    bytes
}

/// Connects and says hello; returns once the bind stands.
async fn greeted(cluster: &Cluster, product: u32, user: &str) -> TcpStream {
    let mut socket = TcpStream::connect(&cluster.rooms()[0]).await.unwrap();
    socket.write_all(&hello(product, user, "")).await.unwrap();
    let mut input = Vec::new();
    loop {
        let mut rest = &input[..];
        while let Some((frame, length)) = decode(rest, &Limits::FROM_ROOM).unwrap() {
            let bound = match frame.kind {
                FrameType::Welcome => frame.parse::<Welcome>().unwrap().binds,
                FrameType::Bound => vec![frame.parse::<Bound>().unwrap()],
                other => panic!("{other:?}"),
            };
            if bound.iter().any(|b| b.result() == BindResult::Ok) {
                return socket;
            }
            rest = &rest[length..];
        }
        assert_ne!(socket.read_buf(&mut input).await.unwrap(), 0, "closed");
    }
}

#[tokio::test]
async fn rubbish_ends_with_its_numbered_reason_and_nobody_else_feels_it() {
    let cluster = Cluster::start().await.unwrap();
    let alice = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    let with_preface = |bytes: &[u8]| [&PREFACE[..], bytes].concat();
    let before_hello: [(&str, Vec<u8>, CloseReason); 7] = [
        ("another protocol", b"SSH-2.0-client\r\n".to_vec(), CloseReason::BadPreface),
        ("another version", b"LL\x09\x00".to_vec(), CloseReason::UnsupportedVersion),
        ("a frame type that does not exist", with_preface(&[200, 0]), CloseReason::UnknownFrame),
        ("a first frame that is no HELLO", with_preface(&[10, 0]), CloseReason::UnexpectedFrame),
        (
            "a varint that never ends",
            with_preface(&[1, 0xff, 0xff, 0xff, 0xff, 0xff]),
            CloseReason::FrameTooLong,
        ),
        (
            "a frame longer than the limit",
            with_preface(&[1, 0xff, 0xff, 0xff, 0x7f]),
            CloseReason::FrameTooLong,
        ),
        ("wrong protobuf", with_preface(&[1, 3, 0xff, 0xff, 0xff]), CloseReason::BadBody),
    ];
    for (what, bytes, expected) in before_hello {
        let mut socket = TcpStream::connect(&cluster.rooms()[0]).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        let answer = read_to_end(&mut socket).await;
        assert_eq!(reason(&answer), Some(expected), "{what}");
    }
    let mut as_a_room = greeted(&cluster, cluster.product, "mallory").await;
    as_a_room.write_all(&[2, 0]).await.unwrap();
    assert_eq!(reason(&read_to_end(&mut as_a_room).await), Some(CloseReason::UnknownFrame));
    let mut second_hello = greeted(&cluster, cluster.product, "mallory").await;
    second_hello.write_all(&hello(cluster.product, "mallory", "")[4..]).await.unwrap();
    assert_eq!(reason(&read_to_end(&mut second_hello).await), Some(CloseReason::UnexpectedFrame));
    let id = cluster.api.push("alice", json!("still fine")).await.unwrap();
    alice.until_has(&[id]).await.unwrap();
    assert_eq!(alice.received().connections.len(), 1);
}

#[tokio::test]
async fn binds_that_may_not_be_made_end_with_no_bind() {
    let cluster = Cluster::start().await.unwrap();
    let closed = json!({ "name": "closed", "require_token": true });
    let (closed, _) = cluster.create_product(closed).await.unwrap();
    for (what, bytes) in [
        ("a product that does not exist", hello(4_000_000, "mallory", "")),
        ("a bad token", hello(closed, "mallory", "not.a.token")),
    ] {
        let mut socket = TcpStream::connect(&cluster.rooms()[0]).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        assert_eq!(reason(&read_to_end(&mut socket).await), Some(CloseReason::NoBind), "{what}");
    }
}

#[tokio::test]
async fn acknowledging_foreign_messages_changes_nothing_and_is_counted() {
    let cluster = Cluster::start().await.unwrap();
    let id = cluster.api.push("alice", json!("for alice alone")).await.unwrap();
    let mut mallory = greeted(&cluster, cluster.product, "mallory").await;
    let mut ack = Vec::new();
    encode(&Ack { index: 0, ids: vec![id.0, 1, u64::MAX] }, &mut ack).unwrap();
    mallory.write_all(&ack).await.unwrap();
    let counted = async || cluster.metric("room-1", "longline_room_foreign_acks_total") >= 3.0;
    longline_testkit::eventually(SOON, "foreign acks are counted", counted).await;
    assert_eq!(cluster.api.waiting("alice").await.unwrap(), 1);
    let alice = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    alice.until_has(&[id]).await.unwrap();
}

#[tokio::test]
async fn silent_and_slow_connections_are_dropped_at_the_handshakes_deadline() {
    let mut shape = Shape::default();
    shape.room.engine.handshake_ms = 1_000;
    let cluster = Cluster::shaped(shape).await.unwrap();
    let alice = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..2_000 {
        silent.push(TcpStream::connect(&cluster.rooms()[0]).await.unwrap());
    }
    let mut slow = TcpStream::connect(&cluster.rooms()[0]).await.unwrap();
    let drip = async {
        for byte in hello(cluster.product, "mallory", "") {
            slow.write_all(&[byte]).await.ok();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let id = cluster.api.push("alice", json!("through the crowd")).await.unwrap();
    alice.until_has(&[id]).await.unwrap();
    drip.await;
    read_to_end(&mut slow).await;
    for socket in &mut silent {
        let answer = read_to_end(socket).await;
        assert!(answer.is_empty() || reason(&answer) == Some(CloseReason::HandshakeTimeout));
    }
    assert_eq!(alice.received().connections.len(), 1);
}

#[tokio::test]
async fn a_device_that_never_reads_costs_no_more_than_its_window() {
    let cluster = Cluster::start().await.unwrap();
    let (product, api) = cluster.create_product(json!({ "name": "narrow", "window": 4 })).await.unwrap();
    let _deaf = greeted(&cluster, product, "deaf").await;
    let alice = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    let large = "x".repeat(60_000);
    for number in 0..100 {
        api.push("deaf", json!(format!("{number} {large}"))).await.unwrap();
    }
    let id = cluster.api.push("alice", json!("unhindered")).await.unwrap();
    alice.until_has(&[id]).await.unwrap();
    let deferred = async || cluster.metric("room-1", "longline_room_deferred_total") >= 96.0;
    longline_testkit::eventually(SOON, "hints beyond the window are deferred", deferred).await;
    let pushes = cluster.metric("room-1", "longline_room_pushes_total");
    assert!(pushes <= 5.0, "{pushes} pushes to both");
    assert_eq!(api.waiting("deaf").await.unwrap(), 100, "the inbox keeps what the device does not take");
}
