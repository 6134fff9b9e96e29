//! Expiry and retention.

use longline_types::{MessageState, ProductId, now_ms};

use super::*;
use crate::store::{PutBroadcast, Store};

fn expiring(user: &str, expires_at_ms: u64) -> Put {
    let mut put = put(user);
    put.message.expires_at_ms = expires_at_ms;
    put
}

pub(crate) async fn expired_is_hidden_at_once_and_ended_by_the_sweep(store: &impl Store) {
    let kept = stored(store, put("alice")).await;
    let dead = stored(store, expiring("alice", now_ms() - 1000)).await;
    assert_eq!(waiting(store, "alice").await, [kept], "before any sweep");
    assert!(!check(store, "alice", 1).await);
    let inbox = store.inbox(&address("alice")).await.unwrap();
    assert_eq!((inbox.waiting, inbox.oldest), (1, Some(kept)));
    assert_eq!(store.expire(100).await, Ok(1));
    assert_eq!(state_of(store, dead).await, MessageState::Expired);
    assert_eq!(state_of(store, kept).await, MessageState::Waiting);
    assert_eq!(store.expire(100).await, Ok(0), "once");
    assert!(!ack(store, ack_of("alice", dead)).await, "an ended message stays ended (S5)");

    let soon = stored(store, expiring("bob", now_ms() + 300)).await;
    longline_testkit::eventually(SOON, "the message expires", async || {
        waiting(store, "bob").await.is_empty()
    })
    .await;
    longline_testkit::eventually(SOON, "the sweep ends it", async || store.expire(100).await == Ok(1)).await;
    assert_eq!(state_of(store, soon).await, MessageState::Expired);
}

pub(crate) async fn an_ack_before_the_sweep_wins_s5(store: &impl Store) {
    let acked = stored(store, expiring("alice", now_ms() - 1000)).await;
    assert!(ack(store, ack_of("alice", acked)).await);
    assert_eq!(store.expire(100).await, Ok(0));
    assert_eq!(state_of(store, acked).await, MessageState::Acked);
}

pub(crate) async fn the_sweep_ends_no_more_than_it_is_asked_to(store: &impl Store) {
    for i in 0..5 {
        stored(store, expiring(&format!("user-{i}"), now_ms() - 1000)).await;
    }
    assert_eq!(store.expire(3).await, Ok(3));
    assert_eq!(store.expire(3).await, Ok(2));
    let account = store.account(None).await.unwrap();
    assert_eq!(account.counts, [(MessageState::Expired, 5)]);
}

pub(crate) async fn retention_removes_what_ended_and_nothing_else(store: &impl Store) {
    let kept = stored(store, put("alice")).await;
    let ended = stored(store, keyed("alice", "k", 1)).await;
    ack(store, ack_of("alice", ended)).await;
    let broadcast = PutBroadcast {
        product: ProductId(1),
        message: Message { expires_at_ms: now_ms() - 1000, ..message(new_id(), "news") },
        rate_per_second: 0,
        idempotency: None,
    };
    let broadcast = store.put_broadcast(broadcast).await.unwrap();
    assert_eq!(store.expire_broadcasts(10).await, Ok(1));

    assert_eq!(store.purge(3600, 100).await, Ok(0), "all of it is young");
    assert_eq!(state_of(store, ended).await, MessageState::Acked);
    let purged = async || store.purge(0, 100).await.unwrap();
    let mut count = 0;
    longline_testkit::eventually(SOON, "a message and a broadcast are purged", async || {
        count += purged().await;
        count == 2
    })
    .await;
    assert_eq!(store.message(ProductId(1), ended).await, Ok(None));
    assert_eq!(store.broadcast(ProductId(1), broadcast.id).await, Ok(None));
    assert_eq!(waiting(store, "alice").await, [kept]);
    let account = store.account(None).await.unwrap();
    assert_eq!(account.accepted, 2, "the account still adds up (I3)");
    assert_eq!(account.counts, [(MessageState::Waiting, 1), (MessageState::Acked, 1)]);
    let next = stored(store, keyed("alice", "k", 2)).await;
    assert_eq!(waiting(store, "alice").await, [kept, next], "the key went with its message");
    let mut again = PutBroadcast {
        product: ProductId(1),
        message: message(new_id(), "more news"),
        rate_per_second: 0,
        idempotency: None,
    };
    again.message.expires_at_ms = now_ms() + LATER_MS;
    assert_eq!(store.put_broadcast(again).await.unwrap().seq, broadcast.seq + 1, "no sequence comes twice");
}
