//! The session machine without sockets: bytes and time in, bytes and endings out.

mod resuming;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longline_load_truth::{Clock, Ledger, Plan};
use longline_pb::client::{self, BindResult, PushFlag, UplinkResult, directive};
use longline_types::CloseReason;
use longline_wire::{Body, FrameType, Limits, PREFACE, decode, encode, encode_empty, encode_push_message};

use super::*;
use crate::Transports;
use crate::options::{Hostile, Network, Options, Routes};
use crate::trouble::Trouble;
use crate::world::{Shared, World};

struct Nowhere;

impl Routes for Nowhere {
    fn room(&self, _: u32, _: u32) -> Option<SocketAddr> {
        None
    }
}

/// One device and what it works with; time passes only when the test says so.
struct Rig {
    device: Device,
    cx: Cx,
    ledger: Arc<Ledger>,
}

impl Rig {
    fn new(manner: Manner) -> Rig {
        Rig::with(manner, 0.0)
    }

    /// `resume`: the share of devices that do.
    fn with(manner: Manner, resume: f64) -> Rig {
        let clock = Clock::new();
        let ledger = Arc::new(crate::testing::ledger(0..10, clock));
        let world = World::new(Options {
            threads: 1,
            users: 0..10,
            prefix: "t".into(),
            product: 7,
            token_key: None,
            sources: vec![],
            step: Duration::ZERO,
            networks: vec![Network { kind: client::Network::Wifi, share: 1.0, heartbeat_s: (30, 60) }],
            transports: Transports::default(),
            resume,
            hostile: Hostile::default(),
            seed: 1,
            ledger: Arc::clone(&ledger),
            clock,
            run: 1,
            agent: 2,
            routes: Arc::new(Nowhere),
        })
        .expect("plain TCP needs nothing");
        let mut cx = Cx::new(Arc::new(world), Arc::new(Shared::new()), 1);
        // An hour ago: for the ledger, whose clock is the real one, nothing of this has only just happened.
        cx.now.at -= 3_600_000_000;
        Rig { device: Device::new(3, manner), cx, ledger }
    }

    /// Up to HELLO, whose frames are taken away.
    fn greeted(manner: Manner) -> Rig {
        let mut rig = Rig::new(manner);
        let at = rig.cx.now.at;
        rig.device.come(0, at, &mut rig.cx);
        rig.device.opening(&mut rig.cx);
        rig.device.opened(&mut rig.cx);
        rig.cx.out.clear();
        rig
    }

    fn bound(manner: Manner) -> Rig {
        let mut rig = Rig::greeted(manner);
        assert_eq!(rig.hear(&welcome(60, Some(BindResult::Ok))), None);
        rig
    }

    /// Connects again after an end.
    fn back(&mut self) {
        self.pass(self.device.next(&self.cx) - self.cx.now.ms);
        assert_eq!(self.device.timer(&mut self.cx), Act::Connect);
        self.device.opening(&mut self.cx);
        self.device.opened(&mut self.cx);
        self.cx.out.clear();
    }

    fn pass(&mut self, ms: Ms) {
        self.cx.now.ms += ms;
        self.cx.now.at += u64::from(ms) * 1000;
    }

    fn hear_bytes(&mut self, bytes: &[u8]) -> Received {
        self.device.received(bytes, &mut self.cx)
    }

    fn hear<M: Body>(&mut self, message: &M) -> Option<Ending> {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).unwrap();
        let received = self.hear_bytes(&bytes);
        assert!(received.used == bytes.len());
        received.ending
    }

    fn hear_push(&mut self, id: u64, flag: PushFlag) -> Option<Ending> {
        self.hear_bytes(&push(id, flag)).ending
    }

    /// The frames it has written since the last call; what it acknowledged is in the kernel's hands.
    fn said(&mut self) -> Vec<(FrameType, Vec<u8>)> {
        let out = std::mem::take(&mut self.cx.out);
        self.cx.receipts.clear();
        self.device.acknowledged(&std::mem::take(&mut self.cx.acked));
        self.device.wrote(self.cx.now.ms);
        frames(&out)
    }

    fn kinds(&mut self) -> Vec<FrameType> {
        self.said().into_iter().map(|(kind, _)| kind).collect()
    }

    fn counts(&self) -> crate::SwarmCounts {
        self.cx.tally().counts()
    }
}

fn frames(mut bytes: &[u8]) -> Vec<(FrameType, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((frame, used)) = decode(bytes, &Limits::FROM_DEVICE).unwrap() {
        frames.push((frame.kind, frame.body.to_vec()));
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty());
    frames
}

fn welcome(heartbeat_s: u32, result: Option<BindResult>) -> client::Welcome {
    let binds = result.map(|result| client::Bound { result: result.into(), ..client::Bound::default() });
    client::Welcome { heartbeat_s, binds: binds.into_iter().collect(), ..client::Welcome::default() }
}

fn push(id: u64, flag: PushFlag) -> Vec<u8> {
    let mut bytes = Vec::new();
    let push = client::Push {
        id,
        payload: b"not a header".as_slice().into(),
        flags: flag as u32,
        ..client::Push::default()
    };
    encode_push_message(0, &push, &mut bytes).unwrap();
    bytes
}

fn bound(result: BindResult, retry_after_ms: u32) -> client::Bound {
    client::Bound { result: result.into(), retry_after_ms, ..client::Bound::default() }
}

fn close(reason: u32, retry_after_ms: u32) -> client::Close {
    client::Close { reason, retry_after_ms, ..client::Close::default() }
}

#[test]
fn it_says_hello_with_a_counter_that_rises() {
    let mut rig = Rig::new(Manner::Good);
    let mut last = 0;
    for _ in 0..3 {
        let at = rig.cx.now.at;
        rig.device.come(0, at, &mut rig.cx);
        assert_eq!(rig.device.timer(&mut rig.cx), Act::Connect);
        rig.device.opening(&mut rig.cx);
        rig.device.opened(&mut rig.cx);
        let out = std::mem::take(&mut rig.cx.out);
        let rest = out.strip_prefix(&PREFACE).unwrap();
        let (frame, used) = decode(rest, &Limits::FROM_DEVICE).unwrap().unwrap();
        let hello: client::Hello = frame.parse().unwrap();
        assert_eq!(used, rest.len());
        assert!(hello.connection_counter > last);
        last = hello.connection_counter;
        assert_eq!((hello.device.as_str(), hello.network()), ("t-3", client::Network::Wifi));
        assert_eq!((hello.heartbeat_min_s, hello.heartbeat_max_s), (30, 60));
        assert_eq!((hello.binds.len(), hello.binds[0].product, hello.binds[0].user.as_str()), (1, 7, "t-3"));
    }
}

#[test]
fn messages_of_one_read_are_acknowledged_in_one_frame() {
    let mut rig = Rig::bound(Manner::Good);
    let bytes = [
        push(42, PushFlag::None),
        push(43, PushFlag::Transient),
        push(44, PushFlag::Redelivered),
        push(45, PushFlag::Broadcast),
    ];
    assert_eq!(rig.hear_bytes(&bytes.concat()).ending, None);
    let said = rig.said();
    assert_eq!(said.len(), 1);
    let ack = <client::Ack as prost::Message>::decode(&said[0].1[..]).unwrap();
    assert_eq!((ack.index, ack.ids), (0, vec![42, 44, 45]));
    assert_eq!(rig.counts().pushes, 4);
}

#[test]
fn frames_may_be_split_at_every_byte() {
    let mut bytes = Vec::new();
    encode(&welcome(60, None), &mut bytes).unwrap();
    encode(&bound(BindResult::Ok, 0), &mut bytes).unwrap();
    bytes.extend(push(1, PushFlag::None));
    encode_empty(FrameType::Pong, &mut bytes).unwrap();
    bytes.extend(push(2, PushFlag::None));
    for cut in 0..=bytes.len() {
        let mut rig = Rig::greeted(Manner::Good);
        let first = rig.hear_bytes(&bytes[..cut]);
        assert!(first.ending.is_none() && first.used <= cut);
        let second = rig.hear_bytes(&bytes[first.used..]);
        assert_eq!((first.used + second.used, second.ending), (bytes.len(), None), "cut at {cut}");
        assert_eq!((rig.device.state(), rig.counts().pushes), (State::Bound, 2));
    }
}

#[test]
fn a_late_bind_is_waited_for_and_one_that_is_put_off_is_asked_for_again() {
    let mut rig = Rig::greeted(Manner::Good);
    assert_eq!(rig.hear(&welcome(60, None)), None);
    assert_eq!((rig.counts().connecting, rig.counts().connected), (1, 0));
    assert_eq!(rig.hear(&bound(BindResult::Unavailable, 1000)), None);
    rig.pass(999);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Nothing);
    assert!(!rig.kinds().contains(&FrameType::Bind));
    rig.pass(1001);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Nothing);
    assert!(rig.kinds().contains(&FrameType::Bind));
    assert_eq!(rig.hear(&bound(BindResult::Ok, 0)), None);
    let counts = rig.counts();
    assert_eq!((counts.connecting, counts.connected, counts.bound), (0, 1, 1));
}

#[test]
fn a_bind_without_an_answer_ends_the_connection() {
    let mut rig = Rig::greeted(Manner::Good);
    rig.hear(&welcome(3600, None));
    rig.pass(30_000);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::End(Ending::Trouble(Trouble::Unbound)));
}

#[test]
fn who_is_refused_does_not_come_back() {
    for result in [BindResult::BadToken, BindResult::UnknownProduct, BindResult::BadRequest] {
        let mut rig = Rig::greeted(Manner::Good);
        let ending = rig.hear(&welcome(60, Some(result))).unwrap();
        assert_eq!(ending, Ending::Refused);
        rig.device.ended(ending, &mut rig.cx);
        assert_eq!((rig.device.next(&rig.cx), rig.counts().refused), (NEVER, 1), "{result:?}");
        assert_eq!(rig.counts().connecting, 0);
    }
    let mut rig = Rig::greeted(Manner::Good);
    let ending = rig.hear(&close(2007, 0)).unwrap();
    rig.device.ended(ending, &mut rig.cx);
    assert_eq!((rig.device.next(&rig.cx), rig.counts().refused), (NEVER, 1));
    assert_eq!(rig.counts().closes["no_bind"], 1);
}

#[test]
fn it_comes_back_when_the_room_said() {
    let mut rig = Rig::bound(Manner::Good);
    let ending = rig.hear(&close(1000, 5000)).unwrap();
    rig.device.ended(ending, &mut rig.cx);
    let wait = rig.device.next(&rig.cx) - rig.cx.now.ms;
    assert!((5000..=10_000).contains(&wait), "{wait}");
    assert_eq!((rig.device.attempt, rig.counts().connected), (1, 0), "another room may do better");

    let mut rig = Rig::bound(Manner::Good);
    let ending = rig.hear(&close(2008, 0)).unwrap();
    rig.device.ended(ending, &mut rig.cx);
    let wait = rig.device.next(&rig.cx) - rig.cx.now.ms;
    assert!((5000..=15_000).contains(&wait), "sent away: {wait}");
}

#[test]
fn failures_in_a_row_make_it_wait_longer() {
    let mut rig = Rig::greeted(Manner::Good);
    for whole in [200, 400, 800, 1600] {
        rig.device.ended(Ending::Trouble(Trouble::Refused), &mut rig.cx);
        let wait = rig.device.next(&rig.cx) - rig.cx.now.ms;
        assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
        rig.back();
    }
    assert_eq!((rig.device.attempt, rig.counts().failures["refused"]), (4, 4));
    rig.hear(&welcome(60, Some(BindResult::Ok)));
    rig.pass(10_000);
    rig.device.ended(Ending::Trouble(Trouble::Reset), &mut rig.cx);
    assert!(rig.device.next(&rig.cx) - rig.cx.now.ms <= 200, "a good connection begins anew");
    assert_eq!((rig.device.attempt, rig.counts().losses["reset"]), (0, 1));
}

#[test]
fn a_connect_that_failed_counts_from_when_it_was_due_first() {
    let mut rig = Rig::greeted(Manner::Good);
    let due = rig.cx.now.at;
    rig.device.ended(Ending::Trouble(Trouble::TimedOut), &mut rig.cx);
    rig.back();
    rig.pass(3_000);
    rig.hear(&welcome(60, Some(BindResult::Ok)));
    let latencies = rig.cx.shared.take_latencies();
    assert_eq!(latencies.len(), 1);
    assert!(latencies.max().abs_diff(rig.cx.now.at - due) < 10_000, "{}", latencies.max());
}

#[test]
fn the_first_ping_has_a_random_phase_and_the_others_keep_the_interval() {
    let mut phases = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut rig = Rig::greeted(Manner::Good);
        rig.cx.chance = crate::chance::Chance::new(seed);
        rig.hear(&welcome(60, Some(BindResult::Ok)));
        let first = rig.device.next(&rig.cx) - rig.cx.now.ms;
        assert!(first <= 60_000);
        phases.insert(first / 6_000);
        rig.pass(first);
        assert_eq!(rig.device.timer(&mut rig.cx), Act::Nothing);
        assert_eq!(rig.kinds(), [FrameType::Ping]);
        let mut pong = Vec::new();
        encode_empty(FrameType::Pong, &mut pong).unwrap();
        assert_eq!(rig.hear_bytes(&pong).ending, None);
        assert_eq!(rig.device.next(&rig.cx), rig.cx.now.ms + 60_000);
    }
    assert!(phases.len() > 4, "{phases:?}");
}

#[test]
fn a_device_that_only_acknowledges_still_pings_and_hears_the_silence() {
    let mut rig = Rig::bound(Manner::Good);
    rig.device.wrote(rig.cx.now.ms);
    for _ in 0..5 {
        rig.pass(10_000);
        rig.device.wrote(rig.cx.now.ms);
        rig.device.timer(&mut rig.cx);
        assert_eq!(rig.kinds(), []);
    }
    rig.pass(10_000);
    rig.device.timer(&mut rig.cx);
    assert_eq!(rig.kinds(), [FrameType::Ping]);
    rig.pass(30_000);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::End(Ending::Trouble(Trouble::Silence)));
}

#[test]
fn the_handshake_has_a_deadline() {
    let mut rig = Rig::greeted(Manner::Good);
    rig.pass(9_999);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Nothing);
    rig.pass(1);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::End(Ending::Trouble(Trouble::TimedOut)));
}

#[test]
fn a_directive_moves_it_within_its_time() {
    let mut rig = Rig::bound(Manner::Good);
    let reconnect = client::Reconnect {
        endpoints: vec!["no address".into(), "10.0.0.2:9000".into()],
        within_ms: 3000,
        ticket: b"ticket".to_vec(),
    };
    let what = Some(directive::What::Reconnect(reconnect));
    assert_eq!(rig.hear(&client::Directive { what }), None);
    assert!(rig.device.next(&rig.cx) <= rig.cx.now.ms + 3000);
    rig.pass(3000);
    let Act::End(ending) = rig.device.timer(&mut rig.cx) else { panic!("it should go") };
    let said = rig.said();
    let goodbye = <client::Close as prost::Message>::decode(&said[0].1[..]).unwrap();
    assert_eq!(goodbye.reason, u32::from(CloseReason::ClientGone.number()));
    assert!(ending.is_peaceful());
    rig.device.ended(ending, &mut rig.cx);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Connect);
    assert_eq!(rig.device.route(&mut rig.cx), Some("10.0.0.2:9000".parse().unwrap()));
    rig.device.opening(&mut rig.cx);
    rig.device.opened(&mut rig.cx);
    let out = std::mem::take(&mut rig.cx.out);
    let hello = frames(out.strip_prefix(&PREFACE).unwrap()).remove(0).1;
    assert_eq!(<client::Hello as prost::Message>::decode(&hello[..]).unwrap().ticket, b"ticket");
    rig.hear(&welcome(60, Some(BindResult::Ok)));
    assert!(rig.device.moving.is_none(), "the ticket has done its work");
    assert_eq!(rig.device.route(&mut rig.cx), None, "named for one connect only");
    assert_eq!(rig.counts().unrouted, 1);

    let what = Some(directive::What::HeartbeatS(10));
    let mut rig = Rig::bound(Manner::Good);
    rig.hear(&client::Directive { what });
    rig.said();
    assert_eq!(rig.device.next(&rig.cx), rig.cx.now.ms + 10_000);
}

#[test]
fn what_is_no_protocol_is_told_so() {
    let mut misplaced = Vec::new();
    encode_push_message(1, &client::Push::default(), &mut misplaced).unwrap();
    for bytes in [vec![99, 0], vec![FrameType::Bound.number(), 2, 0xff, 0xff], misplaced] {
        let mut rig = Rig::bound(Manner::Good);
        assert_eq!(rig.hear_bytes(&bytes).ending, Some(Ending::Trouble(Trouble::Protocol)), "{bytes:?}");
        assert_eq!(rig.kinds(), [FrameType::Close]);
    }
    let mut rig = Rig::greeted(Manner::Good);
    assert!(rig.hear_push(1, PushFlag::None).is_some(), "no message before WELCOME");
    let mut rig = Rig::bound(Manner::Good);
    assert!(rig.hear(&welcome(60, None)).is_some(), "no second WELCOME");
}

#[test]
fn random_bytes_do_no_harm() {
    let mut chance = crate::chance::Chance::new(9);
    for _ in 0..2000 {
        let mut rig = Rig::bound(Manner::Good);
        let mut bytes = vec![0; 64];
        chance.fill(&mut bytes);
        bytes[0] = chance.between(1, 14) as u8;
        bytes[1] = chance.between(0, 62) as u8;
        let received = rig.hear_bytes(&bytes);
        assert!(received.used <= bytes.len());
        if let Some(ending) = received.ending {
            rig.device.ended(ending, &mut rig.cx);
        }
    }
}

#[test]
fn an_uplink_is_repeated_with_its_sequence_until_it_is_answered() {
    let flight = |cx: &Cx| Flight {
        sequence: cx.world.next_uplink(),
        due: cx.now.at,
        bytes: 100,
        route: 5,
        send_at: cx.now.ms,
    };
    let sent = |rig: &mut Rig| -> Vec<client::Uplink> {
        let said = rig.said().into_iter().filter(|(kind, _)| *kind == FrameType::Uplink);
        said.map(|(_, body)| prost::Message::decode(&body[..]).unwrap()).collect()
    };
    let answer =
        |result: UplinkResult| client::UplinkAck { sequence: 1, result: result.into(), retry_after_ms: 500 };
    let mut rig = Rig::bound(Manner::Good);
    assert!(rig.device.uplink(flight, &mut rig.cx));
    let first = sent(&mut rig);
    assert_eq!((first.len(), first[0].sequence, first[0].route, first[0].payload.len()), (1, 1, 5, 100));
    assert_eq!(longline_load_truth::Header::read(&first[0].payload).unwrap().sequence, 1);

    rig.hear(&answer(UplinkResult::Retry));
    rig.device.timer(&mut rig.cx);
    assert_eq!(sent(&mut rig), []);
    rig.pass(1000);
    rig.device.timer(&mut rig.cx);
    assert_eq!(sent(&mut rig), first, "after RETRY");

    rig.device.ended(Ending::Trouble(Trouble::Reset), &mut rig.cx);
    rig.back();
    rig.hear(&welcome(60, Some(BindResult::Ok)));
    assert_eq!(sent(&mut rig), first, "after a reconnect");
    assert!(rig.cx.world.acked_uplinks().is_empty());
    rig.hear(&answer(UplinkResult::Ok));
    rig.hear(&answer(UplinkResult::Ok));
    assert!(rig.cx.world.acked_uplinks().contains(1));
    let counts = rig.counts();
    assert_eq!((counts.uplinks_sent, counts.uplinks_retried, counts.uplinks_acked), (3, 1, 1));
    assert!(rig.device.flights.is_none());

    let taken = (0..20).filter(|_| rig.device.uplink(flight, &mut rig.cx)).count();
    assert_eq!(taken, 16, "a room takes no more");
}

#[test]
fn hostile_devices_keep_to_their_manner_until_all_are_to_behave() {
    let mut rig = Rig::bound(Manner::NeverAck);
    rig.hear_push(1, PushFlag::None);
    assert_eq!(rig.kinds(), []);
    rig.cx.tame = true;
    rig.hear_push(1, PushFlag::Redelivered);
    assert_eq!(rig.kinds(), [FrameType::Ack]);

    let mut rig = Rig::bound(Manner::StopReading);
    assert_eq!(rig.device.reading(&rig.cx), Reading::Not);
    rig.pass(200_000);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Nothing, "its own silence is not the room's");
    assert_eq!(rig.kinds(), [FrameType::Ping]);
    rig.cx.tame = true;
    rig.device.listen_again(&mut rig.cx);
    assert_eq!(rig.device.reading(&rig.cx), Reading::Freely);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Nothing);

    let mut rig = Rig::bound(Manner::Slow);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Read);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Nothing);
    rig.pass(1000);
    assert_eq!(rig.device.timer(&mut rig.cx), Act::Read);
}

#[test]
fn a_silent_device_says_nothing() {
    let (mut mute, mut quiet) = (0, 0);
    for _ in 0..20 {
        let mut rig = Rig::new(Manner::Silent);
        rig.device.connection = mute + quiet;
        rig.device.opening(&mut rig.cx);
        rig.device.opened(&mut rig.cx);
        if rig.cx.out.is_empty() {
            mute += 1;
            continue;
        }
        quiet += 1;
        rig.cx.out.clear();
        rig.hear(&welcome(60, Some(BindResult::Ok)));
        rig.hear_push(1, PushFlag::None);
        assert_eq!(rig.device.next(&rig.cx), NEVER);
        rig.pass(1_000_000);
        assert_eq!(rig.device.timer(&mut rig.cx), Act::Nothing);
        assert!(rig.cx.out.is_empty());
        assert_eq!(rig.counts().pushes, 1);
    }
    assert!(mute > 0 && quiet > 0);
}

#[test]
fn the_ledger_knows_who_can_be_reached_and_what_came() {
    let mut rig = Rig::bound(Manner::Good);
    let at = rig.cx.now.at;
    let plan = Plan { user: 3, due: at, stream: 0, transient: false, expires: None };
    let header = rig.ledger.plan(plan);
    rig.ledger.sent(&header, at);
    rig.ledger.accepted(header.sequence, 1, at);
    let missing = |rig: &Rig| {
        let counts = rig.ledger.findings(1).counts;
        (counts.lost, counts.unreachable)
    };
    assert_eq!(missing(&rig), (1, 0), "it was there and did not get it");
    rig.device.ended(Ending::Trouble(Trouble::Reset), &mut rig.cx);
    assert_eq!(missing(&rig), (0, 1), "it was away");
    rig.back();
    rig.hear(&welcome(60, Some(BindResult::Ok)));
    assert_eq!(missing(&rig), (1, 0));

    rig.hear_push(1, PushFlag::None);
    assert_eq!(rig.ledger.counts().unreadable, 1, "a payload without a header is nobody's");
}

#[test]
fn a_device_is_small() {
    let bytes = size_of::<Device>() + size_of::<crate::line::Line>();
    assert!(bytes <= 120, "{bytes}");
}
