//! Devices that misbehave, and behave in the end.

use std::time::{Duration, Instant};

use longline_load_swarm::Hostile;

use crate::rig::Rig;
use crate::room::Manners;

fn rig(users: u32, hostile: Hostile, manners: Manners) -> Rig {
    let rig = Rig::with(users, manners, |options| options.hostile = hostile);
    rig.swarm.connect(0.0);
    rig
}

/// All are told to behave, and everything arrives.
fn settle(rig: &Rig) {
    rig.swarm.all_back();
    rig.await_counts("all to be back", |c| c.connected == u64::from(rig.users));
    rig.await_delivery();
}

#[test]
fn who_never_acknowledges_makes_up_for_it() {
    let rig = rig(4, Hostile { never_ack: 1.0, ..Hostile::default() }, Manners::default());
    (0..40).for_each(|n| rig.send(n % 4, 100));
    rig.await_counts("the messages", |c| c.pushes == 40);
    assert_eq!((rig.swarm.counts().acks, rig.room.waiting()), (0, 40));
    settle(&rig);
    let counts = rig.ledger.counts();
    assert_eq!((counts.received, counts.duplicated, counts.acked), (40, 0, 40), "{counts:?}");
}

#[test]
fn who_reads_slowly_gets_everything_in_the_end() {
    let rig = rig(2, Hostile { slow: 1.0, ..Hostile::default() }, Manners::default());
    rig.await_counts("all to be connected", |c| c.connected == 2);
    let greeting = rig.swarm.counts().bytes_in;
    let began = Instant::now();
    (0..20).for_each(|n| rig.send(n % 2, 1000));
    rig.await_counts("a few bytes of both", |c| c.bytes_in > greeting + 64);
    let counts = rig.swarm.counts();
    let most = 2 * 64 * (2 + began.elapsed().as_secs());
    assert!(counts.bytes_in - greeting <= most && counts.pushes == 0, "{counts:?}");
    settle(&rig);
    assert_eq!(rig.swarm.counts().bound, 2, "on the same connections");
}

#[test]
fn who_stopped_reading_reads_on() {
    let manners = Manners { heartbeat_s: 1, ..Manners::default() };
    let rig = rig(3, Hostile { stop_reading: 1.0, ..Hostile::default() }, manners);
    rig.await_counts("all to be connected", |c| c.connected == 3);
    let greeting = rig.swarm.counts().bytes_in;
    (0..30).for_each(|n| rig.send(n % 3, 1000));
    rig.eventually("heartbeats nevertheless", || rig.room.seen(|seen| seen.pings) >= 9);
    assert_eq!(rig.swarm.counts().bytes_in, greeting);
    settle(&rig);
    assert_eq!(rig.swarm.counts().bound, 3, "on the same connections");
    assert_eq!(rig.ledger.counts().redelivered, 0);
}

#[test]
fn who_stopped_reading_still_notices_the_end() {
    let rig = rig(3, Hostile { stop_reading: 1.0, ..Hostile::default() }, Manners::default());
    rig.await_counts("all to be connected", |c| c.connected == 3);
    rig.room.hang_up();
    rig.await_counts("all to be back", |c| c.bound == 6 && c.connected == 3);
}

#[test]
fn who_sends_rubbish_comes_back_and_behaves() {
    let rig = rig(12, Hostile { rubbish: 1.0, ..Hostile::default() }, Manners::default());
    (0..24).for_each(|n| rig.send(n % 12, 100));
    rig.eventually("rubbish from all", || rig.room.seen(|seen| seen.rubbish) >= 12);
    let counts = rig.swarm.counts();
    assert!(counts.failures.get("hung_up").or(counts.failures.get("reset")).is_some(), "{counts:?}");
    assert!(counts.bound > 0, "some say hello first");
    settle(&rig);
}

#[test]
fn who_says_nothing_is_given_up_and_behaves_in_the_end() {
    let patience = Duration::from_millis(300);
    let rig =
        rig(12, Hostile { silent: 1.0, ..Hostile::default() }, Manners { patience, ..Manners::default() });
    (0..24).for_each(|n| rig.send(n % 12, 100));
    rig.eventually("the room to give up on all", || rig.room.seen(|seen| seen.silent) >= 12);
    let counts = rig.swarm.counts();
    assert!(counts.bound > 0 && counts.failures["hung_up"] > 0, "some say hello, others not: {counts:?}");
    assert_eq!((counts.acks, counts.heartbeats), (0, 0));
    rig.swarm.all_back();
    rig.await_delivery();
}
