//! Broken connections whose devices come back, over real sockets.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use longline_pb::client::{self, BindResult, PushFlag, Welcome};
use longline_room::EngineConfig;
use longline_room::link::{Command, Delivered, Drain, Inspection, PresenceChange, ToCluster};
use longline_types::CloseReason;
use support::device::Frame;
use support::{Device, Room, address, config, eventually, message};

/// A session that was welcomed, loaded and is quiet.
fn quiet(room: &Room, user: &str) -> (Device, Welcome) {
    let mut device = Device::connect(room.address);
    device.hello(&[user]);
    let welcome = device.welcome();
    assert!(!welcome.resumed && !welcome.resume_token.is_empty());
    room.await_clean(user);
    (device, welcome)
}

/// The connection breaks, and the room has noticed.
fn cut(room: &Room, device: Device) {
    let parked = room.metric("longline_room_parkings_total");
    drop(device);
    room.await_metric("longline_room_parkings_total", parked + 1);
}

/// The device on its `counter`th connection, with the token.
fn returned(room: &Room, users: &[&str], token: &[u8], counter: u64) -> (Device, Welcome) {
    returned_with(room, users, token, counter, |_| {})
}

fn returned_with(
    room: &Room,
    users: &[&str],
    token: &[u8],
    counter: u64,
    change: impl FnOnce(&mut client::Hello),
) -> (Device, Welcome) {
    let mut device = Device::connect(room.address);
    device.hello_with(users, |hello| {
        hello.resume_token = token.to_vec();
        hello.connection_counter = counter;
        change(hello);
    });
    let welcome = device.welcome();
    (device, welcome)
}

fn asked(room: &Room) -> usize {
    room.cluster.asked(|question| (!matches!(question, ToCluster::Ack { .. })).then_some(())).len()
}

fn inspect(room: &Room, user: &str) -> Inspection {
    let (route, address) = (room.cluster.route(user), address(user));
    room.ask(|reply| Command::Inspect { address, route, reply }).unwrap()
}

fn refused(room: &Room, why: &str) -> u64 {
    room.metric(&format!("longline_room_resumes_refused_total{{reason=\"{why}\"}}"))
}

fn ended(room: &Room, how: &str) -> u64 {
    room.metric(&format!("longline_room_parkings_ended_total{{reason=\"{how}\"}}"))
}

fn presence(room: &Room) -> Vec<PresenceChange> {
    room.cluster.asked(|question| match question {
        ToCluster::Presence { change, .. } => Some(*change),
        _ => None,
    })
}

#[test]
fn a_clean_session_is_resumed_without_a_word_to_the_cluster_d8() {
    // The slow round comes later than this test takes.
    let room = Room::start(EngineConfig { check_soon_ms: 3_600_000, ..config() });
    let (alice, welcome) = quiet(&room, "alice");
    let before = asked(&room);
    cut(&room, alice);
    assert_eq!(room.metric("longline_room_sessions"), 0);
    assert_eq!(room.metric("longline_room_parked_sessions"), 1);
    let parked = inspect(&room, "alice");
    assert!(parked.parked && parked.peer.is_empty() && !parked.dirty);

    let (mut alice, again) = returned(&room, &["alice"], &welcome.resume_token, 2);
    assert!(again.resumed);
    assert_eq!((again.session, again.heartbeat_s), (welcome.session, welcome.heartbeat_s));
    assert_eq!(again.binds, welcome.binds, "with its window");
    assert_eq!(room.deliver("alice", vec![message(1)]), [Delivered::Pushed]);
    assert_eq!(alice.ids(1), [1]);
    alice.assert_served();
    assert_eq!(asked(&room), before);
    assert_eq!(presence(&room), [PresenceChange::Online]);
    assert_eq!(room.metric("longline_room_resumes_total"), 1);
    assert_eq!(room.metric("longline_room_connections"), 1);
    room.stop();
}

#[test]
fn what_comes_while_parked_is_loaded_and_what_was_under_way_comes_again_d8() {
    let room = Room::start(config());
    let (mut alice, welcome) = quiet(&room, "alice");
    room.cluster.store("alice", (1..=4).map(message));
    room.deliver("alice", (1..=4).map(message).collect());
    assert_eq!(alice.ids(4), [1, 2, 3, 4]);
    alice.ack(0, &[1]);
    eventually("the ack of 1", || room.cluster.waiting("alice") == [2, 3, 4]);
    cut(&room, alice);
    room.cluster.store("alice", [message(5)]);
    assert_eq!(room.deliver("alice", vec![message(5)]), [Delivered::Deferred]);
    assert!(inspect(&room, "alice").dirty);

    let have = vec![client::Ack { index: 0, ids: vec![1, 2, 77] }];
    let (mut alice, again) =
        returned_with(&room, &["alice"], &welcome.resume_token, 2, |hello| hello.have = have);
    assert!(again.resumed);
    let pushes: Vec<(u64, u32)> = (0..3).map(|_| alice.push().1).map(|p| (p.id, p.flags)).collect();
    let redelivered = PushFlag::Redelivered as u32;
    assert_eq!(pushes, [(3, redelivered), (4, redelivered), (5, redelivered)], "2 is acknowledged");
    eventually("the ack of 2", || room.cluster.waiting("alice") == [3, 4, 5]);
    alice.ack(0, &[3, 4, 5]);
    eventually("an empty inbox", || room.cluster.waiting("alice").is_empty());
    assert_eq!(
        room.metric("longline_room_foreign_acks_total"),
        0,
        "77 had been acknowledged, for all we know"
    );
    room.stop();
}

#[test]
fn nothing_is_loaded_if_the_device_has_all_that_was_under_way() {
    let room = Room::start(EngineConfig { check_soon_ms: 3_600_000, ..config() });
    let (mut alice, welcome) = quiet(&room, "alice");
    room.cluster.store("alice", [message(1)]);
    room.deliver("alice", vec![message(1)]);
    alice.ids(1);
    cut(&room, alice);
    let before = asked(&room);
    let have = vec![client::Ack { index: 0, ids: vec![1] }];
    let (mut alice, _) =
        returned_with(&room, &["alice"], &welcome.resume_token, 2, |hello| hello.have = have);
    eventually("the ack", || room.cluster.waiting("alice").is_empty());
    alice.assert_served();
    assert_eq!(asked(&room), before);
    room.stop();
}

#[test]
fn a_token_is_good_once_for_one_device_and_cannot_be_made_up() {
    let room = Room::start(config());
    let (alice, first) = quiet(&room, "alice");
    cut(&room, alice);
    let mut forged = first.resume_token.clone();
    *forged.last_mut().unwrap() ^= 1;
    let (other, fresh) = returned_with(&room, &["mallory"], &forged, 9, |h| h.device = "other".into());
    assert!(!fresh.resumed);
    assert_eq!(refused(&room, "foreign"), 1);
    let (stolen, fresh) =
        returned_with(&room, &["mallory"], &first.resume_token, 9, |h| h.device = "other".into());
    assert!(!fresh.resumed);
    assert_eq!(refused(&room, "other_device"), 1);
    drop((other, stolen));

    let (late, fresh) = returned(&room, &["eve"], &first.resume_token, 1);
    assert!(!fresh.resumed, "not a later connection of the device (R1)");
    assert_eq!(refused(&room, "used"), 1);
    drop(late);
    let (alice, second) = returned(&room, &["alice"], &first.resume_token, 2);
    assert!(second.resumed);
    assert_ne!(second.resume_token, first.resume_token);
    cut(&room, alice);
    let (_eve, fresh) = returned(&room, &["eve"], &first.resume_token, 3);
    assert!(!fresh.resumed);
    assert_eq!(refused(&room, "used"), 2);
    let (_alice, third) = returned(&room, &["alice"], &second.resume_token, 4);
    assert!(third.resumed);
    room.stop();
}

#[test]
fn a_token_of_another_room_is_a_fresh_hello() {
    let (here, there) = (Room::start(config()), Room::start(config()));
    let (alice, welcome) = quiet(&there, "alice");
    cut(&there, alice);
    let (mut alice, fresh) = returned(&here, &["alice"], &welcome.resume_token, 2);
    assert!(!fresh.resumed && fresh.binds[0].result() == BindResult::Ok);
    alice.assert_served();
    assert_eq!(refused(&here, "foreign"), 1);
    here.stop();
    there.stop();
}

#[test]
fn a_device_that_is_back_before_its_old_connection_is_missed_takes_it_over_d9() {
    let room = Room::start(config());
    let (mut old, welcome) = quiet(&room, "alice");
    room.cluster.store("alice", [message(1)]);
    room.deliver("alice", vec![message(1)]);
    old.ids(1);
    let (mut alice, again) = returned(&room, &["alice"], &welcome.resume_token, 2);
    assert!(again.resumed);
    assert_eq!(old.close_reason(), None, "nobody is there to be told");
    assert_eq!(alice.ids(1), [1], "it may be lost with the old connection");
    alice.ack(0, &[1]);
    eventually("the ack", || room.cluster.waiting("alice").is_empty());
    assert_eq!(room.metric("longline_room_connections"), 1);
    assert_eq!(room.metric("longline_room_sessions"), 1);
    room.stop();
}

#[test]
fn frames_after_hello_are_read_by_the_session_that_was_resumed() {
    let room = Room::start(config());
    let (alice, welcome) = quiet(&room, "alice");
    cut(&room, alice);
    let mut alice = Device::connect(room.address);
    let binds = vec![support::device::bind(0, "alice")];
    let (resume_token, device) = (welcome.resume_token, "device".to_owned());
    let hello =
        client::Hello { device, connection_counter: 2, binds, resume_token, ..client::Hello::default() };
    let mut bytes = longline_wire::PREFACE.to_vec();
    longline_wire::encode(&hello, &mut bytes).unwrap();
    for _ in 0..3 {
        longline_wire::encode_empty(longline_wire::FrameType::Ping, &mut bytes).unwrap();
    }
    alice.write(&bytes[..bytes.len() - 1]);
    assert!(alice.welcome().resumed);
    assert_eq!((alice.frame(), alice.frame()), (Frame::Pong, Frame::Pong));
    alice.write(&bytes[bytes.len() - 1..]);
    assert_eq!(alice.frame(), Frame::Pong, "also of the frame that had come by half");
    room.stop();
}

#[test]
fn binds_that_are_not_named_again_end_and_new_ones_are_asked_for() {
    let room = Room::start(config());
    let mut device = Device::connect(room.address);
    device.hello(&["alice", "bob"]);
    let welcome = device.welcome();
    room.await_clean("alice");
    cut(&room, device);
    let alice = room.cluster.route("alice");
    let (mut device, again) = returned(&room, &["alice", "carol"], &welcome.resume_token, 2);
    assert!(again.resumed);
    assert_eq!(again.binds.iter().map(|b| b.index).collect::<Vec<_>>(), [0], "the other is not decided");
    let carol = device.bound();
    assert_eq!((carol.index, carol.result()), (1, BindResult::Ok));
    eventually("bob's route to go", || !room.cluster.lock().routes.contains_key(&address("bob")));
    assert_eq!(room.cluster.route("alice"), alice, "not bound anew");
    let gone = PresenceChange::Offline(CloseReason::ClientGone);
    assert_eq!(presence(&room).iter().filter(|change| **change == gone).count(), 1);
    room.await_clean("carol");
    assert_eq!(room.deliver("carol", vec![message(1)]), [Delivered::Pushed]);
    assert_eq!(device.push().0, 1);
    room.stop();
}

#[test]
fn nobody_comes_back_in_time() {
    let room = Room::start(EngineConfig { park_ms: 200, ..config() });
    let (alice, welcome) = quiet(&room, "alice");
    cut(&room, alice);
    assert_eq!(presence(&room), [PresenceChange::Online], "it is not known yet");
    eventually("the route to go", || room.cluster.lock().routes.is_empty());
    eventually("the end", || ended(&room, "expired") == 1);
    assert_eq!(presence(&room)[1..], [PresenceChange::Offline(CloseReason::ClientGone)]);
    assert_eq!(room.metric("longline_room_binds"), 0);
    room.await_metric("longline_room_parked_bytes", 0);
    let (_alice, fresh) = returned(&room, &["alice"], &welcome.resume_token, 2);
    assert!(!fresh.resumed);
    assert_eq!(refused(&room, "gone"), 1);
    room.stop();
}

#[test]
fn when_too_many_are_parked_the_first_ends() {
    let room = Room::start(EngineConfig { parked_sessions: 2, ..config() });
    let welcomes: Vec<Welcome> = ["a", "b", "c"]
        .iter()
        .map(|user| {
            let (device, welcome) = quiet(&room, user);
            cut(&room, device);
            welcome
        })
        .collect();
    eventually("the end of the first", || ended(&room, "evicted") == 1);
    assert_eq!(room.metric("longline_room_parked_sessions"), 2);
    assert!(!returned(&room, &["a"], &welcomes[0].resume_token, 2).1.resumed);
    assert!(returned(&room, &["c"], &welcomes[2].resume_token, 3).1.resumed);
    room.stop();
}

#[test]
fn a_room_may_be_told_to_park_nothing() {
    for config in [
        EngineConfig { park_ms: 0, ..config() },
        EngineConfig { parked_sessions: 0, ..config() },
        EngineConfig { parked_bytes: 100, ..config() },
    ] {
        let keeps_none = config.park_ms == 0;
        let room = Room::start(config);
        let mut alice = Device::connect(room.address);
        alice.hello(&["alice"]);
        assert_eq!(alice.welcome().resume_token.is_empty(), keeps_none);
        drop(alice);
        eventually("the route to go", || room.cluster.lock().routes.is_empty());
        room.await_metric("longline_room_parked_sessions", 0);
        room.stop();
    }
}

#[test]
fn who_says_goodbye_or_breaks_the_protocol_is_not_parked() {
    let room = Room::start(config());
    let (mut alice, _) = quiet(&room, "alice");
    alice.send(&client::Close { reason: 1007, ..client::Close::default() });
    let (mut bob, _) = quiet(&room, "bob");
    bob.write(&[99, 0]);
    assert_eq!(bob.close_reason(), Some(CloseReason::UnknownFrame));
    eventually("the routes to go", || room.cluster.lock().routes.is_empty());
    assert_eq!(room.metric("longline_room_parkings_total"), 0);
    room.stop();
}

#[test]
fn a_silent_device_is_told_and_parked() {
    let room = Room::start(EngineConfig { heartbeat_floor_s: 1, park_ms: 300, ..config() });
    let mut alice = Device::connect(room.address);
    alice.hello_with(&["alice"], |hello| hello.heartbeat_max_s = 1);
    let welcome = alice.welcome();
    assert_eq!(alice.close_reason(), Some(CloseReason::HeartbeatTimeout));
    let (alice, again) = returned(&room, &["alice"], &welcome.resume_token, 2);
    assert!(again.resumed);
    cut(&room, alice);
    eventually("the end", || ended(&room, "expired") == 1);
    room.stop();
}

#[test]
fn a_newer_connection_anywhere_ends_the_parked_session_r5() {
    let room = Room::start(config());
    let (alice, welcome) = quiet(&room, "alice");
    cut(&room, alice);
    let mut alice = Device::connect(room.address);
    alice.hello_with(&["alice"], |hello| hello.connection_counter = 2);
    assert!(!alice.welcome().resumed, "it has lost its token");
    assert_eq!(ended(&room, "displaced"), 1);
    let (_device, fresh) = returned(&room, &["alice"], &welcome.resume_token, 3);
    assert!(!fresh.resumed);
    assert_eq!(refused(&room, "gone"), 1);
    room.stop();
}

#[test]
fn a_parked_session_can_be_kicked() {
    let room = Room::start(config());
    let (alice, welcome) = quiet(&room, "alice");
    cut(&room, alice);
    let (route, user) = (room.cluster.route("alice"), address("alice"));
    assert!(room.ask(|reply| Command::Kick { address: user, route, detail: "out".into(), reply }));
    assert_eq!(ended(&room, "kicked"), 1);
    eventually("the route to go", || room.cluster.lock().routes.is_empty());
    assert_eq!(presence(&room)[1..], [PresenceChange::Offline(CloseReason::Kicked)]);
    assert!(!returned(&room, &["alice"], &welcome.resume_token, 2).1.resumed);
    room.stop();
}

#[test]
fn a_route_that_is_displaced_without_a_word_is_found_by_the_check_behind_the_scenes_d8() {
    let room = Room::start(EngineConfig { check_soon_ms: 100, ..config() });
    let (alice, welcome) = quiet(&room, "alice");
    cut(&room, alice);
    room.cluster.lock().routes.get_mut(&address("alice")).unwrap().node = 99;
    let (mut alice, again) = returned(&room, &["alice"], &welcome.resume_token, 2);
    assert!(again.resumed);
    assert_eq!(alice.close_reason(), Some(CloseReason::Displaced));
    room.stop();
}

#[test]
fn a_new_incarnation_binds_parked_sessions_anew_r4() {
    let room = Room::start(config());
    let (alice, welcome) = quiet(&room, "alice");
    cut(&room, alice);
    let identity = longline_room::link::Identity { node: 7, incarnation: 2 };
    room.cluster.lock().identity = identity;
    room.command_all(|| Command::Identity(identity));
    eventually("a new route", || room.cluster.route("alice").incarnation == 2);
    room.cluster.store("alice", [message(1)]);
    let (mut alice, again) = returned(&room, &["alice"], &welcome.resume_token, 2);
    assert!(again.resumed);
    assert_eq!(alice.ids(1), [1], "what came meanwhile found no route");
    room.stop();
}

#[test]
fn a_room_that_stops_takes_the_routes_of_parked_sessions_back() {
    let room = Room::start(config());
    let (alice, _) = quiet(&room, "alice");
    cut(&room, alice);
    let cluster = std::sync::Arc::clone(&room.cluster);
    room.stop();
    assert!(cluster.lock().routes.is_empty());
}

#[test]
fn a_room_that_is_emptied_gives_nobody_back() {
    let room = Room::start(config());
    let (alice, welcome) = quiet(&room, "alice");
    cut(&room, alice);
    let at_once = Duration::ZERO;
    let (spread, leave, grace) = (at_once, Duration::from_millis(300), at_once);
    let deadline = Duration::from_secs(10);
    let reason = CloseReason::GoingAway;
    let drain = Drain { reason, guide: None, spread, leave, grace, deadline };
    room.command_all(|| Command::Drain(drain.clone()));
    let mut alice = Device::connect(room.address);
    alice.hello_with(&["alice"], |hello| hello.resume_token = welcome.resume_token);
    assert_eq!(alice.close_reason(), Some(CloseReason::GoingAway));
    eventually("the route to go", || room.cluster.lock().routes.is_empty());
    assert_eq!(ended(&room, "room"), 1);
    room.stop();
}
