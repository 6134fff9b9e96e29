//! Devices that get their broken sessions back.

use std::time::Duration;

use longline_load_swarm::Churn;

use crate::rig::Rig;
use crate::room::Manners;

fn resuming(users: u32, share: f64) -> Rig {
    let manners = Manners { resumes_and_hears_no_acks: true, ..Manners::default() };
    let rig = Rig::with(users, manners, |options| options.resume = share);
    rig.swarm.connect(0.0);
    rig.await_counts("all to be connected", |c| c.connected == u64::from(users));
    rig
}

#[test]
fn a_device_that_was_cut_comes_back_with_its_token_and_names_what_it_has() {
    let rig = resuming(10, 1.0);
    (0..50).for_each(|n| rig.send(n % 10, 100));
    rig.eventually("every message to arrive", || rig.ledger.outstanding() == 0);
    rig.eventually("every ACK to be sent", || rig.room.seen(|seen| seen.acks.1) == 50);
    assert_eq!(rig.room.waiting(), 50, "the ACKs were lost");
    rig.room.hang_up();
    rig.await_counts("all to be back", |c| c.resumed == 10 && c.connected == 10);
    rig.eventually("the acknowledgements in HELLO", || rig.room.waiting() == 0);
    let counts = rig.ledger.counts();
    assert_eq!((counts.received, counts.acked, counts.redelivered), (50, 50, 0), "{counts:?}");
    let tokens = rig.room.seen(|seen| seen.hellos.iter().filter(|h| !h.resume_token.is_empty()).count());
    assert_eq!((tokens, rig.swarm.counts().resumes_refused), (10, 0));
}

#[test]
fn churn_with_and_without_a_goodbye_is_resumed() {
    let rig = resuming(20, 1.0);
    let away = (Duration::ZERO, Duration::from_millis(20));
    rig.swarm.churn(Some(Churn { per_second: 200.0, half_open: 0.5, away }));
    for n in 0..400 {
        rig.send(n % 20, 100);
        rig.eventually("the drops to go on", || rig.swarm.counts().dropped >= u64::from(n) / 6);
    }
    rig.swarm.all_back();
    rig.await_counts("all to be back", |c| c.connected == 20);
    rig.eventually("every message to arrive", || rig.ledger.outstanding() == 0);
    let counts = rig.swarm.counts();
    assert_eq!((counts.resumed, counts.resumes_refused), (counts.dropped, 0), "{counts:?}");
    let truth = rig.ledger.counts();
    assert_eq!((truth.received, truth.lost, truth.duplicated, truth.foreign), (400, 0, 0, 0), "{truth:?}");
}

#[test]
fn only_the_share_that_resumes_shows_tokens() {
    for (share, some, all) in [(0.0, false, false), (0.5, true, false), (1.0, true, true)] {
        let rig = resuming(40, share);
        rig.room.hang_up();
        rig.await_counts("all to be back", |c| c.bound == 80 && c.connected == 40);
        let resumed = rig.swarm.counts().resumed;
        assert_eq!((resumed > 0, resumed == 40), (some, all), "{resumed} of 40 at {share}");
    }
}
