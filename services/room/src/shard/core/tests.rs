//! The core alone: what it counts, and what a session costs.

use longline_pb::client;
use longline_types::{Address, Class, MessageId, Stamp};
use longline_wire::{FrameType, PREFACE, encode};

use super::*;
use crate::link::{
    Answer, BindOutcome, BindProof, BindRequest, Bound, Command, Delivered, Delivery, Identity, LoadRequest,
    Loaded, Message, Queueing, ToCluster,
};
use crate::metrics::{Outcome, State};
use crate::transport::TransportKind;
use crate::transport::testing::{self, Authority};
use rustls::ClientConnection;

/// As in the real process: what a session costs depends on it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub(super) const NOW: Now = Now { ms: 1000, wall_ms: 1_800_000_000_000 };
pub(super) const IDENTITY: Identity = Identity { node: 1, incarnation: 1 };

pub(super) fn core() -> Core {
    let config = EngineConfig { max_unauthenticated: 1_000_000, ..EngineConfig::default() };
    let mut core =
        Core::new(0, config, Arc::new(Counters::default()), Arc::default(), ResumeKey::random(), 1);
    core.command(Command::Identity(IDENTITY), NOW, &|_| String::new());
    core
}

/// A connection that has sent its HELLO.
pub(super) fn greeted(core: &mut Core, number: u64) -> u32 {
    let index = core.accepted(NOW).unwrap();
    assert!(matches!(core.received(index, &hello(number), NOW), Place::Same));
    index
}

/// Preface and HELLO.
fn hello(number: u64) -> Vec<u8> {
    let bind = client::Bind { product: 1, user: format!("user-{number:08}"), ..client::Bind::default() };
    let hello = client::Hello {
        device: format!("device-{number:08}-of-36-bytes-as-uuids-"),
        connection_counter: 1,
        sdk: "rust/0.1.0".into(),
        platform: "android 16".into(),
        binds: vec![bind],
        ..client::Hello::default()
    };
    let mut bytes = PREFACE.to_vec();
    encode(&hello, &mut bytes).unwrap();
    bytes
}

/// The answer to a bind of the latest room.
pub(super) fn bound(request: BindRequest, identity: Identity) -> Answer {
    let route = Route {
        stamp: Stamp { generation: 1, counter: 1 },
        node: identity.node,
        incarnation: identity.incarnation,
        session: request.bind.session,
    };
    let (window, ack_timeout_ms, max_heartbeat_s, presence) = (16, 30_000, 0, false);
    let queueing = Queueing::default();
    let bound = Bound { route, window, ack_timeout_ms, max_heartbeat_s, queueing, presence };
    Answer::Bind { bind: request.bind, address: request.address, outcome: BindOutcome::Bound(bound) }
}

/// The only question there is, which is a bind.
pub(super) fn asked_bind(core: &mut Core) -> BindRequest {
    match core.env.questions.pop_front() {
        Some(ToCluster::Bind(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// A session with one bind that has nothing to do.
pub(super) fn idle_session(core: &mut Core, number: u64) -> u32 {
    let index = greeted(core, number);
    bound_and_loaded(core);
    let unwritten = core.output(index).map_or(0, Output::len);
    assert!(unwritten > 0, "WELCOME");
    core.wrote(index, unwritten, NOW);
    index
}

/// Answers the only question there is, a bind, and the load that follows.
fn bound_and_loaded(core: &mut Core) {
    let request = asked_bind(core);
    core.answer(bound(request, IDENTITY), NOW);
    loads_nothing(core);
}

/// Answers the only load that there is to be.
pub(super) fn loads_nothing(core: &mut Core) {
    core.run_loads(NOW);
    match core.env.questions.pop_front() {
        Some(ToCluster::Load(LoadRequest { bind, number, .. })) => {
            core.answer(Answer::Load { bind, number, result: Ok(Loaded::default()) }, NOW);
        }
        other => panic!("{other:?}"),
    }
}

fn joined_anew(core: &mut Core) -> Identity {
    let identity = Identity { node: 1, incarnation: 2 };
    core.command(Command::Identity(identity), NOW, &|_| String::new());
    identity
}

fn finish_sweeps(core: &mut Core) {
    while core.run_sweeps(NOW) != Pace::Idle {}
}

#[test]
fn a_bind_that_was_made_under_the_new_incarnation_is_not_made_again_r4() {
    let mut core = core();
    greeted(&mut core, 1);
    let request = asked_bind(&mut core);
    let identity = joined_anew(&mut core);
    core.answer(bound(request, identity), NOW);
    finish_sweeps(&mut core);
    let again = core.env.questions.iter().filter(|q| matches!(q, ToCluster::Bind(_))).count();
    assert_eq!(again, 0, "its route would stay behind if the session ended before the answer");
}

#[test]
fn a_bind_that_was_made_under_the_old_incarnation_is_made_again_without_its_token_r4() {
    let mut core = core();
    idle_session(&mut core, 1);
    greeted(&mut core, 2);
    let late = asked_bind(&mut core);
    joined_anew(&mut core);
    finish_sweeps(&mut core);
    let held = asked_bind(&mut core);
    assert_eq!((held.bind.session.index(), held.proof), (0, BindProof::Held));
    core.answer(bound(late, IDENTITY), NOW);
    let late = asked_bind(&mut core);
    assert_eq!((late.bind.session.index(), late.proof), (1, BindProof::Held));
    assert!(core.env.questions.is_empty() && core.env.load_line.is_empty(), "nothing is loaded before");
}

#[test]
fn a_bind_that_is_made_again_is_loaded_though_it_was_clean_r4() {
    let mut core = core();
    idle_session(&mut core, 1);
    let identity = joined_anew(&mut core);
    finish_sweeps(&mut core);
    let request = asked_bind(&mut core);
    core.run_loads(NOW);
    assert!(core.env.questions.is_empty(), "not before the register has answered");
    core.answer(bound(request, identity), NOW);
    core.run_loads(NOW);
    let load = core.env.questions.pop_front();
    assert!(matches!(load, Some(ToCluster::Load(_))), "what came meanwhile found no route: {load:?}");
}

#[test]
fn an_idle_session_owns_no_buffers_and_little_memory() {
    let mut core = core();
    let index = idle_session(&mut core, 0);
    let connection = core.connections.get(index).unwrap();
    assert!(connection.is_session() && connection.output().is_empty());
    assert_eq!(connection.partial_input(), 0);
    let inline = size_of::<Connection>();
    assert!(inline <= 320, "a connection takes {inline} bytes in its page");
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
#[ignore = "measures the whole process, so it must run alone"]
fn an_idle_session_takes_at_most_512_bytes_of_resident_memory() {
    const SESSIONS: u64 = 200_000;
    let mut core = core();
    let mut fill = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            idle_session(&mut core, number);
        }
    };
    fill(0..10_000);
    let before = resident();
    fill(10_000..10_000 + SESSIONS);
    let each = (resident() - before) / SESSIONS as usize;
    println!("{each} bytes resident per idle session, {} in its page", size_of::<Connection>());
    assert!(each <= 512, "{each} bytes");
    let counted = core.env.memory.bytes(1, 1, 1, 0) as usize - 4096;
    assert!((each..=each * 5 / 4).contains(&counted), "{counted} bytes are counted for it");
}

/// A TLS connection of which the room has written all that it has to say; the client has not read it yet.
fn tls_greeted(core: &mut Core, authority: &Authority) -> (u32, ClientConnection) {
    let index = core.accepted(NOW).unwrap();
    let mut client = authority.client();
    core.env.transports.handshakes = 1;
    assert!(matches!(core.received(index, &testing::sent(&mut client), NOW), Place::Same));
    (index, client)
}

/// What is to be written, as written.
fn written(core: &mut Core, index: u32) -> Vec<u8> {
    let mut slices = [std::io::IoSlice::new(&[]); 64];
    let used = core.writable(index, NOW).map_or(0, |output| output.slices(&mut slices));
    let bytes = slices[..used].iter().flat_map(|s| s.iter().copied()).collect::<Vec<u8>>();
    core.wrote(index, bytes.len(), NOW);
    bytes
}

/// An idle session over TLS.
fn tls_session(core: &mut Core, authority: &Authority, number: u64) -> u32 {
    let (index, mut client) = tls_greeted(core, authority);
    let flight = written(core, index);
    testing::read(&mut client, &flight);
    let hello = testing::sealed(&mut client, &hello(number));
    assert!(matches!(core.received(index, &hello, NOW), Place::Same));
    bound_and_loaded(core);
    let welcome = written(core, index);
    assert!(!testing::read(&mut client, &welcome).is_empty(), "WELCOME");
    index
}

#[test]
#[ignore = "measures the whole process, so it must run alone"]
fn a_session_over_tls_takes_at_most_4_5_kib_and_10_in_its_handshake() {
    const SESSIONS: u64 = 4_000;
    let (mut core, authority) = (core(), Authority::new());
    core.speak(authority.transports.clone());
    for number in 0..1_000 {
        tls_session(&mut core, &authority, number);
    }
    let before = resident();
    for number in 1_000..1_000 + SESSIONS {
        tls_session(&mut core, &authority, number);
    }
    let idle = (resident() - before) / SESSIONS as usize;
    let before = resident();
    for _ in 0..SESSIONS {
        let (index, _) = tls_greeted(&mut core, &authority);
        written(&mut core, index);
    }
    let handshaking = (resident() - before) / SESSIONS as usize;
    println!("{idle} bytes resident per idle session over TLS 1.3, {handshaking} within its handshake");
    assert!(idle <= 4_608 && handshaking <= 10_240);
}

/// An idle session over Noise.
fn noise_session(core: &mut Core, key: &longline_noise::StaticKey, number: u64) {
    let index = core.accepted(NOW).unwrap();
    let (mut initiator, message) = longline_noise::Initiator::new(&key.public()).unwrap();
    core.env.transports.handshakes = 1;
    let begun = [&longline_noise::PREFACE, message.as_slice()].concat();
    assert!(matches!(core.received(index, &begun, NOW), Place::Same));
    let mut session = initiator.finish(&written(core, index)).unwrap().unwrap();
    let mut records = Vec::new();
    session.seal(&hello(number)[PREFACE.len()..], &mut records).unwrap();
    assert!(matches!(core.received(index, &records, NOW), Place::Same));
    bound_and_loaded(core);
    assert!(session.open(&mut written(core, index)).unwrap().payload > 0, "WELCOME");
}

#[test]
#[ignore = "measures the whole process, so it must run alone"]
fn a_session_over_noise_takes_at_most_1_kib_in_all() {
    const SESSIONS: u64 = 20_000;
    let (mut core, key) = (core(), Arc::new(longline_noise::StaticKey::generate().unwrap()));
    core.speak(Transports::default().with_noise(Arc::clone(&key)));
    (0..2_000).for_each(|number| noise_session(&mut core, &key, number));
    let before = resident();
    (2_000..2_000 + SESSIONS).for_each(|number| noise_session(&mut core, &key, number));
    let each = (resident() - before) / SESSIONS as usize;
    println!("{each} bytes resident per idle session over Noise");
    assert!(each <= 1024);
}

#[test]
fn numbers_of_connections_follow_what_becomes_of_them() {
    let mut core = core();
    let numbers = |core: &Core| {
        let counters = &core.env.counters;
        let room = core.room.connections.load(Ordering::Relaxed);
        (counters.unauthenticated.read(), counters.sessions.read(), counters.binds.read(), room)
    };
    let states = |core: &Core| {
        let population = &core.env.counters.population;
        State::ALL.map(|state| population.in_state(TransportKind::Tcp, state))
    };
    let greeting = core.accepted(NOW).unwrap();
    assert_eq!((numbers(&core), states(&core)), ((1, 0, 0, 1), [1, 0, 0, 0, 0]));
    let opening = greeted(&mut core, 2);
    asked_bind(&mut core);
    assert_eq!((numbers(&core), states(&core)), ((1, 1, 1, 2), [1, 1, 0, 0, 0]));
    assert!(core.env.counters.sdks.sessions().is_empty(), "it is not known yet whether to believe it");
    let session = idle_session(&mut core, 1);
    assert_eq!((numbers(&core), states(&core)), ((1, 2, 2, 3), [1, 1, 1, 0, 0]));
    assert_eq!(core.env.counters.population.in_network(TransportKind::Tcp, 0), 1);
    assert_eq!(core.env.counters.sdks.sessions(), [("rust/0.1.0".to_owned(), 1)]);
    for index in [greeting, opening, session] {
        core.lost(index, NOW);
    }
    assert_eq!(states(&core), [0, 0, 0, 2, 1]);
    for index in [greeting, opening] {
        core.remove(index);
    }
    assert_eq!(numbers(&core), (0, 0, 1, 0), "who is parked is no connection");
    assert_eq!((core.len(), core.env.counters.parked_sessions.read()), (0, 1));
    assert_eq!(core.env.counters.population.in_network(TransportKind::Tcp, 0), 0);
    assert!(core.env.counters.sdks.sessions().is_empty());
    assert_eq!(core.socket_state(session), SocketState::Given);
    let later = Now { ms: NOW.ms + u64::from(core.env.config.park_ms), ..NOW };
    core.turn(later);
    assert_eq!(core.socket_state(session), SocketState::Finished);
    core.remove(session);
    assert_eq!((numbers(&core), states(&core)), ((0, 0, 0, 0), [0; 5]));
    assert_eq!(core.env.counters.parked_sessions.read(), 0);
    assert!(matches!(core.env.questions.pop_front(), Some(ToCluster::Unbind { .. })));
}

#[test]
fn a_backlog_of_questions_stops_what_would_ask_more() {
    let mut core = core();
    core.env.config.cluster_backlog = 10;
    let (links, mut receiver) = crate::link::cluster_channel(1);
    for number in 0..30 {
        let address = Address::new(1, &format!("u{number}")).unwrap();
        let route = Route { stamp: Stamp::default(), node: 1, incarnation: 1, session: SessionId(0) };
        core.env.questions.push_back(ToCluster::Unbind { address, route });
    }
    links.try_send(Vec::new()).unwrap();
    assert!(core.ask(&links), "the links take nothing");
    let refused = core.accepted(NOW).unwrap();
    assert_eq!(core.socket_state(refused), SocketState::Leaving);
    receiver.try_recv().unwrap();
    assert!(!core.ask(&links));
    assert_eq!(receiver.try_recv().unwrap().len(), 30);
    let welcome = core.accepted(NOW).unwrap();
    assert_eq!(core.socket_state(welcome), SocketState::Open);
}

/// Results of large messages, delivered one by one to a session whose socket takes nothing.
fn delivered(core: &mut Core, index: u32, user: u64, ids: std::ops::Range<u64>) -> Vec<Delivered> {
    ids.map(|id| deliver(core, index, user, id, Class::Durable)).collect()
}

/// The result of a large message.
pub(super) fn deliver(core: &mut Core, index: u32, user: u64, id: u64, class: Class) -> Delivered {
    let session = core.connections.get(index).unwrap().id();
    let (node, incarnation) = (IDENTITY.node, IDENTITY.incarnation);
    let route = Route { stamp: Stamp { generation: 1, counter: 1 }, node, incarnation, session };
    let address = Address::new(1, &format!("user-{user:08}")).unwrap();
    let message = Message {
        id: MessageId(id),
        payload: vec![0; 3000].into(),
        sent_at_ms: 1,
        expires_at_ms: u64::MAX,
        class,
        broadcast_seq: 0,
        redelivered: false,
    };
    core.deliver(&Delivery { address, route, message }, NOW)
}

#[test]
fn unwritten_bytes_are_bounded_in_the_session_and_in_the_shard_d5() {
    use Delivered::{Deferred, Pushed};
    let mut core = core();
    core.env.config.output_bytes = 10_000;
    core.env.config.shard_output_bytes = 14_000;
    let (first, second) = (idle_session(&mut core, 1), idle_session(&mut core, 2));
    assert_eq!(delivered(&mut core, first, 1, 1..6), [Pushed, Pushed, Pushed, Deferred, Deferred]);
    assert_eq!(delivered(&mut core, second, 2, 6..9), [Pushed, Deferred, Deferred]);
    let unwritten = core.output(first).map_or(0, Output::len);
    core.wrote(first, unwritten, NOW);
    core.run_loads(NOW);
    let loads = core.env.questions.iter().filter(|q| matches!(q, ToCluster::Load(_))).count();
    assert_eq!(loads, 1, "who has space again loads what was deferred");
}

#[test]
fn an_acknowledgement_that_is_repeated_asks_nothing_more() {
    let mut core = core();
    let index = idle_session(&mut core, 1);
    assert_eq!(delivered(&mut core, index, 1, 7..8), [Delivered::Pushed]);
    let mut ack = Vec::new();
    encode(&client::Ack { index: 0, ids: vec![7, 7] }, &mut ack).unwrap();
    for _ in 0..2 {
        assert!(matches!(core.received(index, &ack, NOW), Place::Same));
    }
    assert!(matches!(core.env.questions.pop_front(), Some(ToCluster::Ack { id: MessageId(7), .. })));
    assert!(core.env.questions.is_empty());
    assert_eq!((core.env.counters.acks.read(), core.env.counters.foreign_acks.read()), (1, 0));
}

pub(super) fn later(seconds: u64) -> Now {
    Now { ms: NOW.ms + seconds * 1000, wall_ms: NOW.wall_ms + seconds * 1000 }
}

/// (survived, broken) silences of the default interval, 240 s, in a network that was not named.
fn silences(core: &Core) -> (u64, u64) {
    let read = |outcome| core.env.counters.survival.read(0, 5, outcome);
    (read(Outcome::Survived), read(Outcome::Broken))
}

#[test]
fn silences_of_an_interval_are_counted_by_what_followed() {
    let mut core = core();
    let index = idle_session(&mut core, 1);
    let ping = [FrameType::Ping.number(), 0];
    for at in [later(100), later(340)] {
        assert_eq!(silences(&core), (0, 0), "that was no interval");
        assert!(matches!(core.received(index, &ping, at), Place::Same));
        core.wrote(index, 2, at);
    }
    assert_eq!(silences(&core), (1, 0));
    core.turn(later(340 + 359));
    assert_eq!(core.socket_state(index), SocketState::Open);
    core.turn(later(340 + 361));
    assert_eq!(core.socket_state(index), SocketState::Given, "1.5 intervals");
    assert_eq!(silences(&core), (1, 1));

    let another = |core: &mut Core, number| {
        core.env.questions.clear();
        idle_session(core, number)
    };
    let reset_early = another(&mut core, 2);
    core.failed(reset_early, later(10));
    assert_eq!(silences(&core), (1, 1), "it was not idle");
    let reset_late = another(&mut core, 3);
    core.failed(reset_late, later(239));
    assert_eq!(silences(&core), (1, 2));
    let gone = another(&mut core, 4);
    core.lost(gone, later(239));
    assert_eq!(silences(&core), (1, 2), "a device that says goodbye could be heard");
    let paused = another(&mut core, 5);
    core.woke(later(300));
    assert!(matches!(core.received(paused, &ping, later(300)), Place::Same));
    assert_eq!(silences(&core), (1, 2), "nobody listened");
}

#[test]
fn a_shorter_heartbeat_counts_from_when_the_device_is_told() {
    let mut core = core();
    let index = idle_session(&mut core, 1);
    let identity = joined_anew(&mut core);
    finish_sweeps(&mut core);
    let request = asked_bind(&mut core);
    let mut answer = bound(request, identity);
    if let Answer::Bind { outcome: BindOutcome::Bound(bound), .. } = &mut answer {
        bound.max_heartbeat_s = 60;
    }
    core.answer(answer, later(200));
    let unwritten = core.output(index).map_or(0, Output::len);
    assert!(unwritten > 0, "DIRECTIVE");
    core.wrote(index, unwritten, later(200));
    core.turn(later(289));
    assert_eq!(core.socket_state(index), SocketState::Open, "it may have been silent for 200 s");
    core.turn(later(291));
    assert_eq!(core.socket_state(index), SocketState::Given);
}
