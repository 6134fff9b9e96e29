//! Devices that drop and return, with and without closing their sockets.

use std::time::Duration;

use longline_load_swarm::Churn;

use crate::rig::Rig;
use crate::room::Manners;

fn churn(half_open: f64) -> Churn {
    let away = (Duration::from_millis(20), Duration::from_millis(60));
    Churn { per_second: 200.0, half_open, away }
}

#[test]
fn dropped_devices_return_and_miss_nothing() {
    let rig = Rig::connected(30, Manners::default());
    rig.swarm.churn(Some(churn(0.0)));
    for n in 0..600 {
        rig.send(n % 30, 100);
        rig.eventually("the drops to go on", || rig.swarm.counts().dropped >= u64::from(n) / 6);
    }
    rig.swarm.all_back();
    rig.await_counts("all to be back", |c| c.connected == 30);
    rig.await_delivery();
    let counts = rig.swarm.counts();
    assert_eq!((counts.half_open, counts.bound), (0, 30 + counts.dropped));
    assert_eq!(rig.ledger.counts().received, 600);
}

#[test]
fn half_open_sockets_stay_until_the_room_ends_them() {
    let rig = Rig::connected(10, Manners::default());
    rig.swarm.churn(Some(churn(1.0)));
    rig.await_counts("20 drops", |c| c.dropped >= 20);
    rig.swarm.churn(None);
    rig.swarm.all_back();
    rig.await_counts("all to be back", |c| c.connected == 10);
    let counts = rig.swarm.counts();
    assert_eq!(counts.half_open, counts.dropped);
    assert_eq!(rig.room.seen(|seen| seen.ended.len()), 0, "the room knows nothing");

    // Two connections of each user take what comes: only what the living one got counts.
    (0..10).for_each(|user| rig.send(user, 100));
    rig.eventually("every message to arrive", || rig.ledger.outstanding() == 0);
    rig.room.hang_up();
    rig.await_counts("the dead to be closed", |c| c.half_open == 0);
    rig.await_counts("all to be back", |c| c.connected == 10);
}

#[test]
fn there_are_only_so_many_half_open_sockets() {
    let rig = Rig::connected(4, Manners::default());
    let fast = Churn { per_second: 2000.0, away: (Duration::ZERO, Duration::from_millis(1)), ..churn(1.0) };
    rig.swarm.churn(Some(fast));
    // 64 in each of the two threads.
    rig.await_counts("more drops than can be kept", |c| c.dropped > 300);
    assert!(rig.swarm.counts().half_open <= 128);
    rig.swarm.all_back();
    rig.await_counts("all to be back", |c| c.connected == 4);
    assert!(rig.swarm.counts().drops_missed > 0, "at times nobody was there to be dropped");
}
