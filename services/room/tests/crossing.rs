//! Devices that come back to a room with many shards: the kernel chooses the shard, and the session is found all the same (D8).
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use longline_pb::client::{BindResult, Welcome};
use longline_room::link::Delivered;
use longline_room::{EngineConfig, Transports};
use longline_types::CloseReason;
use rustls::version::TLS13;
use support::tls::{Authority, handshaken};
use support::{Device, Room, config, eventually, message};

const SHARDS: u8 = 4;
/// That chance sends all of them to the right shard is one in 4^24.
const RETURNS: u64 = 24;

fn shards(config: EngineConfig) -> EngineConfig {
    EngineConfig { shards: SHARDS, check_soon_ms: 3_600_000, ..config }
}

/// Says HELLO as alice on the `counter`th connection.
fn hello(device: &mut Device, token: &[u8], counter: u64) -> Welcome {
    device.hello_with(&["alice"], |hello| {
        hello.resume_token = token.to_vec();
        hello.connection_counter = counter;
    });
    device.welcome()
}

/// Alice comes, and comes back again and again; each time she gets her session, and a message. The last time she stays.
fn comes_back_again_and_again(room: &Room, connect: impl Fn() -> Device) -> Device {
    let mut alice = connect();
    let first = hello(&mut alice, &[], 1);
    assert_eq!(first.binds.first().map_or(BindResult::Ok, |bind| bind.result()), BindResult::Ok);
    eventually("a bind", || room.cluster.lock().routes.len() == 1);
    let mut token = first.resume_token;
    for counter in 2..2 + RETURNS {
        let parked = room.metric("longline_room_parkings_total");
        drop(alice);
        room.await_metric("longline_room_parkings_total", parked + 1);
        alice = connect();
        let again = hello(&mut alice, &token, counter);
        assert!(again.resumed, "return {counter}");
        assert_eq!(again.session, first.session);
        token = again.resume_token;
        room.cluster.store("alice", [message(counter)]);
        let delivered = room.deliver("alice", vec![message(counter)]);
        assert!(matches!(delivered[..], [Delivered::Pushed | Delivered::Deferred]), "{delivered:?}");
        assert_eq!(alice.ids(1), [counter]);
        alice.ack(0, &[counter]);
        eventually("the ack", || room.cluster.waiting("alice").is_empty());
        alice.assert_served();
    }
    assert_eq!(room.metric("longline_room_resumes_total"), RETURNS);
    assert_eq!(room.metric("longline_room_connections"), 1);
    assert_eq!(room.metric("longline_room_sessions"), 1);
    assert_eq!(room.metric("longline_room_unauthenticated"), 0);
    room.await_metric("longline_room_output_bytes", 0);
    alice
}

#[test]
fn a_session_is_found_from_every_shard() {
    let room = Room::start(shards(config()));
    comes_back_again_and_again(&room, || Device::connect(room.address));
    room.stop();
}

#[test]
fn a_connection_crosses_with_its_tls() {
    let authority = Authority::new();
    let transports = Transports::default().with_tls(Arc::clone(&authority.certificates));
    let room = Room::start_with(shards(config()), transports, &["127.0.0.1:0"]);
    let client = Arc::new(authority.client(&TLS13));
    comes_back_again_and_again(&room, || {
        Device::connect_through(room.address, |socket| Box::new(handshaken(&client, socket).unwrap()))
    });
    room.stop();
}

#[test]
fn a_connection_is_counted_once_wherever_it_is() {
    let mut config = shards(config());
    config.admission.per_ip_connections = 2;
    let room = Room::start(config);
    let _alice = comes_back_again_and_again(&room, || Device::connect(room.address));
    let _bob = room.device("bob");
    let mut third = Device::connect(room.address);
    assert_eq!(third.close_reason(), Some(CloseReason::Overloaded), "alice and bob are two");
    room.stop();
}

#[test]
fn a_session_that_is_gone_is_a_fresh_one_in_its_shard() {
    let room = Room::start(EngineConfig { park_ms: 100, ..shards(config()) });
    let mut alice = Device::connect(room.address);
    let first = hello(&mut alice, &[], 1);
    drop(alice);
    eventually("its end", || room.cluster.lock().routes.is_empty());
    for counter in 2..10 {
        let mut alice = Device::connect(room.address);
        let fresh = hello(&mut alice, &first.resume_token, counter);
        assert!(!fresh.resumed);
        assert_eq!(fresh.session >> 56, first.session >> 56, "the shard");
        alice.assert_served();
    }
    assert_eq!(room.metric("longline_room_resumes_refused_total{reason=\"gone\"}"), 8);
    room.stop();
}
