//! Broadcasts: sequences, floors, claims and progress.

use longline_pb::saver::RoomProgress;
use longline_types::{ErrorCode, MessageId, ProductId, now_ms};

use super::*;
use crate::store::{Claim, PutBroadcast, Report, Store, StoredBroadcast};

fn broadcast(product: u32) -> PutBroadcast {
    PutBroadcast {
        product: ProductId(product),
        message: message(new_id(), "news"),
        rate_per_second: 50,
        idempotency: None,
    }
}

async fn announced(store: &impl Store) -> StoredBroadcast {
    store.put_broadcast(broadcast(1)).await.unwrap()
}

/// Sequences of the broadcasts that a load brings.
async fn sequences(store: &impl Store, user: &str) -> Vec<u64> {
    load(store, load_of(user)).await.messages.iter().map(|m| m.broadcast_seq).filter(|s| *s != 0).collect()
}

fn ack_broadcast(user: &str, broadcast: StoredBroadcast) -> Ack {
    Ack { broadcast_seq: broadcast.seq, ..ack_of(user, broadcast.id) }
}

async fn acked(store: &impl Store, id: MessageId) -> u64 {
    store.broadcast(ProductId(1), id).await.unwrap().unwrap().acked
}

pub(crate) async fn a_first_sight_starts_at_the_present_s8(store: &impl Store) {
    let before = announced(store).await;
    assert!(!check(store, "alice", 0).await, "a check is no sight");
    assert!(sequences(store, "alice").await.is_empty());
    let after = announced(store).await;
    assert_eq!((before.seq, after.seq), (1, 2));
    let page = load(store, load_of("alice")).await;
    assert_eq!(page.messages.len(), 1);
    let got = &page.messages[0];
    assert_eq!((got.id, got.broadcast_seq, got.payload.as_ref()), (after.id.0, 2, b"news".as_slice()));
    assert_eq!(sequences(store, "alice").await, [2], "until it is acknowledged");
    assert!(check(store, "alice", 0).await);
    assert!(!check(store, "alice", 1).await);
    assert_eq!(store.inbox(&address("alice")).await.unwrap().broadcasts_waiting, 1);
    assert_eq!(store.inbox(&address("bob")).await.unwrap().broadcasts_waiting, 0);
}

pub(crate) async fn a_sight_before_the_first_broadcast_counts_s8(store: &impl Store) {
    assert!(sequences(store, "alice").await.is_empty());
    announced(store).await;
    assert_eq!(sequences(store, "alice").await, [1]);
    assert!(sequences(store, "bob").await.is_empty());
}

pub(crate) async fn an_acknowledged_broadcast_does_not_come_again_s8(store: &impl Store) {
    load(store, load_of("alice")).await;
    load(store, load_of("bob")).await;
    let first = announced(store).await;
    assert!(ack(store, ack_broadcast("alice", first)).await);
    assert!(!ack(store, ack_broadcast("alice", first)).await, "a repeat");
    assert!(sequences(store, "alice").await.is_empty());
    assert!(!check(store, "alice", 0).await);
    assert_eq!(sequences(store, "bob").await, [1]);
    assert_eq!(acked(store, first.id).await, 1);
    let both = vec![ack_broadcast("bob", first), ack_broadcast("bob", first)];
    assert_eq!(store.ack(both).await, [Ok(true), Ok(false)]);
    assert_eq!(acked(store, first.id).await, 2);
}

pub(crate) async fn broadcasts_may_be_acknowledged_in_any_order_s8(store: &impl Store) {
    load(store, load_of("alice")).await;
    let all =
        [announced(store).await, announced(store).await, announced(store).await, announced(store).await];
    for (index, left) in [(2, vec![1, 2, 4]), (0, vec![2, 4]), (1, vec![4]), (3, vec![])] {
        assert!(ack(store, ack_broadcast("alice", all[index])).await);
        assert_eq!(sequences(store, "alice").await, left);
        assert_eq!(store.inbox(&address("alice")).await.unwrap().broadcasts_waiting, left.len() as u64);
    }
    announced(store).await;
    assert_eq!(sequences(store, "alice").await, [5]);
}

pub(crate) async fn the_devices_last_seen_only_raises_the_floor_s8(store: &impl Store) {
    load(store, load_of("alice")).await;
    for _ in 0..3 {
        announced(store).await;
    }
    let page = load(store, Load { seen_broadcast: 2, ..load_of("alice") }).await;
    assert_eq!(page.messages.iter().map(|m| m.broadcast_seq).collect::<Vec<_>>(), [3]);
    let page = load(store, Load { seen_broadcast: 1, ..load_of("alice") }).await;
    assert_eq!(page.messages.len(), 1, "it never goes down");
    let page = load(store, Load { seen_broadcast: u64::MAX, ..load_of("alice") }).await;
    assert!(page.messages.is_empty());
    announced(store).await;
    assert_eq!(sequences(store, "alice").await, [4], "and never beyond what was given");
}

pub(crate) async fn a_foreign_broadcast_ack_changes_nothing(store: &impl Store) {
    load(store, load_of("alice")).await;
    let first = announced(store).await;
    let wrong_id = Ack { broadcast_seq: first.seq, ..ack_of("alice", new_id()) };
    assert!(!ack(store, wrong_id).await);
    let wrong_seq = Ack { broadcast_seq: 99, ..ack_of("alice", first.id) };
    assert!(!ack(store, wrong_seq).await);
    assert!(!ack(store, ack_broadcast("never-seen", first)).await);
    let elsewhere = Ack { address: Address::new(2, "alice").unwrap(), ..ack_broadcast("alice", first) };
    assert!(!ack(store, elsewhere).await);
    assert!(!ack(store, ack_of("alice", first.id)).await, "a broadcast is no message of the inbox");
    assert_eq!(sequences(store, "alice").await, [1]);
    assert_eq!(acked(store, first.id).await, 0);
}

pub(crate) async fn broadcasts_come_after_unicasts_in_one_page(store: &impl Store) {
    load(store, load_of("alice")).await;
    let news = [announced(store).await, announced(store).await];
    let first = stored(store, put("alice")).await;
    let second = stored(store, put("alice")).await;
    assert_eq!(waiting(store, "alice").await, [first, second, news[0].id, news[1].id]);
    let page = load(store, Load { limit: 2, ..load_of("alice") }).await;
    assert_eq!((ids(&page), page.more), (vec![first, second], true), "broadcasts are left");
    let page = load(store, Load { limit: 3, except: vec![news[0].id], ..load_of("alice") }).await;
    assert_eq!((ids(&page), page.more), (vec![first, second, news[1].id], false));
    let page = load(store, Load { except: vec![first, second], max_bytes: 7, ..load_of("alice") }).await;
    assert_eq!((ids(&page), page.more), (vec![news[0].id], true));
    assert!(check(store, "alice", 3).await);
    assert!(!check(store, "alice", 4).await);
}

pub(crate) async fn sequences_are_given_without_gaps_s8(store: &impl Store) {
    let (a, b, c, d) = tokio::join!(announced(store), announced(store), announced(store), announced(store));
    let mut sequences = [a.seq, b.seq, c.seq, d.seq];
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 3, 4]);
    assert_eq!(store.put_broadcast(broadcast(2)).await.unwrap().seq, 1, "per product");
}

pub(crate) async fn a_broadcast_retry_gets_the_first_s1(store: &impl Store) {
    let keyed = |digest| PutBroadcast {
        idempotency: Some(Idempotency { key: "k".to_owned(), digest: [digest; 16] }),
        ..broadcast(1)
    };
    let first = store.put_broadcast(keyed(1)).await.unwrap();
    let retry = store.put_broadcast(keyed(1)).await.unwrap();
    assert_eq!((retry.id, retry.seq, retry.repeated), (first.id, first.seq, true));
    assert_eq!(store.put_broadcast(keyed(2)).await.unwrap_err().code, ErrorCode::Conflict);
    let plain = broadcast(1);
    let stored = store.put_broadcast(plain.clone()).await.unwrap();
    assert_eq!((stored.seq, stored.repeated), (2, false));
    assert!(store.put_broadcast(plain.clone()).await.unwrap().repeated, "the id tells as well");
    let elsewhere = PutBroadcast { product: ProductId(2), ..plain };
    assert_eq!(store.put_broadcast(elsewhere).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(store.broadcasts(ProductId(1), 0, 10).await.unwrap().len(), 2);
}

fn claim_of(node: u32, lease_ms: u32) -> Claim {
    Claim { node, incarnation: u64::MAX - u64::from(node), lease_ms, limit: 10 }
}

fn report_of(node: u32, id: MessageId) -> Report {
    Report {
        product: ProductId(1),
        id,
        node,
        incarnation: u64::MAX - u64::from(node),
        rooms: Vec::new(),
        finished: false,
        lease_ms: 60_000,
    }
}

async fn claimed(store: &impl Store, node: u32, lease_ms: u32) -> Vec<MessageId> {
    let records = store.claim_broadcasts(claim_of(node, lease_ms)).await.unwrap();
    records.iter().map(|r| MessageId(r.message.as_ref().unwrap().id)).collect()
}

pub(crate) async fn broadcasts_are_claimed_by_one(store: &impl Store) {
    let first = announced(store).await.id;
    let second = announced(store).await.id;
    let (a, b) = tokio::join!(claimed(store, 1, 60_000), claimed(store, 2, 60_000));
    let mut all = [a.clone(), b.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, [first, second], "each exactly once");
    assert!(claimed(store, 3, 60_000).await.is_empty());
    let (owner, other) = if a.contains(&first) { (1, 2) } else { (2, 1) };
    assert_eq!(store.report_broadcast(report_of(other, first)).await.unwrap_err().code, ErrorCode::Conflict);
    let short = Report { lease_ms: 0, ..report_of(owner, first) };
    store.report_broadcast(short).await.unwrap();
    longline_testkit::eventually(SOON, "the claim lapses", async || {
        claimed(store, 3, 60_000).await == [first]
    })
    .await;
    assert_eq!(store.report_broadcast(report_of(owner, first)).await.unwrap_err().code, ErrorCode::Conflict);
    store.report_broadcast(Report { finished: true, ..report_of(3, first) }).await.unwrap();
    assert!(claimed(store, 1, 60_000).await.is_empty(), "a finished one is nobody's");
    let unknown = store.report_broadcast(report_of(1, new_id())).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
}

pub(crate) async fn progress_is_merged_by_room(store: &impl Store) {
    let id = announced(store).await.id;
    claimed(store, 1, 60_000).await;
    let room = |node, pushed| RoomProgress {
        node,
        incarnation: u64::MAX,
        done: false,
        sessions: 10,
        pushed,
        acked: pushed / 2,
    };
    let with = |rooms| Report { rooms, ..report_of(1, id) };
    store.report_broadcast(with(vec![room(5, 2), room(6, 4)])).await.unwrap();
    store.report_broadcast(with(vec![RoomProgress { done: true, ..room(5, 10) }])).await.unwrap();
    store.report_broadcast(Report { finished: true, ..with(vec![]) }).await.unwrap();
    store.report_broadcast(with(vec![])).await.unwrap();
    let mut record = store.broadcast(ProductId(1), id).await.unwrap().unwrap();
    record.rooms.sort_by_key(|r| r.node);
    assert_eq!(record.rooms, [RoomProgress { done: true, ..room(5, 10) }, room(6, 4)]);
    assert!(record.finished, "a finished one stays finished");
    assert_eq!((record.product, record.rate_per_second), (1, 50));
}

pub(crate) async fn active_broadcasts_are_listed_by_sequence(store: &impl Store) {
    for _ in 0..4 {
        announced(store).await;
    }
    store.put_broadcast(broadcast(2)).await.unwrap();
    let listed = async |above, limit| -> Vec<u64> {
        let records = store.broadcasts(ProductId(1), above, limit).await.unwrap();
        records.into_iter().map(|r| r.message.unwrap().broadcast_seq).collect()
    };
    assert_eq!(listed(0, 10).await, [1, 2, 3, 4]);
    assert_eq!(listed(2, 10).await, [3, 4]);
    assert_eq!(listed(1, 2).await, [2, 3]);
    assert!(listed(4, 10).await.is_empty());
}

pub(crate) async fn an_expired_broadcast_is_over(store: &impl Store) {
    load(store, load_of("alice")).await;
    let mut dead = broadcast(1);
    dead.message.expires_at_ms = now_ms() - 1000;
    let dead = store.put_broadcast(dead).await.unwrap();
    assert!(sequences(store, "alice").await.is_empty());
    assert!(!check(store, "alice", 0).await);
    assert!(claimed(store, 1, 60_000).await.is_empty());
    assert!(store.broadcasts(ProductId(1), 0, 10).await.unwrap().is_empty());
    assert_eq!(store.expire_broadcasts(10).await, Ok(1));
    assert_eq!(store.expire_broadcasts(10).await, Ok(0));
    let record = store.broadcast(ProductId(1), dead.id).await.unwrap().unwrap();
    assert!(record.message.unwrap().payload.is_empty(), "the record stays, the payload does not");
    let next = announced(store).await;
    assert_eq!(sequences(store, "alice").await, [next.seq]);
    assert!(ack(store, ack_broadcast("alice", next)).await);
    assert!(sequences(store, "alice").await.is_empty());
}
