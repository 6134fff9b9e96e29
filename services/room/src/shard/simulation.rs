//! A whole shard without sockets and clock, driven by random events: devices that come, go, read, acknowledge or send nonsense;
//! a cluster whose answers come late, in any order, or fail; time that jumps. After every event the invariants must hold, and
//! when everything has calmed down, no message may be left.

#![allow(clippy::unwrap_used)]

mod cluster;
mod device;
mod world;

use proptest::prelude::*;

use world::World;

/// One thing that happens. Numbers pick among what there is.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A device connects, in place of what it had, and wants these users (bits).
    Connect {
        device: usize,
        users: u8,
    },
    /// Its connection breaks.
    Break {
        device: usize,
    },
    /// Its network is gone: it acknowledges so many messages more, which nobody hears, and the room does not notice.
    Cut {
        device: usize,
        acks: usize,
    },
    /// The room notices that a connection is broken.
    Notice {
        pick: usize,
    },
    /// It connects and wants its session back; `users`: with these binds instead of those it had; `across`: at another shard.
    Return {
        device: usize,
        token: Token,
        users: Option<u8>,
        across: bool,
    },
    Bind {
        device: usize,
        index: u32,
        user: usize,
    },
    Unbind {
        device: usize,
        index: u32,
    },
    /// Its socket takes this many bytes.
    Read {
        device: usize,
        bytes: usize,
    },
    /// It acknowledges so many of what it has.
    Ack {
        device: usize,
        count: usize,
    },
    AckForeign {
        device: usize,
        id: u64,
    },
    Uplink {
        device: usize,
        sequence: u64,
        bytes: usize,
    },
    Garbage {
        device: usize,
        bytes: Vec<u8>,
    },
    /// A message is stored; `hint`: and delivered.
    Message {
        user: usize,
        hint: bool,
        bytes: usize,
    },
    Broadcast,
    /// The cluster works on one of the questions; `ok`: with success.
    Work {
        pick: usize,
        ok: bool,
    },
    /// One of the answers arrives.
    Answer {
        pick: usize,
    },
    Displace {
        user: usize,
    },
    Kick {
        user: usize,
    },
    NewIncarnation,
    Overflow,
    Refill,
    /// The room is emptied: so long for asking, for leaving, and for what is under way.
    Drain {
        ms: [u64; 3],
    },
    /// That is called off.
    Resume,
    Pass {
        ms: u64,
    },
}

/// Most events of one input of the fuzzer.
#[cfg(feature = "fuzzing")]
const MOST_EVENTS: usize = 400;

/// What it shows then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// Of the latest WELCOME that it has read.
    Latest,
    /// Of the one before: it was used, or leads to a session that is left over.
    Before,
    /// With one bit changed.
    Forged { bit: usize },
    /// That of another device.
    Stolen,
}

fn token() -> impl Strategy<Value = Token> {
    prop_oneof![
        12 => Just(Token::Latest),
        1 => Just(Token::Before),
        1 => (0usize..33 * 8).prop_map(|bit| Token::Forged { bit }),
        1 => Just(Token::Stolen),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let device = 0..world::DEVICES;
    let user = || 0..world::USERS;
    prop_oneof![
        2 => (device.clone(), 1u8..8).prop_map(|(device, users)| Event::Connect { device, users }),
        1 => device.clone().prop_map(|device| Event::Break { device }),
        1 => (device.clone(), 0usize..4).prop_map(|(device, acks)| Event::Cut { device, acks }),
        1 => any::<prop::sample::Index>().prop_map(|pick| Event::Notice { pick: pick.index(64) }),
        4 => (device.clone(), token(), prop::option::weighted(0.2, 1u8..8), any::<bool>())
            .prop_map(|(device, token, users, across)| Event::Return { device, token, users, across }),
        1 => (device.clone(), 0u32..18, user()).prop_map(|(device, index, user)| Event::Bind { device, index, user }),
        1 => (device.clone(), 0u32..4).prop_map(|(device, index)| Event::Unbind { device, index }),
        12 => (device.clone(), 1usize..8000).prop_map(|(device, bytes)| Event::Read { device, bytes }),
        12 => (device.clone(), 1usize..5).prop_map(|(device, count)| Event::Ack { device, count }),
        1 => (device.clone(), any::<u64>()).prop_map(|(device, id)| Event::AckForeign { device, id }),
        1 => (device.clone(), 0u64..4, 0usize..3000)
            .prop_map(|(device, sequence, bytes)| Event::Uplink { device, sequence, bytes }),
        1 => (device, proptest::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(device, bytes)| Event::Garbage { device, bytes }),
        12 => (user(), any::<bool>(), 0usize..3000)
            .prop_map(|(user, hint, bytes)| Event::Message { user, hint, bytes }),
        1 => Just(Event::Broadcast),
        30 => (any::<prop::sample::Index>(), 0..5u8)
            .prop_map(|(pick, ok)| Event::Work { pick: pick.index(64), ok: ok > 0 }),
        30 => any::<prop::sample::Index>().prop_map(|pick| Event::Answer { pick: pick.index(64) }),
        1 => user().prop_map(|user| Event::Displace { user }),
        1 => user().prop_map(|user| Event::Kick { user }),
        1 => Just(Event::NewIncarnation),
        1 => Just(Event::Overflow),
        1 => Just(Event::Refill),
        1 => [0u64..3000, 0u64..3000, 0u64..3000].prop_map(|ms| Event::Drain { ms }),
        2 => Just(Event::Resume),
        6 => (0u64..400).prop_map(|ms| Event::Pass { ms }),
        1 => (0u64..30_000).prop_map(|ms| Event::Pass { ms }),
    ]
}

/// What the fuzzer gives: the window, then four bytes for each event. An event is chosen by them as by a seed, so that inputs stay
/// meaningful when events are added, cut out and put elsewhere.
#[cfg(feature = "fuzzing")]
pub fn session(data: &[u8]) {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

    let Some((window, rest)) = data.split_first() else { return };
    let strategy = event();
    let events = rest.chunks_exact(4).take(MOST_EVENTS).map(|bytes| {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(bytes);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
        strategy.new_tree(&mut runner).unwrap().current()
    });
    live(events, 1 + u16::from(window % 5));
}

fn live(events: impl IntoIterator<Item = Event>, window: u16) {
    let mut world = World::new(window);
    for event in events {
        world.happen(event);
        world.check();
    }
    world.calm_down();
    world.check_that_nothing_is_left();
    world.everybody_leaves();
    world.check_that_nothing_is_held();
}

/// Fewer cases than usual, for each is long; more by `PROPTEST_CASES`.
#[cfg(test)]
fn some_cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { 512 };
    ProptestConfig { cases, ..usual }
}

proptest! {
    #![proptest_config(some_cases())]

    #[test]
    fn nothing_is_forgotten_whatever_happens_d1_to_d9(
        events in proptest::collection::vec(event(), 1..400),
        window in 1u16..6,
    ) {
        live(events, window);
    }
}
