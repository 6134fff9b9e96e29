//! Devices that do not read what they are sent, over real sockets: what the room queues for them is bounded, nothing durable is
//! lost, and whether the session goes on is for the product to say.

mod support;

use std::collections::BTreeSet;

use longline_pb::client;
use longline_room::link::{Delivered, Message, Queueing};
use longline_room::{EngineConfig, link};
use longline_types::{Class, CloseReason, SlowReader};
use support::device::Frame;
use support::{Device, Room, config, eventually, message};

/// Far more than sockets hold.
const MOST: u64 = 400;

fn large(id: u64) -> Message {
    Message { payload: vec![1; 60_000].into(), ..message(id) }
}

/// A room whose sessions queue some 100 KB, and alice, who has all there is.
fn alice(queueing: Queueing) -> (Room, Device) {
    let room = Room::start(EngineConfig { output_bytes: 100_000, ..config() });
    room.cluster.lock().window = 2000;
    room.cluster.lock().queueing = queueing;
    let alice = room.device("alice");
    room.await_clean("alice");
    (room, alice)
}

/// Stores and delivers messages until one finds no space; its id.
fn fill(room: &Room) -> u64 {
    for id in 1..=MOST {
        room.cluster.store("alice", [large(id)]);
        if room.deliver("alice", vec![large(id)]) == [Delivered::Deferred] {
            return id;
        }
    }
    panic!("the sockets hold {MOST} messages");
}

fn unqueued(room: &Room, outcome: &str) -> u64 {
    room.metric(&format!("longline_room_unqueued_total{{full=\"session\",outcome=\"{outcome}\"}}"))
}

/// Reads and acknowledges messages until all of these have come, each once.
fn read_all(device: &mut Device, mut ids: BTreeSet<u64>) {
    while !ids.is_empty() {
        let (_, push) = device.push();
        assert!(ids.remove(&push.id), "{} came twice, or unasked", push.id);
        device.ack(0, &[push.id]);
    }
}

#[test]
fn a_slow_session_falls_back_to_its_inbox_and_misses_only_what_is_transient() {
    let (room, mut alice) = alice(Queueing::default());
    let last = fill(&room);
    let transient = link::Message { class: Class::Transient, ..large(last + 1) };
    assert_eq!(room.deliver("alice", vec![transient]), [Delivered::Dropped]);
    assert_eq!(
        (unqueued(&room, "deferred"), unqueued(&room, "dropped"), unqueued(&room, "closed")),
        (1, 1, 0)
    );
    read_all(&mut alice, (1..=last).collect());
    eventually("all acks", || room.cluster.waiting("alice").is_empty());
    alice.assert_served();
    assert_eq!(room.closes("slow_reader"), 0);
    room.stop();
}

#[test]
fn a_product_may_want_a_slow_session_to_begin_anew() {
    let (room, mut alice) = alice(Queueing { slow_reader: SlowReader::Close, ..Queueing::default() });
    let mut bob = room.device("bob");
    let last = fill(&room);
    room.await_metric("longline_room_closes_total{reason=\"slow_reader\"}", 1);
    assert_eq!((unqueued(&room, "deferred"), unqueued(&room, "closed")), (0, 1));
    eventually("the route is taken back", || {
        !room.cluster.lock().routes.contains_key(&support::address("alice"))
    });
    bob.assert_served();

    // She reads what was under way, and is told why it ends there and when to come back.
    let mut seen = BTreeSet::new();
    let close = loop {
        match alice.frame() {
            Frame::Push(_, push) => assert!(seen.insert(push.id)),
            Frame::Close(close) => break close,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(CloseReason::from_number(close.reason), Some(CloseReason::SlowReader));
    assert!(close.retry_after_ms > 0, "{close:?}");
    assert_eq!(seen, (1..last).collect());

    // Nothing of it was acknowledged: it all comes again, with what had no space.
    let mut alice = room.device("alice");
    read_all(&mut alice, (1..=last).collect());
    eventually("all acks", || room.cluster.waiting("alice").is_empty());
    room.stop();
}

#[test]
fn a_product_may_have_less_queued_than_the_room_allows() {
    let (room, mut alice) = alice(Queueing { max_queued_bytes: 4_096, ..Queueing::default() });
    let last = fill(&room);
    // One that is larger than the bound goes alone.
    let queued = room.metric("longline_room_output_bytes");
    assert!(queued <= 512 + 60_000 + 64, "{queued}");
    read_all(&mut alice, (1..=last).collect());
    room.stop();
}

#[test]
fn a_burst_does_not_end_a_session_that_reads() {
    let (room, mut alice) = alice(Queueing { slow_reader: SlowReader::Close, ..Queueing::default() });
    let burst: Vec<Message> = (1..=6).map(large).collect();
    room.cluster.store("alice", burst.clone());
    let results = room.deliver("alice", burst);
    assert!(results.contains(&Delivered::Deferred), "it has no space for all of them: {results:?}");
    read_all(&mut alice, (1..=6).collect());
    alice.send(&client::Unbind { index: 0 });
    assert_eq!(alice.bound().result(), client::BindResult::Unbound);
    assert_eq!(room.closes("slow_reader"), 0);
    room.stop();
}
