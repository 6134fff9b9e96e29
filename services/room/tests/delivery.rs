//! Messages through a real engine: pushed, loaded, acknowledged, whatever hint is lost.

mod support;

use std::time::Duration;

use longline_pb::client::{self, BindResult, PushFlag, UplinkResult};
use longline_room::link::{Command, Delivered, Identity, PresenceChange, ToCluster};
use longline_room::{EngineConfig, Walks};
use longline_types::{Class, CloseReason, MessageId, ProductId, Slot};
use support::device::{Frame, bind};
use support::{Device, Room, address, config, eventually, message};

#[test]
fn a_message_reaches_the_device_and_its_ack_the_store() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.await_clean("alice");
    assert_eq!(room.metric("longline_room_loads_total"), 1, "D1");
    room.cluster.store("alice", [message(5)]);
    assert_eq!(room.deliver("alice", vec![message(5)]), [Delivered::Pushed]);
    let (index, push) = alice.push();
    assert_eq!((index, push.id, &push.payload[..]), (0, 5, &b"message 5"[..]));
    assert_eq!(room.deliver("alice", vec![message(5)]), [Delivered::Pushed], "it is in flight already");
    alice.ack(0, &[5]);
    eventually("the ack", || room.cluster.waiting("alice").is_empty());
    alice.assert_served();
    assert_eq!(room.metric("longline_room_pushes_total"), 1, "the repeated hint was not pushed again");
    room.stop();
}

#[test]
fn what_was_stored_before_is_loaded_in_order_through_the_window_d1_d5() {
    let room = Room::start(config());
    room.cluster.lock().window = 4;
    room.cluster.store("alice", (1..=20).map(message));
    let mut alice = room.device("alice");
    assert_eq!(alice.ids(4), [1, 2, 3, 4]);
    assert!(alice.frame_within(Duration::from_millis(200)).is_none(), "the window is full");
    alice.ack(0, &[1]);
    assert!(alice.frame_within(Duration::from_millis(200)).is_none(), "less than half of it is free");
    alice.ack(0, &[2]);
    for next in (5..20).step_by(2) {
        for id in [next, next + 1] {
            let (_, push) = alice.push();
            assert_eq!(
                (push.id, push.flags),
                (id, PushFlag::Redelivered as u32),
                "another session may have had it"
            );
        }
        alice.ack(0, &[next - 2, next - 1]);
    }
    alice.ack(0, &[19, 20]);
    eventually("all acks", || room.cluster.waiting("alice").is_empty());
    room.stop();
}

#[test]
fn a_hint_that_a_load_has_overtaken_brings_nothing_twice_d3() {
    let room = Room::start(config());
    room.cluster.store("alice", [message(5)]);
    let mut alice = room.device("alice");
    assert_eq!(alice.ids(1), [5]);
    alice.ack(0, &[5]);
    eventually("the ack", || room.cluster.waiting("alice").is_empty());
    room.await_clean("alice");
    assert_eq!(room.deliver("alice", vec![message(5)]), [Delivered::Deferred], "it is forgotten here");
    room.await_clean("alice");
    room.cluster.store("alice", [message(6)]);
    assert_eq!(room.deliver("alice", vec![message(6)]), [Delivered::Pushed]);
    assert_eq!(alice.push().1.id, 6, "and 5 was not pushed again");
    room.stop();
}

#[test]
fn a_failed_load_and_a_failed_ack_are_repeated_d4_d6() {
    let room = Room::start(EngineConfig { retry_ms: 50, ..config() });
    room.cluster.store("alice", [message(1)]);
    room.cluster.lock().fails_loads = true;
    let mut alice = room.device("alice");
    eventually("several tries", || room.metric("longline_room_failed_loads_total") >= 2);
    assert_eq!(
        room.deliver("alice", vec![message(2)]),
        [Delivered::Deferred],
        "a failed load leaves it dirty"
    );
    room.cluster.lock().fails_loads = false;
    assert_eq!(alice.ids(1), [1]);
    room.cluster.lock().fails = true;
    alice.ack(0, &[1]);
    eventually("several tries", || room.metric("longline_room_failed_acks_total") >= 2);
    assert_eq!(room.cluster.waiting("alice"), [1]);
    room.cluster.lock().fails = false;
    eventually("the ack", || room.cluster.waiting("alice").is_empty());
    room.stop();
}

#[test]
fn a_lost_hint_is_found_by_the_next_check_d2() {
    let room = Room::start(EngineConfig { check_s: 1, ..config() });
    let mut alice = room.device("alice");
    room.await_clean("alice");
    room.cluster.store("alice", [message(9)]);
    assert_eq!(alice.ids(1), [9]);
    let asserted = room.cluster.asked(|q| matches!(q, ToCluster::Assert(_)).then_some(()));
    assert!(!asserted.is_empty(), "R6: on the same round");
    room.stop();
}

#[test]
fn a_shard_whose_queue_overflowed_checks_all_its_binds_d2() {
    let room = Room::start(EngineConfig { check_soon_ms: 50, ..config() });
    let mut alice = room.device("alice");
    room.await_clean("alice");
    room.cluster.store("alice", [message(9)]);
    room.shard().mark_overflowed();
    assert_eq!(alice.ids(1), [9]);
    assert_eq!(room.metric("longline_room_overflows_total"), 1);
    room.stop();
}

#[test]
fn a_device_that_does_not_acknowledge_gets_it_again_later_d5() {
    let room = Room::start(config());
    room.cluster.lock().ack_timeout_ms = 200;
    room.cluster.store("alice", [message(1)]);
    let mut alice = room.device("alice");
    assert_eq!(alice.ids(1), [1]);
    eventually("the stall", || room.metric("longline_room_stalls_total") == 1);
    assert_eq!(room.deliver("alice", vec![message(2)]), [Delivered::Deferred], "nothing new while stalled");
    assert_eq!(alice.ids(1), [1]);
    alice.ack(0, &[1]);
    eventually("the ack", || room.cluster.waiting("alice").is_empty());
    room.stop();
}

#[test]
fn a_transient_message_is_pushed_or_dropped_but_never_waits() {
    let room = Room::start(EngineConfig { park_ms: 100, ..config() });
    let mut alice = room.device("alice");
    let transient = || support::message(3);
    let typing = longline_room::link::Message { class: Class::Transient, ..transient() };
    assert_eq!(room.deliver("alice", vec![typing.clone()]), [Delivered::Pushed]);
    let (_, push) = alice.push();
    assert_eq!(push.flags, PushFlag::Transient as u32);
    alice.ack(0, &[3]);
    room.await_metric("longline_room_foreign_acks_total", 1);
    let gone = room.cluster.route("alice");
    drop(alice);
    room.await_metric("longline_room_sessions", 0);
    room.await_metric("longline_room_parked_sessions", 0);
    assert_eq!(room.deliver_to("alice", gone, vec![typing]), [Delivered::NotHere]);
    room.stop();
}

#[test]
fn a_newer_connection_displaces_the_older_before_it_loads_d9() {
    let room = Room::start(config());
    let mut old = room.device("alice");
    room.cluster.store("alice", [message(1)]);
    let mut new = room.device("alice");
    assert_eq!(old.close_reason(), Some(CloseReason::Displaced));
    assert_eq!(new.ids(1), [1]);
    room.await_metric("longline_room_sessions", 1);
    assert_eq!(
        room.cluster.route("alice").session.index(),
        1,
        "the old goodbye has not erased the new route"
    );
    room.stop();
}

#[test]
fn of_several_binds_only_the_displaced_one_ends() {
    let room = Room::start(config());
    let mut both = Device::connect(room.address);
    both.hello(&["alice", "bob"]);
    assert_eq!(both.welcome().binds.len(), 2);
    let _new = room.device("alice");
    let bound = both.bound();
    assert_eq!((bound.index, bound.result()), (0, BindResult::Displaced));
    room.cluster.store("bob", [message(4)]);
    both.send(&client::Unbind { index: 7 });
    assert_eq!(both.bound().result(), BindResult::BadRequest);
    both.assert_served();
    room.stop();
}

#[test]
fn a_kick_ends_the_bind_and_tells_the_device() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    let route = room.cluster.route("alice");
    let kick = |reply| Command::Kick { address: address("alice"), route, detail: "logged out".into(), reply };
    assert!(room.ask(kick));
    match alice.frame() {
        Frame::Close(close) => assert_eq!((close.reason, close.detail.as_str()), (2009, "logged out")),
        other => panic!("{other:?}"),
    }
    assert!(!room.ask(|reply| Command::Kick {
        address: address("alice"),
        route,
        detail: String::new(),
        reply
    }));
    eventually("the route to go", || room.cluster.lock().routes.is_empty());
    let presence = room.cluster.asked(|q| match q {
        ToCluster::Presence { change, .. } => Some(*change),
        _ => None,
    });
    assert_eq!(presence, [PresenceChange::Online, PresenceChange::Offline(CloseReason::Kicked)]);
    room.stop();
}

#[test]
fn binds_come_and_go_while_connected() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.cluster.store("bob", [message(2)]);
    alice.send(&bind(5, "bob"));
    let bound = alice.bound();
    assert_eq!((bound.index, bound.result(), bound.window), (5, BindResult::Ok, 16));
    assert_eq!(alice.push().0, 5);
    alice.send(&bind(5, "carol"));
    assert_eq!(alice.bound().result(), BindResult::BadRequest, "the index is in use");
    alice.send(&bind(6, "alice"));
    assert_eq!(alice.bound().result(), BindResult::BadRequest, "the user is bound already");
    alice.send(&client::Unbind { index: 5 });
    assert_eq!(alice.bound().result(), BindResult::Unbound);
    alice.ack(5, &[2]);
    room.await_metric("longline_room_foreign_acks_total", 1);
    eventually("the route to go", || !room.cluster.lock().routes.contains_key(&address("bob")));
    alice.send(&client::Bind { token: "bad".into(), ..bind(5, "bob") });
    assert_eq!(alice.bound().result(), BindResult::BadToken);
    alice.assert_served();
    room.stop();
}

#[test]
fn a_hello_without_a_good_bind_ends_with_the_reason() {
    let room = Room::start(config());
    for (product, token) in [(404, ""), (1, "bad")] {
        let mut device = Device::connect(room.address);
        device.hello_with(&["alice"], |hello| {
            hello.binds[0].product = product;
            hello.binds[0].token = token.into();
        });
        assert_ne!(device.welcome().binds[0].result(), BindResult::Ok);
        assert_eq!(device.close_reason(), Some(CloseReason::NoBind));
    }
    room.cluster.lock().fails = true;
    let mut device = Device::connect(room.address);
    device.hello(&["alice"]);
    assert_eq!(device.welcome().binds[0].result(), BindResult::Unavailable);
    assert_eq!(device.close_reason(), Some(CloseReason::Overloaded));
    room.stop();
}

#[test]
fn an_uplink_is_answered_when_the_cluster_has_it() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    let uplink = client::Uplink { index: 0, route: 3, payload: "data".into(), sequence: 11 };
    alice.send(&uplink);
    match alice.frame() {
        Frame::UplinkAck(ack) => assert_eq!((ack.sequence, ack.result()), (11, UplinkResult::Ok)),
        other => panic!("{other:?}"),
    }
    alice.send(&client::Uplink { index: 9, sequence: 12, ..uplink });
    match alice.frame() {
        Frame::UplinkAck(ack) => assert_eq!((ack.sequence, ack.result()), (12, UplinkResult::Refused)),
        other => panic!("{other:?}"),
    }
    let payloads = room.cluster.asked(|q| match q {
        ToCluster::Uplink(uplink) => Some(uplink.payload.clone()),
        _ => None,
    });
    assert_eq!(payloads, ["data"]);
    room.stop();
}

#[test]
fn a_new_incarnation_binds_everything_anew_and_loads_r4() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.await_clean("alice");
    let old = room.cluster.route("alice");
    room.cluster.store("alice", [message(1)]);
    let identity = Identity { node: 8, incarnation: 2 };
    room.cluster.lock().identity = identity;
    room.command_all(|| Command::Identity(identity));
    assert_eq!(alice.ids(1), [1]);
    let new = room.cluster.route("alice");
    assert_eq!((new.node, new.incarnation, new.session), (8, 2, old.session));
    assert_eq!(room.deliver_to("alice", old, vec![message(2)]), [Delivered::NotHere]);
    room.stop();
}

#[test]
fn a_refill_asserts_the_routes_of_its_slots_then_says_so_r2() {
    let room = Room::start(EngineConfig { check_soon_ms: 50, ..config() });
    let mut alice = room.device("alice");
    let _bob = room.device("bob");
    room.await_clean("alice");
    room.await_clean("bob");
    room.cluster.store("alice", [message(1)]);
    let slot: Slot = address("alice").slot();
    let slots = std::sync::Arc::new([slot].into_iter().collect());
    room.command_all(|| Command::Refill { refill: 3, slots: std::sync::Arc::clone(&slots) });
    assert_eq!(alice.ids(1), [1], "checked soon after");
    let told = room.cluster.asked(|q| match q {
        ToCluster::Assert(request) if request.refill == Some(3) => Some(request.address.to_string()),
        ToCluster::Refilled { shard: 0, refill: 3 } => Some("done".to_owned()),
        _ => None,
    });
    assert_eq!(told, ["1/alice", "done"]);
    room.stop();
}

#[test]
fn a_route_that_the_register_does_not_know_ends_r6() {
    let room = Room::start(EngineConfig { check_s: 1, ..config() });
    let mut alice = room.device("alice");
    let stamp = room.cluster.route("alice").stamp;
    room.cluster.lock().routes.get_mut(&address("alice")).unwrap().stamp.counter = stamp.counter + 100;
    assert_eq!(alice.close_reason(), Some(CloseReason::Displaced));
    room.stop();
}

#[test]
fn a_broadcast_is_shown_to_every_bind_of_the_product_once() {
    let room = Room::start(config());
    let mut devices: Vec<Device> = (0..5).map(|i| room.device(&format!("user-{i}"))).collect();
    (0..5).for_each(|i| room.await_clean(&format!("user-{i}")));
    let walks = Walks::default();
    let broadcast =
        longline_room::link::Message { broadcast_seq: 1, payload: vec![7; 2000].into(), ..message(50) };
    let start = || walks.start(room.engine.shards(), ProductId(1), &broadcast, 100).unwrap();
    start();
    start();
    for device in &mut devices {
        let (index, push) = device.push();
        assert_eq!((index, push.id, push.payload.len(), push.broadcast_seq), (0, 50, 2000, 1));
        assert_eq!(push.flags, PushFlag::Broadcast as u32);
        room.cluster.store("user-0", [broadcast.clone()]);
    }
    eventually("the walk's end", || start().done);
    assert_eq!((start().sessions, start().pushed), (5, 5));
    devices[0].ack(0, &[50]);
    eventually("the confirmed ack", || start().acked == 1);
    let seqs = room.cluster.asked(|q| match q {
        ToCluster::Ack { id: MessageId(50), broadcast_seq, .. } => Some(*broadcast_seq),
        _ => None,
    });
    assert_eq!(seqs, [1]);
    devices[1].assert_served();
    room.stop();
}

#[test]
fn a_slow_reader_is_not_buffered_without_bound_and_loses_nothing() {
    let room = Room::start(EngineConfig { output_bytes: 100_000, ..config() });
    room.cluster.lock().window = 2000;
    let mut alice = room.device("alice");
    let mut bob = room.device("bob");
    room.await_clean("alice");
    room.await_clean("bob");
    alice.assert_served();
    let large = |id| longline_room::link::Message { payload: vec![1; 60_000].into(), ..message(id) };
    let mut deferred = 0;
    for id in 1..=400 {
        room.cluster.store("alice", [large(id)]);
        deferred += usize::from(room.deliver("alice", vec![large(id)]) == [Delivered::Deferred]);
        assert!(room.metric("longline_room_output_bytes") <= 200_000);
    }
    assert!(deferred > 0, "the sockets' buffers do not hold 24 MB");
    bob.assert_served();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 400 {
        let (_, push) = alice.push();
        assert!(seen.insert(push.id), "{} came twice", push.id);
        alice.ack(0, &[push.id]);
    }
    eventually("all acks", || room.cluster.waiting("alice").is_empty());
    room.stop();
}

#[test]
fn who_does_not_read_at_all_is_closed_in_the_end() {
    let room = Room::start(EngineConfig { write_timeout_ms: 300, linger_ms: 100, ..config() });
    room.cluster.lock().window = 2000;
    let large = |id| longline_room::link::Message { payload: vec![1; 60_000].into(), ..message(id) };
    room.cluster.store("alice", (1..=400).map(large));
    let alice = room.device("alice");
    room.await_metric("longline_room_closes_total{reason=\"slow_reader\"}", 1);
    room.await_metric("longline_room_connections", 0);
    room.await_metric("longline_room_output_bytes", 0);
    assert_eq!(room.cluster.waiting("alice").len(), 400);
    drop(alice);
    room.stop();
}

#[test]
fn a_silent_session_is_broken_after_one_and_a_half_intervals() {
    let room = Room::start(EngineConfig { heartbeat_floor_s: 1, park_ms: 100, ..config() });
    let mut alice = Device::connect(room.address);
    alice.hello_with(&["alice"], |hello| hello.heartbeat_max_s = 1);
    assert_eq!(alice.welcome().heartbeat_s, 1);
    for _ in 0..10 {
        alice.assert_served();
        std::thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(alice.close_reason(), Some(CloseReason::HeartbeatTimeout));
    room.await_metric("longline_room_binds", 0);
    room.stop();
}

#[test]
fn a_product_may_ask_for_quicker_heartbeats() {
    let room = Room::start(config());
    room.cluster.lock().max_heartbeat_s = 60;
    let mut alice = Device::connect(room.address);
    alice.hello_with(&["alice"], |hello| hello.network = client::Network::Wifi.into());
    assert_eq!(alice.welcome().heartbeat_s, 60);
    room.cluster.lock().max_heartbeat_s = 30;
    alice.send(&bind(1, "bob"));
    assert_eq!(alice.bound().result(), BindResult::Ok);
    let quicker = client::Directive { what: Some(client::directive::What::HeartbeatS(30)) };
    assert_eq!(alice.frame(), Frame::Directive(quicker));
    room.stop();
}

#[test]
fn stopping_closes_every_session_and_takes_its_routes_back() {
    let room = Room::start(EngineConfig { shards: 2, ..config() });
    let mut devices: Vec<Device> = (0..20).map(|i| room.device(&format!("user-{i}"))).collect();
    let cluster = std::sync::Arc::clone(&room.cluster);
    assert_eq!(room.engine.session_count()(), 20);
    let address = room.address;
    room.stop();
    for device in &mut devices {
        assert_eq!(device.close_reason(), Some(CloseReason::GoingAway));
    }
    assert!(cluster.lock().routes.is_empty());
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}
