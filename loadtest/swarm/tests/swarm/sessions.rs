//! Devices that connect, take messages, keep the heartbeat and come back.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use longline_load_swarm::Network;
use longline_pb::client::{BindResult, Network as NetworkKind};
use longline_types::{ProductId, User, now_ms};

use crate::rig::Rig;
use crate::room::{Greeting, Manners};

#[test]
fn devices_connect_at_a_rate() {
    let rig = Rig::new(40, Manners::default());
    let began = Instant::now();
    rig.swarm.connect(100.0);
    rig.await_counts("all to be bound", |c| c.bound == 40);
    let took = began.elapsed().as_millis();
    assert!(took >= 380, "40 at 100 a second, in {took} ms");
    let counts = rig.swarm.counts();
    assert_eq!((counts.connects, counts.connected, counts.connecting), (40, 40, 0));
    assert_eq!(rig.swarm.take_connect_latencies().len(), 40);
    assert!(rig.swarm.take_connect_latencies().is_empty(), "they are taken");
    let names: HashSet<_> = rig.room.seen(|seen| seen.hellos.iter().map(|h| h.device.clone()).collect());
    assert_eq!(names, (0..40).map(|n| format!("u-{n}")).collect());
}

#[test]
fn what_comes_within_a_step_is_served_together() {
    let rig = Rig::with(40, Manners::default(), |options| options.step = Duration::from_millis(200));
    let started = Instant::now();
    rig.swarm.connect(200.0);
    rig.await_counts("all to be connected", |c| c.connected == 40);
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "connected, greeted and welcomed in a step each"
    );
    let shortest = rig.swarm.take_connect_latencies().min();
    assert!(shortest >= 200_000, "each waited for steps: {shortest} µs");
}

#[test]
fn they_come_from_their_sources_and_networks_with_their_tokens() {
    let secret = b"a secret of the product".to_vec();
    let rig = Rig::with(30, Manners::default(), |options| {
        options.sources = ["127.5.0.1", "127.5.0.2", "127.5.0.3"].map(|s| s.parse().unwrap()).to_vec();
        options.token_key = Some(secret.clone());
        options.networks = vec![
            Network { kind: NetworkKind::Wifi, share: 3.0, heartbeat_s: (240, 480) },
            Network { kind: NetworkKind::Network3g, share: 1.0, heartbeat_s: (60, 300) },
        ];
    });
    rig.swarm.connect(0.0);
    rig.await_counts("all to be connected", |c| c.connected == 30);
    rig.room.seen(|seen| {
        let mut by_source = std::collections::BTreeMap::new();
        seen.sources.iter().for_each(|source| *by_source.entry(*source).or_insert(0) += 1);
        assert_eq!(by_source.into_values().collect::<Vec<_>>(), [10, 10, 10]);
        let slow = seen.hellos.iter().filter(|h| h.network() == NetworkKind::Network3g).count();
        assert!((1..20).contains(&slow), "{slow}");
        for hello in &seen.hellos {
            let bind = &hello.binds[0];
            let range = if hello.network() == NetworkKind::Wifi { (240, 480) } else { (60, 300) };
            assert_eq!((hello.heartbeat_min_s, hello.heartbeat_max_s), range);
            let keys = longline_auth::TokenKeys::new([&secret]);
            keys.verify(&bind.token, &User::new(&bind.user).unwrap(), ProductId(1), now_ms()).unwrap();
        }
    });
}

#[test]
fn messages_arrive_and_are_acknowledged() {
    let rig = Rig::connected(20, Manners::default());
    (0..2000).for_each(|n| rig.send(n % 20, 40 + n as usize % 200));
    rig.await_delivery();
    let (ledger, swarm) = (rig.ledger.counts(), rig.swarm.counts());
    assert_eq!((ledger.received, ledger.acked, ledger.duplicated), (2000, 2000, 0));
    assert_eq!((swarm.pushes, swarm.acks), (2000, 2000));
    let (frames, ids) = rig.room.seen(|seen| seen.acks);
    assert!(ids == 2000 && frames < 2000, "{frames} ACK frames");
    assert!(swarm.bytes_in > 2000 * 60 && swarm.bytes_out > 2000 * 8);
}

#[test]
fn frames_arrive_in_any_pieces() {
    for piece in [1, 3, 7] {
        let rig = Rig::connected(4, Manners { piece, greet: |_| Greeting::BindLater, ..Manners::default() });
        (0..80).for_each(|n| rig.send(n % 4, 32 + n as usize * 3));
        rig.await_delivery();
        assert_eq!(rig.ledger.counts().acked, 80);
        assert!(rig.swarm.counts().losses.is_empty());
    }
}

#[test]
fn the_largest_messages_arrive() {
    let rig = Rig::connected(2, Manners { piece: 50_000, ..Manners::default() });
    (0..40).for_each(|n| rig.send(n % 2, 65_536));
    rig.await_delivery();
    assert_eq!(rig.ledger.counts().acked, 40);
}

#[test]
fn they_come_back_when_the_room_sends_them_away() {
    let greet = |n| if n < 5 { Greeting::Close(1000, 300) } else { Greeting::Bind(BindResult::Ok) };
    let rig = Rig::new(5, Manners { greet, ..Manners::default() });
    let began = Instant::now();
    rig.swarm.connect(0.0);
    rig.await_counts("all to be connected", |c| c.connected == 5);
    assert!(began.elapsed().as_millis() >= 300);
    let counts = rig.swarm.counts();
    assert_eq!((counts.closes["going_away"], counts.connects, counts.bound), (5, 10, 5));
    let attempts = rig.way.attempts.lock().unwrap().clone();
    assert_eq!(attempts.iter().filter(|attempt| **attempt == 1).count(), 5, "another room is asked for");
    rig.room.seen(|seen| {
        for hello in &seen.hellos[5..] {
            let first = seen.hellos[..5].iter().find(|first| first.device == hello.device).unwrap();
            assert!(hello.connection_counter > first.connection_counter);
        }
    });
}

#[test]
fn who_is_refused_stays_away() {
    let greet = |n| Greeting::Bind(if n < 3 { BindResult::BadToken } else { BindResult::Ok });
    let rig = Rig::new(5, Manners { greet, ..Manners::default() });
    rig.swarm.connect(0.0);
    rig.await_counts("two to be connected", |c| c.connected == 2 && c.refused == 3);
    rig.swarm.drop_all();
    rig.await_counts("two to be back", |c| c.connected == 2 && c.bound == 4);
    rig.swarm.all_back();
    rig.swarm.drop_all();
    rig.await_counts("two to be back", |c| c.connected == 2 && c.bound == 6);
    let counts = rig.swarm.counts();
    assert_eq!((counts.refused, counts.connects), (3, 9));
}

#[test]
fn heartbeats_keep_a_quiet_connection() {
    let patience = std::time::Duration::from_millis(1800);
    let rig = Rig::connected(10, Manners { heartbeat_s: 1, patience, ..Manners::default() });
    rig.await_counts("40 heartbeats", |c| c.heartbeats >= 40);
    assert!(rig.room.seen(|seen| seen.pings) >= 30);
    let counts = rig.swarm.counts();
    assert_eq!((counts.bound, counts.connected), (10, 10), "nobody was lost: {counts:?}");
}

#[test]
fn nobody_listens_and_then_somebody_does() {
    let rig = Rig::new(4, Manners::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    *rig.way.to.lock().unwrap() = None;
    rig.swarm.connect(0.0);
    rig.await_counts("nobody to know the way", |c| c.unrouted >= 4);
    *rig.way.to.lock().unwrap() = Some(closed);
    rig.await_counts("refused connects", |c| c.failures.get("refused").is_some_and(|count| *count >= 4));
    *rig.way.to.lock().unwrap() = Some(rig.room.address);
    rig.await_counts("all to be connected", |c| c.connected == 4);
    let latencies = rig.swarm.take_connect_latencies();
    assert!(latencies.len() == 4 && latencies.min() > 100_000, "they count from when the connect was due");
    assert!(rig.way.attempts.lock().unwrap().iter().any(|attempt| *attempt > 0));
}

#[test]
fn a_storm_drops_all_and_all_come_back_to_their_messages() {
    let rig = Rig::connected(30, Manners::default());
    rig.swarm.drop_all();
    (0..60).for_each(|n| rig.send(n % 30, 100));
    rig.await_counts("all to be back", |c| c.bound == 60 && c.connected == 30);
    rig.await_delivery();
    assert_eq!(rig.swarm.counts().dropped, 30);
    rig.eventually("the room to see the ends", || rig.room.seen(|seen| seen.ended.len()) == 30);

    rig.room.hang_up();
    rig.await_counts("all to be back", |c| c.bound == 90 && c.connected == 30);
    assert_eq!(rig.swarm.counts().losses.values().sum::<u64>(), 30);
}

#[test]
fn all_come_back_at_once_however_long_they_were_to_wait() {
    let greet = |n| if n < 8 { Greeting::Close(1001, 600_000) } else { Greeting::Bind(BindResult::Ok) };
    let rig = Rig::new(8, Manners { greet, ..Manners::default() });
    rig.swarm.connect(0.0);
    rig.await_counts("all to be sent away", |c| c.closes.get("overloaded") == Some(&8));
    rig.swarm.all_back();
    rig.await_counts("all to be back", |c| c.connected == 8);

    let rig = Rig::new(8, Manners::default());
    rig.swarm.all_back();
    rig.await_counts("those who were never asked to be there", |c| c.connected == 8);
}

#[test]
fn stopping_closes_everything() {
    let rig = Rig::connected(10, Manners::default());
    let Rig { room, swarm, .. } = rig;
    swarm.stop();
    let end = Instant::now() + crate::rig::DEADLINE;
    while room.seen(|seen| seen.ended.len()) < 10 {
        assert!(Instant::now() < end, "connections are still open");
        std::thread::yield_now();
    }
}
