//! What becomes of sessions whose sockets do not take what is pushed.

use longline_pb::client;
use longline_types::{Class, CloseReason, MessageId, ProductId, SlowReader};
use longline_wire::{FrameType, Limits, decode};

use super::tests::{IDENTITY, NOW, asked_bind, bound, core, deliver, greeted, later, loads_nothing};
use super::*;
use crate::link::{Answer, BindOutcome, Delivered, LoadRequest, Message, Queueing, ToCluster, shard_queue};
use crate::walk::Walks;

use Class::{Durable, Transient};
use Delivered::{Deferred, Dropped, NotHere, Pushed};

const CLOSE: Queueing = Queueing { slow_reader: SlowReader::Close, max_queued_bytes: 0 };

/// A core whose sessions have space for three messages of these tests.
fn narrow_core() -> Core {
    let mut core = core();
    core.env.config.output_bytes = 10_000;
    core
}

/// A session that has all there is for it. What its product wants is known from its bind.
fn session(core: &mut Core, number: u64, queueing: Queueing) -> u32 {
    let index = greeted(core, number);
    let request = asked_bind(core);
    let mut answer = bound(request, IDENTITY);
    if let Answer::Bind { outcome: BindOutcome::Bound(bound), .. } = &mut answer {
        bound.queueing = queueing;
    }
    core.answer(answer, NOW);
    loads_nothing(core);
    let unwritten = core.output(index).map_or(0, Output::len);
    core.wrote(index, unwritten, NOW);
    index
}

/// Delivers message after message; the socket is offered each, and takes none.
fn fill(core: &mut Core, index: u32, user: u64, ids: std::ops::Range<u64>) -> Vec<Delivered> {
    let fill_one = |id| {
        let result = deliver(core, index, user, id, Durable);
        core.writable(index, NOW);
        result
    };
    ids.map(fill_one).collect()
}

/// The CLOSE at the end of what is unwritten.
fn close(core: &Core, index: u32) -> client::Close {
    let mut slices = [std::io::IoSlice::new(&[]); 16];
    let used = core.output(index).unwrap().slices(&mut slices);
    let bytes: Vec<u8> = slices[..used].iter().flat_map(|s| s.iter().copied()).collect();
    let mut rest = &bytes[..];
    while let Some((frame, length)) = decode(rest, &Limits::FROM_ROOM).unwrap() {
        if frame.kind == FrameType::Close {
            assert_eq!(rest.len(), length, "it is the last");
            return frame.parse().unwrap();
        }
        rest = &rest[length..];
    }
    panic!("no CLOSE");
}

/// Messages that were not queued: deferred, dropped and closed for their session, deferred and dropped for their shard.
fn unqueued(core: &Core) -> [u64; 5] {
    core.env.counters.unqueued()
}

#[test]
fn a_session_that_lags_goes_on_unless_its_product_wants_it_to_end() {
    for (queueing, goes_on) in [(Queueing::default(), true), (CLOSE, false)] {
        let mut core = narrow_core();
        let index = session(&mut core, 1, queueing);
        assert_eq!(fill(&mut core, index, 1, 1..5), [Pushed, Pushed, Pushed, Deferred]);
        if goes_on {
            assert_eq!(core.socket_state(index), SocketState::Open);
            assert_eq!(unqueued(&core), [1, 0, 0, 0, 0]);
            continue;
        }
        assert_eq!(core.socket_state(index), SocketState::Leaving);
        assert_eq!(unqueued(&core), [0, 0, 1, 0, 0]);
        let close = close(&core, index);
        assert_eq!(close.reason, u32::from(CloseReason::SlowReader.number()));
        assert!(close.retry_after_ms > 0, "it is not to be back at once");
        assert!(matches!(core.env.questions.pop_front(), Some(ToCluster::Unbind { .. })));
        assert_eq!(deliver(&mut core, index, 1, 5, Durable), NotHere);
    }
}

#[test]
fn a_transient_message_that_finds_no_space_is_dropped_and_may_end_the_session_too() {
    for (queueing, state, counted) in [
        (Queueing::default(), SocketState::Open, [0, 1, 0, 0, 0]),
        (CLOSE, SocketState::Leaving, [0, 0, 1, 0, 0]),
    ] {
        let mut core = narrow_core();
        let index = session(&mut core, 1, queueing);
        fill(&mut core, index, 1, 1..4);
        assert_eq!(deliver(&mut core, index, 1, 4, Transient), Dropped);
        assert_eq!((core.socket_state(index), unqueued(&core)), (state, counted));
    }
}

#[test]
fn a_broadcast_that_finds_no_space_may_end_the_session_too() {
    let mut core = narrow_core();
    let index = session(&mut core, 1, CLOSE);
    fill(&mut core, index, 1, 1..4);
    let (sender, inbox) = shard_queue(10, 1 << 20, || {});
    let broadcast = Message {
        id: MessageId(9),
        payload: vec![0; 3000].into(),
        sent_at_ms: 1,
        expires_at_ms: u64::MAX,
        class: Durable,
        broadcast_seq: 1,
        redelivered: false,
    };
    let walks = Walks::default();
    walks.start(&[sender], ProductId(1), &broadcast, 0).unwrap();
    core.handle(inbox.take(), NOW, |_| String::new());
    for _ in 0..10 {
        core.turn(NOW);
    }
    let progress = walks.progress(ProductId(1), broadcast.id).unwrap();
    assert_eq!((progress.done, progress.sessions, progress.pushed), (true, 1, 0));
    assert_eq!((core.socket_state(index), unqueued(&core)), (SocketState::Leaving, [0, 0, 1, 0, 0]));
}

#[test]
fn what_comes_in_one_turn_is_no_sign_of_a_slow_device() {
    let mut core = narrow_core();
    let index = session(&mut core, 1, CLOSE);
    let results: Vec<Delivered> = (1..5).map(|id| deliver(&mut core, index, 1, id, Durable)).collect();
    assert_eq!(results, [Pushed, Pushed, Pushed, Deferred]);
    assert_eq!((core.socket_state(index), unqueued(&core)), (SocketState::Open, [1, 0, 0, 0, 0]));
}

#[test]
fn who_is_still_given_the_inbox_is_not_ended() {
    let mut core = narrow_core();
    let index = session(&mut core, 1, CLOSE);
    for id in 1..5 {
        deliver(&mut core, index, 1, id, Durable);
    }
    core.writable(index, NOW);
    assert_eq!(deliver(&mut core, index, 1, 5, Durable), Deferred, "the fourth is still to be loaded");
    assert_eq!(deliver(&mut core, index, 1, 6, Transient), Dropped);
    assert_eq!(core.socket_state(index), SocketState::Open);
}

#[test]
fn nobody_is_ended_for_what_the_others_have_not_read() {
    let mut core = narrow_core();
    core.env.config.shard_output_bytes = 7_000;
    let (first, second) = (session(&mut core, 1, CLOSE), session(&mut core, 2, CLOSE));
    assert_eq!(fill(&mut core, first, 1, 1..3), [Pushed, Pushed]);
    assert_eq!(fill(&mut core, second, 2, 3..4), [Deferred]);
    assert_eq!(deliver(&mut core, second, 2, 4, Transient), Dropped);
    assert_eq!(fill(&mut core, first, 1, 5..6), [Deferred]);
    assert_eq!(unqueued(&core), [0, 0, 0, 2, 1]);
    assert!([first, second].iter().all(|index| core.socket_state(*index) == SocketState::Open));
}

#[test]
fn a_product_may_have_less_queued_than_the_room_allows_but_not_more() {
    let queueing = |max_queued_bytes| Queueing { max_queued_bytes, ..Queueing::default() };
    for (most, pushed) in [(0, 3), (4_000, 1), (7_000, 2), (1 << 20, 3)] {
        let mut core = narrow_core();
        let index = session(&mut core, 1, queueing(most));
        let results = fill(&mut core, index, 1, 1..6);
        assert_eq!(results.iter().filter(|r| **r == Pushed).count(), pushed, "{most}");
        assert_eq!(unqueued(&core)[0], 1, "the first of the others; then something is to be loaded");
    }
    let mut core = narrow_core();
    let first = session(&mut core, 1, queueing(4_000));
    session(&mut core, 2, queueing(0));
    assert_eq!(
        fill(&mut core, first, 1, 1..4),
        [Pushed; 3],
        "the latest bind decides for all of the product"
    );
}

#[test]
fn a_load_brings_no_more_than_the_product_wants_queued() {
    let mut core = narrow_core();
    let index = session(&mut core, 1, Queueing { max_queued_bytes: 4_000, ..Queueing::default() });
    fill(&mut core, index, 1, 1..3);
    core.run_loads(NOW);
    assert!(core.env.questions.is_empty(), "there is no space for it");
    core.wrote(index, core.output(index).unwrap().len() - 1_500, NOW);
    core.run_loads(NOW);
    let load = core.env.questions.pop_front();
    assert!(matches!(load, Some(ToCluster::Load(LoadRequest { max_bytes: 2_500, .. }))), "{load:?}");
}

#[test]
fn who_reads_slowly_has_the_time_to_come_to_the_close() {
    let mut core = narrow_core();
    let index = session(&mut core, 1, CLOSE);
    fill(&mut core, index, 1, 1..5);
    core.turn(later(29));
    assert_eq!(core.socket_state(index), SocketState::Leaving, "longer than the linger of a second");
    core.turn(later(31));
    assert_eq!(core.socket_state(index), SocketState::Finished, "the write timeout is over");

    let mut core = narrow_core();
    let index = session(&mut core, 1, Queueing::default());
    fill(&mut core, index, 1, 1..5);
    core.turn(later(31));
    assert_eq!(core.socket_state(index), SocketState::Leaving, "it has taken nothing");
    core.turn(later(33));
    assert_eq!(core.socket_state(index), SocketState::Finished, "and has had its time");
}
