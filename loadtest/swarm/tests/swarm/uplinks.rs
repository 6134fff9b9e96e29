//! Data from devices to the business.

use std::collections::{HashMap, HashSet};

use longline_load_swarm::Uplinks;
use longline_load_truth::{Header, Kind};
use longline_pb::client::UplinkResult;

use crate::rig::Rig;
use crate::room::Manners;

fn uplinks(per_second: f64) -> Uplinks {
    Uplinks { per_second, payload_bytes: 100, route: 9 }
}

#[test]
fn uplinks_are_repeated_until_they_are_answered() {
    let uplink = |before| match before {
        0 => (UplinkResult::Retry, 50),
        _ => (UplinkResult::Ok, 0),
    };
    let rig = Rig::connected(10, Manners { uplink, ..Manners::default() });
    rig.swarm.uplink(Some(uplinks(200.0)));
    rig.await_counts("50 uplinks", |c| c.uplinks >= 50);
    rig.swarm.uplink(None);
    rig.await_counts("all to be answered", |c| c.uplinks_acked == c.uplinks);
    let counts = rig.swarm.counts();
    assert_eq!((counts.uplinks_retried, counts.uplinks_sent), (counts.uplinks, 2 * counts.uplinks));
    let acked = rig.swarm.uplinks();
    assert_eq!(acked.len(), counts.uplinks);
    rig.room.seen(|seen| {
        let mut payloads = HashMap::new();
        for uplink in &seen.uplinks {
            let header = Header::read(&uplink.payload).unwrap();
            assert_eq!((uplink.route, uplink.payload.len(), header.kind), (9, 100, Kind::Uplink));
            assert_eq!((header.sequence, header.run, header.agent), (uplink.sequence, 7, 3));
            assert!(acked.contains(header.sequence) && header.user < rig.users);
            assert_eq!(*payloads.entry(uplink.sequence).or_insert(&uplink.payload), &uplink.payload);
        }
        assert_eq!(payloads.len() as u64, counts.uplinks);
    });
}

#[test]
fn what_is_not_answered_is_sent_again_on_the_next_connection() {
    // A wait beyond the test: only the new connection brings them again.
    let uplink = |before| match before {
        0 => (UplinkResult::Retry, 600_000),
        _ => (UplinkResult::Ok, 0),
    };
    let rig = Rig::connected(3, Manners { uplink, ..Manners::default() });
    rig.swarm.uplink(Some(uplinks(1000.0)));
    rig.await_counts("every window to be full", |c| c.uplinks == 48 && c.uplinks_missed > 0);
    rig.swarm.uplink(None);
    rig.await_counts("every answer", |c| c.uplinks_retried == 48);
    rig.swarm.drop_all();
    rig.await_counts("all to be answered", |c| c.uplinks_acked == 48);
    let sequences: HashSet<u64> = rig.room.seen(|seen| seen.uplinks.iter().map(|u| u.sequence).collect());
    assert_eq!(sequences.len(), 48);
}

#[test]
fn what_is_refused_is_not_sent_again() {
    let rig = Rig::connected(3, Manners { uplink: |_| (UplinkResult::NoRoute, 0), ..Manners::default() });
    rig.swarm.uplink(Some(uplinks(500.0)));
    rig.await_counts("refusals", |c| c.uplinks_refused >= 20);
    rig.swarm.uplink(None);
    rig.await_counts("all to be answered", |c| c.uplinks_refused == c.uplinks);
    let counts = rig.swarm.counts();
    assert_eq!((counts.uplinks_sent, counts.uplinks_acked), (counts.uplinks, 0));
    assert!(rig.swarm.uplinks().is_empty());
}
