//! A room that is emptied, over real sockets: who is asked to go, how fast, and who is closed when.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use longline_pb::client::{self, Reconnect};
use longline_room::link::{BindProof, Command, Delivered, Drain, Guide, TicketAndToken, ToCluster, Way};
use longline_types::{Address, CloseReason, Device as DeviceName};
use support::device::{Frame, bind};
use support::{Device, Room, address, config, eventually, message};

const SECOND: Duration = Duration::from_secs(1);

/// Sends everybody to a room of the user's name.
#[derive(Debug)]
struct ToNamesake;

impl Guide for ToNamesake {
    fn way(&self, device: DeviceName, held: &[&Address]) -> Way {
        let endpoints = held.iter().map(|address| format!("{}:9000", address.user)).collect();
        Way { endpoints, ticket: device.counter.to_be_bytes().to_vec() }
    }
}

/// Asks over this time; nobody is closed within the test unless it says so.
fn over(spread: Duration) -> Drain {
    Drain {
        reason: CloseReason::GoingAway,
        guide: Some(Arc::new(ToNamesake)),
        spread,
        leave: 60 * SECOND,
        grace: 60 * SECOND,
        deadline: 600 * SECOND,
    }
}

fn drain(room: &Room, drain: Drain) {
    room.command_all(|| Command::Drain(drain.clone()));
}

fn asked(device: &mut Device) -> Reconnect {
    match device.frame() {
        Frame::Directive(client::Directive { what: Some(client::directive::What::Reconnect(r)) }) => r,
        other => panic!("DIRECTIVE expected, {other:?} came"),
    }
}

fn close(device: &mut Device) -> client::Close {
    match device.frame() {
        Frame::Close(close) => close,
        other => panic!("CLOSE expected, {other:?} came"),
    }
}

#[test]
fn sessions_are_asked_to_go_somewhere_with_a_ticket_and_served_until_they_do() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.await_clean("alice");
    drain(&room, over(SECOND / 10));
    let reconnect = asked(&mut alice);
    assert_eq!(reconnect.endpoints, ["alice:9000"]);
    assert_eq!(reconnect.ticket, 1u64.to_be_bytes());
    assert!(reconnect.within_ms <= 1_000, "the room spreads them, not the device");
    room.cluster.store("alice", [message(7)]);
    room.deliver("alice", vec![message(7)]);
    assert_eq!(alice.ids(1), [7]);
    alice.ack(0, &[7]);
    eventually("the ack", || room.cluster.waiting("alice").is_empty());
    let mut late = Device::connect(room.address);
    assert_eq!(late.close_reason(), Some(CloseReason::GoingAway));
    assert_eq!(room.metric("longline_room_sent_away_total"), 1);
    assert_eq!(room.metric("longline_room_sessions"), 1);
    room.stop();
}

#[test]
fn a_ticket_is_shown_with_the_tokens_of_hello_and_only_those() {
    let room = Room::start(config());
    let mut alice = Device::connect(room.address);
    alice.hello_with(&["alice", "bob"], |hello| {
        hello.ticket = vec![7; 512];
        hello.binds[0].token = "token".into();
    });
    alice.welcome();
    alice.send(&bind(2, "carol"));
    alice.bound();
    let proofs = room.cluster.asked(|question| match question {
        ToCluster::Bind(request) => Some(request.proof.clone()),
        _ => None,
    });
    let shown = |token: &str| {
        BindProof::Ticket(Box::new(TicketAndToken { ticket: [7; 512].into(), token: token.into() }))
    };
    assert_eq!(proofs, [shown("token"), shown(""), BindProof::Token("".into())]);
    let mut mallory = Device::connect(room.address);
    mallory.hello_with(&["mallory"], |hello| hello.ticket = vec![7; 513]);
    assert_eq!(mallory.close_reason(), Some(CloseReason::BadField));
    room.stop();
}

#[test]
fn sessions_are_asked_one_after_the_other() {
    let room = Room::start(config());
    let mut devices: Vec<Device> = (0..20).map(|n| room.device(&format!("user-{n}"))).collect();
    let begun = Instant::now();
    drain(&room, over(2 * SECOND));
    let mut times: Vec<Duration> = devices
        .iter_mut()
        .map(|device| {
            asked(device);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    for (n, time) in times.iter().enumerate() {
        // Ten a second, the first at once.
        assert!(*time + SECOND / 20 >= SECOND / 10 * n as u32, "the {n}th after {time:?}");
    }
    room.stop();
}

#[test]
fn who_does_not_go_is_closed_and_told_to_come_back_spread_out() {
    let room = Room::start(config());
    let mut devices: Vec<Device> = (0..4).map(|n| room.device(&format!("user-{n}"))).collect();
    (0..4).for_each(|n| room.await_clean(&format!("user-{n}")));
    drain(&room, Drain { leave: SECOND / 10, ..over(SECOND / 2) });
    let mut waits = Vec::new();
    for device in &mut devices {
        asked(device);
        let close = close(device);
        assert_eq!(close.reason, u32::from(CloseReason::GoingAway.number()));
        waits.push(close.retry_after_ms);
    }
    waits.sort_unstable();
    assert_eq!(waits, [0, 125, 250, 375]);
    room.await_metric("longline_room_sessions", 0);
    eventually("their routes to be taken back", || room.cluster.lock().routes.is_empty());
    room.stop();
}

#[test]
fn without_a_guide_nobody_is_asked_and_all_are_closed_at_once() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.await_clean("alice");
    drain(&room, Drain { guide: None, ..over(60 * SECOND) });
    assert_eq!(close(&mut alice).retry_after_ms, 0);
    room.stop();
}

#[test]
fn what_is_under_way_is_waited_for_and_nothing_new_begins() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.await_clean("alice");
    room.cluster.store("alice", (1..100).map(message));
    room.deliver("alice", vec![message(1)]);
    assert_eq!(alice.ids(1), [1]);
    drain(&room, Drain { leave: Duration::ZERO, ..over(Duration::ZERO) });
    asked(&mut alice);
    let mut pushed = vec![1];
    // A shard takes some turns to go through its places.
    for id in 2.. {
        if room.deliver("alice", vec![message(id)]) == [Delivered::Deferred] {
            break;
        }
        pushed.extend(alice.ids(1));
    }
    assert_eq!(alice.frame_within(SECOND / 5), None, "neither closed nor sent anything new");
    room.cluster.lock().fails = true;
    alice.ack(0, &pushed);
    assert_eq!(alice.frame_within(SECOND / 5), None, "the saver does not have the ack");
    room.cluster.lock().fails = false;
    assert_eq!(close(&mut alice).reason, u32::from(CloseReason::GoingAway.number()));
    let left: Vec<u64> = (1..100).filter(|id| !pushed.contains(id)).collect();
    assert_eq!(room.cluster.waiting("alice"), left, "the next session loads them");
    room.stop();
}

#[test]
fn who_does_not_acknowledge_is_waited_for_no_longer_than_the_grace() {
    let room = Room::start(config());
    let mut alice = room.device("alice");
    room.cluster.store("alice", [message(1)]);
    room.deliver("alice", vec![message(1)]);
    assert_eq!(alice.ids(1), [1]);
    let grace = SECOND / 2;
    let begun = Instant::now();
    drain(&room, Drain { leave: Duration::ZERO, grace, ..over(Duration::ZERO) });
    asked(&mut alice);
    close(&mut alice);
    assert!(begun.elapsed() >= grace, "{:?}", begun.elapsed());
    assert_eq!(room.cluster.waiting("alice"), [1]);
    room.stop();
}

#[test]
fn the_deadline_is_kept_though_most_were_not_asked_yet() {
    let room = Room::start(config());
    let mut devices: Vec<Device> = (0..10).map(|n| room.device(&format!("user-{n}"))).collect();
    (0..10).for_each(|n| room.await_clean(&format!("user-{n}")));
    drain(&room, Drain { deadline: SECOND / 2, grace: SECOND / 10, ..over(600 * SECOND) });
    let reasons: Vec<_> = devices.iter_mut().map(Device::close_reason).collect();
    assert!(reasons.iter().all(|reason| *reason == Some(CloseReason::GoingAway)), "{reasons:?}");
    assert!(room.metric("longline_room_sent_away_total") < 3);
    room.stop();
}

#[test]
fn a_departure_can_be_called_off() {
    let room = Room::start(config());
    let mut devices: Vec<Device> = (0..10).map(|n| room.device(&format!("user-{n}"))).collect();
    drain(&room, over(600 * SECOND));
    room.await_metric("longline_room_sent_away_total", 1);
    room.command_all(|| Command::Resume);
    // Answered after it.
    let (route, user) = (room.cluster.route("user-9"), address("user-9"));
    room.ask(|reply| Command::Inspect { address: user, route, reply });
    room.device("bob").assert_served();
    room.cluster.store("user-9", [message(3)]);
    room.deliver("user-9", vec![message(3)]);
    let mut got: Vec<Frame> = devices.iter_mut().filter_map(|d| d.frame_within(SECOND / 10)).collect();
    got.retain(|frame| !matches!(frame, Frame::Directive(_)));
    assert!(matches!(&got[..], [Frame::Push(0, push)] if push.id == 3), "{got:?}");
    assert_eq!(room.metric("longline_room_sent_away_total"), 1);
    assert!(room.cluster.lock().routes.contains_key(&address("user-9")));
    room.stop();
}
