//! What a room tells of itself, seen from outside.

mod support;

use longline_pb::client::Network;
use longline_room::EngineConfig;
use support::{Device, Room, config, eventually, message};

#[test]
fn sessions_are_counted_by_what_they_are_and_only_while_they_are_there() {
    let room = Room::start(config());
    let labelled = |family: &str, label: &str, value: &str| {
        format!("longline_room_{family}{{{label}=\"{value}\",transport=\"tcp\"}}")
    };
    let greeting = Device::connect(room.address);
    room.await_metric(&labelled("connections_by_state", "state", "greeting"), 1);
    let mut phone = Device::connect(room.address);
    phone.hello_with(&["alice"], |hello| {
        hello.network = Network::Network4g.into();
        hello.sdk = "Android/2.1.0-beta".into();
    });
    phone.welcome();
    let mut board = Device::connect(room.address);
    board.hello_with(&["bob"], |hello| hello.sdk = "<script>".into());
    board.welcome();
    let open = labelled("connections_by_state", "state", "open");
    room.await_metric(&open, 2);
    room.await_metric(&labelled("sessions_by_network", "network", "4g"), 1);
    room.await_metric(&labelled("sessions_by_network", "network", "unspecified"), 1);
    room.await_metric("longline_room_sessions_by_sdk{sdk=\"android/2.1.0\"}", 1);
    room.await_metric("longline_room_sessions_by_sdk{sdk=\"other\"}", 1);
    drop((greeting, phone));
    room.await_metric(&open, 1);
    room.await_metric(&labelled("connections_by_state", "state", "greeting"), 0);
    room.await_metric(&labelled("sessions_by_network", "network", "4g"), 0);
    assert!(!room.metrics().contains("android/2.1.0"), "nobody has it any more");
    room.stop();
}

#[test]
fn a_delivery_is_timed_until_it_is_written_and_so_is_each_turn() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.await_clean("alice");
    assert_eq!(room.metric("longline_room_delivery_seconds_count"), 0, "nothing was delivered yet");
    room.deliver("alice", vec![message(1), message(2)]);
    assert_eq!(alice.ids(2), [1, 2]);
    room.await_metric("longline_room_delivery_seconds_count", 2);
    assert_eq!(room.metric("longline_room_delivery_seconds_bucket{le=\"10\"}"), 2);
    assert!(room.metric("longline_room_turn_seconds_count") > 0);
    room.stop();
}

#[test]
fn bytes_are_counted_as_they_cross_the_socket() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.await_clean("alice");
    alice.assert_served();
    let before = ["received_bytes", "sent_bytes"].map(|name| bytes(&room, name));
    room.deliver("alice", vec![message(1)]);
    assert_eq!(alice.ids(1), [1]);
    alice.ack(0, &[1]);
    alice.assert_served();
    let [received, sent] = ["received_bytes", "sent_bytes"].map(|name| bytes(&room, name));
    // ACK: type, length, and one id; PING. PUSH with its bind, and PONG.
    assert!((6..40).contains(&(received - before[0])), "{before:?} {received}");
    assert!((6..80).contains(&(sent - before[1])), "{before:?} {sent}");
    room.stop();
}

fn bytes(room: &Room, name: &str) -> u64 {
    room.metric(&format!("longline_room_{name}_total"))
}

#[test]
fn timers_tell_how_late_they_fire() {
    let room = Room::start(EngineConfig { handshake_ms: 50, ..config() });
    let silent = Device::connect(room.address);
    room.await_metric("longline_room_closes_total{reason=\"handshake_timeout\"}", 1);
    eventually("a timer", || room.metric("longline_room_wheel_lag_seconds_count") > 0);
    drop(silent);
    room.stop();
}
