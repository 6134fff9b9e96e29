//! The uplink queue.

use std::collections::BTreeSet;

use bytes::Bytes;
use longline_pb::saver::{UplinkKind, UplinkRecord};
use longline_types::{MessageId, now_ms};

use super::*;
use crate::store::{Claim, FinishUplink, PutUplink, Store};

/// Held by node 1 until the lease is over.
fn uplink(sequence: u64, lease_ms: u32) -> PutUplink {
    let record = UplinkRecord {
        id: new_id().0,
        kind: UplinkKind::Data.into(),
        address: Some((&address("alice")).into()),
        device: "phone".to_owned(),
        sequence,
        route: 3,
        payload: Bytes::from_static(b"data"),
        received_at_ms: 77,
        ..UplinkRecord::default()
    };
    PutUplink { record, node: 1, incarnation: 1, lease_ms }
}

async fn queue(store: &impl Store, uplink: PutUplink) -> bool {
    store.put_uplinks(vec![uplink]).await.remove(0).unwrap()
}

async fn claim(store: &impl Store, node: u32, lease_ms: u32) -> Vec<UplinkRecord> {
    store.claim_uplinks(Claim { node, incarnation: 1, lease_ms, limit: 10 }).await.unwrap()
}

/// Waits for the one uplink to become due, and takes it.
async fn due(store: &impl Store, lease_ms: u32) -> UplinkRecord {
    longline_testkit::eventually_some(SOON, "the uplink is due", async || {
        claim(store, 2, lease_ms).await.pop()
    })
    .await
}

async fn finish(store: &impl Store, id: u64, taken: bool, next_try_at_ms: u64) {
    store.finish_uplinks(vec![FinishUplink { id: MessageId(id), taken, next_try_at_ms }]).await.unwrap();
}

pub(crate) async fn a_repeated_uplink_is_recognised(store: &impl Store) {
    let first = uplink(1, 60_000);
    assert!(!queue(store, first.clone()).await);
    assert!(queue(store, first.clone()).await, "by its id");
    assert!(queue(store, uplink(1, 60_000)).await, "by its sequence");
    let of = |user: &str, device: &str| {
        let mut put = uplink(1, 60_000);
        put.record.address = Some((&address(user)).into());
        put.record.device = device.to_owned();
        put
    };
    let again = uplink(2, 60_000);
    let group = vec![of("bob", "phone"), of("alice", "watch"), again.clone(), uplink(2, 60_000), again];
    let answers = store.put_uplinks(group).await;
    assert_eq!(answers, [Ok(false), Ok(false), Ok(false), Ok(true), Ok(true)]);
}

pub(crate) async fn uplinks_are_claimed_by_one(store: &impl Store) {
    let mut all = BTreeSet::new();
    for sequence in 1..=12 {
        let put = uplink(sequence, 0);
        all.insert(put.record.id);
        queue(store, put).await;
    }
    let held = uplink(13, 60_000);
    queue(store, held.clone()).await;
    let mut got = Vec::new();
    longline_testkit::eventually(SOON, "all are claimed", async || {
        let (a, b) = tokio::join!(claim(store, 1, 60_000), claim(store, 2, 60_000));
        assert!(a.len() <= 10 && b.len() <= 10, "no more than the limit");
        got.extend(a.into_iter().chain(b).map(|r| r.id));
        got.len() >= all.len()
    })
    .await;
    assert_eq!(got.len(), all.len(), "each exactly once, and not what is held");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), all);
}

pub(crate) async fn a_lapsed_claim_is_anybodys(store: &impl Store) {
    let put = uplink(1, 200);
    queue(store, put.clone()).await;
    let record = due(store, 100).await;
    assert_eq!(record, put.record);
    assert_eq!(due(store, 60_000).await.id, put.record.id, "its claimer was silent");
    assert!(claim(store, 3, 60_000).await.is_empty());
}

pub(crate) async fn a_finished_uplink_is_remembered_without_its_payload(store: &impl Store) {
    let put = uplink(1, 0);
    queue(store, put.clone()).await;
    let record = due(store, 0).await;
    finish(store, record.id, true, 0).await;
    finish(store, record.id, false, 0).await;
    finish(store, new_id().0, true, 0).await;
    assert!(claim(store, 1, 0).await.is_empty(), "a finished one stays finished");
    assert!(queue(store, uplink(1, 0)).await, "a repeat after all is done");
    assert!(queue(store, put).await);
    let mut purged = 0;
    longline_testkit::eventually(SOON, "retention removes it", async || {
        purged += store.purge(0, 10).await.unwrap();
        purged == 1
    })
    .await;
    assert!(!queue(store, uplink(1, 0)).await, "until retention");
}

pub(crate) async fn an_uplink_put_off_comes_later_with_one_more_attempt(store: &impl Store) {
    queue(store, uplink(1, 0)).await;
    let record = due(store, 60_000).await;
    assert_eq!(record.attempts, 0);
    finish(store, record.id, false, now_ms() + 60_000).await;
    assert!(claim(store, 1, 0).await.is_empty());
    finish(store, record.id, false, now_ms()).await;
    let record = due(store, 60_000).await;
    assert_eq!(record.attempts, 2);
    assert_eq!(record.payload.as_ref(), b"data");
}

pub(crate) async fn presence_has_no_sequence(store: &impl Store) {
    let presence = || {
        let mut put = uplink(4, 60_000);
        put.record.kind = UplinkKind::Online.into();
        put
    };
    let first = presence();
    assert!(!queue(store, first.clone()).await);
    assert!(!queue(store, presence()).await);
    assert_eq!(store.put_uplinks(vec![presence(), presence()]).await, [Ok(false), Ok(false)], "in one group");
    assert!(queue(store, first).await, "the id tells");
    assert!(!queue(store, uplink(0, 60_000)).await);
    assert!(!queue(store, uplink(0, 60_000)).await, "data without a sequence");
    assert!(!queue(store, uplink(4, 60_000)).await, "presence does not use up sequences");
}
