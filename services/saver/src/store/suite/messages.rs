//! Storing and ending messages.

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::join_all;
use longline_types::{Address, ErrorCode, MessageId, MessageState, ProductId, now_ms};

use super::*;
use crate::store::Store;

pub(crate) async fn a_retry_gets_the_id_of_the_first_try_s1(store: &impl Store) {
    let first = keyed("alice", "k", 1);
    let id = stored(store, first.clone()).await;
    let retry = store_one(store, keyed("alice", "k", 1)).await.unwrap();
    assert_eq!((retry.id, retry.state, retry.repeated), (id, MessageState::Waiting, true));
    let same = store_one(store, first).await.unwrap();
    assert_eq!((same.id, same.repeated), (id, true), "also with the same id");
    let plain = put("alice");
    let plain_id = stored(store, plain.clone()).await;
    assert!(store_one(store, plain).await.unwrap().repeated, "without a key the id tells");
    assert_eq!(waiting(store, "alice").await, [id, plain_id], "nothing was stored twice");
}

pub(crate) async fn a_retry_learns_how_the_first_try_ended_s1(store: &impl Store) {
    let id = stored(store, keyed("alice", "k", 1)).await;
    assert!(ack(store, ack_of("alice", id)).await);
    let retry = store_one(store, keyed("alice", "k", 1)).await.unwrap();
    assert_eq!((retry.id, retry.state, retry.repeated), (id, MessageState::Acked, true));
    assert!(waiting(store, "alice").await.is_empty(), "a retry of an ended message writes nothing");
}

pub(crate) async fn another_request_under_the_key_is_refused_s1(store: &impl Store) {
    let id = stored(store, keyed("alice", "k", 1)).await;
    let refused = store_one(store, keyed("alice", "k", 2)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert_eq!(waiting(store, "alice").await, [id]);
}

pub(crate) async fn a_key_is_of_one_address_s1(store: &impl Store) {
    let alice = stored(store, keyed("alice", "k", 1)).await;
    let bob = stored(store, keyed("bob", "k", 2)).await;
    let elsewhere = Address::new(2, "alice").unwrap();
    let other = stored(store, Put { address: elsewhere, ..keyed("alice", "k", 3) }).await;
    assert!(alice < bob && bob < other);
}

pub(crate) async fn a_group_may_repeat_itself_s1(store: &impl Store) {
    let (first, plain) = (keyed("alice", "k", 1), put("alice"));
    let group = vec![
        first.clone(),
        keyed("alice", "k", 1),
        keyed("alice", "k", 2),
        plain.clone(),
        plain.clone(),
        put_as("bob", MessageId(plain.message.id)),
    ];
    let outcomes = store.put(group, 7).await;
    let ids: Vec<_> = outcomes.iter().map(|o| o.as_ref().map(|s| (s.id.0, s.repeated))).collect();
    assert_eq!(ids[0], Ok((first.message.id, false)));
    assert_eq!(ids[1], Ok((first.message.id, true)));
    assert_eq!(ids[2].unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(ids[3], Ok((plain.message.id, false)));
    assert_eq!(ids[4], Ok((plain.message.id, true)));
    assert_eq!(ids[5].unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(waiting(store, "alice").await.len(), 2);
    assert!(waiting(store, "bob").await.is_empty());
}

pub(crate) async fn an_ended_id_stays_ended_s5(store: &impl Store) {
    let late = put("alice");
    let id = stored(store, late.clone()).await;
    assert!(ack(store, ack_of("alice", id)).await);
    let again = store_one(store, late).await.unwrap();
    assert_eq!((again.id, again.state, again.repeated), (id, MessageState::Acked, true));
    assert!(waiting(store, "alice").await.is_empty());
    assert_eq!(store.account(None).await.unwrap().accepted, 1);
}

pub(crate) async fn an_id_of_another_address_is_refused_and_fails_alone(store: &impl Store) {
    let id = stored(store, put("alice")).await;
    let (before, after) = (put("bob"), put("bob"));
    let outcomes = store.put(vec![before.clone(), put_as("bob", id), after.clone()], 7).await;
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1].as_ref().unwrap_err().code, ErrorCode::Conflict);
    assert!(outcomes[2].is_ok());
    assert_eq!(waiting(store, "bob").await, [MessageId(before.message.id), MessageId(after.message.id)]);
    assert_eq!(waiting(store, "alice").await, [id]);
}

pub(crate) async fn the_newest_of_a_collapse_key_stays_s3(store: &impl Store) {
    let old = stored(store, collapsing("alice", new_id(), "score")).await;
    let other_key = stored(store, collapsing("alice", new_id(), "weather")).await;
    let other_user = stored(store, collapsing("bob", new_id(), "score")).await;
    let new = new_id();
    let outcome = store_one(store, collapsing("alice", new, "score")).await.unwrap();
    assert_eq!((outcome.state, outcome.collapsed), (MessageState::Waiting, 1));
    assert_eq!(state_of(store, old).await, MessageState::Collapsed);
    assert_eq!(waiting(store, "alice").await, [other_key, new]);
    assert_eq!(waiting(store, "bob").await, [other_user]);
}

pub(crate) async fn a_late_older_message_collapses_at_once_s3(store: &impl Store) {
    let (old, new) = (new_id(), new_id());
    stored(store, collapsing("alice", new, "score")).await;
    let late = store_one(store, collapsing("alice", old, "score")).await.unwrap();
    assert_eq!((late.id, late.state, late.repeated), (old, MessageState::Collapsed, false));
    assert_eq!(waiting(store, "alice").await, [new], "the higher id wins");
    assert_eq!(state_of(store, old).await, MessageState::Collapsed);
}

pub(crate) async fn an_ack_of_the_older_never_removes_the_newer_s3(store: &impl Store) {
    let old = stored(store, collapsing("alice", new_id(), "score")).await;
    let new = stored(store, collapsing("alice", new_id(), "score")).await;
    assert!(!ack(store, ack_of("alice", old)).await, "it had ended as collapsed");
    assert_eq!(state_of(store, old).await, MessageState::Collapsed);
    assert_eq!(waiting(store, "alice").await, [new]);
    assert!(ack(store, ack_of("alice", new)).await);
    let third = stored(store, collapsing("alice", new_id(), "score")).await;
    assert_eq!(waiting(store, "alice").await, [third], "an ended message has no key any more");
    assert_eq!(state_of(store, new).await, MessageState::Acked);
}

pub(crate) async fn a_group_collapses_in_itself_s3(store: &impl Store) {
    let ids = [new_id(), new_id(), new_id()];
    let group = [1, 2, 0].map(|i| collapsing("alice", ids[i], "score")).to_vec();
    let outcomes = store.put(group, 7).await;
    assert!(outcomes.iter().all(|o| o.as_ref().is_ok_and(|s| !s.repeated)));
    let collapsed: u32 = outcomes.iter().map(|o| o.as_ref().unwrap().collapsed).sum();
    assert_eq!(collapsed, 2);
    assert_eq!(waiting(store, "alice").await, [ids[2]]);
    assert_eq!(state_of(store, ids[0]).await, MessageState::Collapsed);
    assert_eq!(state_of(store, ids[1]).await, MessageState::Collapsed);
}

pub(crate) async fn a_full_inbox_loses_its_oldest(store: &impl Store) {
    let limited = |user: &str| Put { inbox_limit: 3, ..put(user) };
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(stored(store, limited("alice")).await);
    }
    stored(store, limited("bob")).await;
    let fourth = store_one(store, limited("alice")).await.unwrap();
    assert_eq!((fourth.state, fourth.overflowed), (MessageState::Waiting, 1));
    assert_eq!(waiting(store, "alice").await, [ids[1], ids[2], fourth.id]);
    assert_eq!(state_of(store, ids[0]).await, MessageState::Overflowed);
    let group = store.put((0..5).map(|_| limited("alice")).collect(), 7).await;
    let last: Vec<_> = group[2..].iter().map(|o| o.as_ref().unwrap().id).collect();
    assert_eq!(waiting(store, "alice").await, last, "a group beyond the limit as well");
    assert_eq!(waiting(store, "bob").await.len(), 1);
}

pub(crate) async fn a_late_message_below_a_full_inbox_overflows_itself(store: &impl Store) {
    let early = new_id();
    let kept = [stored(store, put("alice")).await, stored(store, put("alice")).await];
    let late = store_one(store, Put { inbox_limit: 2, ..put_as("alice", early) }).await.unwrap();
    assert_eq!((late.state, late.overflowed), (MessageState::Overflowed, 1));
    assert_eq!(waiting(store, "alice").await, kept);
}

pub(crate) async fn an_ack_ends_once_and_only_its_own(store: &impl Store) {
    let id = stored(store, put("alice")).await;
    let kept = stored(store, put("alice")).await;
    assert!(!ack(store, ack_of("bob", id)).await, "a foreign id");
    let elsewhere = Ack { address: Address::new(2, "alice").unwrap(), ..ack_of("alice", id) };
    assert!(!ack(store, elsewhere).await, "another product");
    assert!(!ack(store, ack_of("alice", new_id())).await, "an unknown id");
    assert_eq!(waiting(store, "alice").await, [id, kept]);
    let twice = store.ack(vec![ack_of("alice", id), ack_of("alice", id)]).await;
    assert_eq!(twice, [Ok(true), Ok(false)]);
    assert!(!ack(store, ack_of("alice", id)).await);
    assert_eq!(waiting(store, "alice").await, [kept]);
}

pub(crate) async fn an_ack_and_a_recall_have_one_winner_s5(store: &impl Store) {
    for _ in 0..30 {
        let id = stored(store, put("alice")).await;
        let (acked, recalled) = tokio::join!(ack(store, ack_of("alice", id)), store.recall(ProductId(1), id));
        let recalled = recalled.unwrap().expect("it is stored");
        assert_ne!(acked, recalled.recalled, "exactly one of them ended it");
        let expected = if acked { MessageState::Acked } else { MessageState::Recalled };
        assert_eq!(state_of(store, id).await, expected);
        assert_eq!(recalled.state, expected);
    }
}

pub(crate) async fn a_message_keeps_its_history(store: &impl Store) {
    let sent = collapsing("alice", new_id(), "score");
    let (before, id) = (now_ms(), stored(store, sent.clone()).await);
    let record = store.message(ProductId(1), id).await.unwrap().unwrap();
    assert_eq!(record.id, id.0);
    assert_eq!(record.address, Some((&address("alice")).into()));
    assert_eq!(record.accepted_at_ms, sent.message.sent_at_ms);
    assert_eq!(record.expires_at_ms, sent.message.expires_at_ms);
    assert_eq!((record.class, record.stored_by), (sent.message.class, 7));
    assert!(record.stored_at_ms.abs_diff(before) < 60_000, "the database's clock");
    assert_eq!((record.written_at_ms, record.written_by, record.ended_at_ms), (0, 0, 0));
    assert_eq!(record.collapse_key, "score");
    ack(store, Ack { written_at_ms: 1234, room: 9, ..ack_of("alice", id) }).await;
    let record = store.message(ProductId(1), id).await.unwrap().unwrap();
    assert_eq!((record.written_at_ms, record.written_by), (1234, 9));
    assert!(record.ended_at_ms >= record.stored_at_ms);
    assert_eq!(state_of(store, id).await, MessageState::Acked);
}

pub(crate) async fn a_recall_is_of_the_product(store: &impl Store) {
    let id = stored(store, put("alice")).await;
    assert_eq!(store.recall(ProductId(2), id).await, Ok(None));
    assert_eq!(store.recall(ProductId(1), new_id()).await, Ok(None));
    assert_eq!(store.message(ProductId(2), id).await, Ok(None));
    let recalled = store.recall(ProductId(1), id).await.unwrap().unwrap();
    assert_eq!((recalled.address, recalled.recalled), (address("alice"), true));
    assert!(waiting(store, "alice").await.is_empty());
    let again = store.recall(ProductId(1), id).await.unwrap().unwrap();
    assert_eq!((again.state, again.recalled), (MessageState::Recalled, false));
}

pub(crate) async fn names_may_hold_anything(store: &impl Store) {
    let users = ["O'Brien\"\\", "%_", "Zoë ‼ 漢字", "a b", "A", "a", "a ", "[1]", "null", "1", "1.0"];
    let payload = Bytes::from((0..=255).collect::<Vec<u8>>());
    let mut expected = HashMap::new();
    for user in users {
        let mut put = keyed(user, user, 1);
        put.collapse_key = Some(user.to_owned());
        put.message.payload = payload.clone();
        expected.insert(user, stored(store, put).await);
    }
    for user in users {
        let page = load(store, load_of(user)).await;
        assert_eq!(ids(&page), [expected[user]], "{user}");
        assert_eq!(page.messages[0].payload, payload);
        assert!(store_one(store, keyed(user, user, 1)).await.unwrap().repeated, "{user}");
        assert!(ack(store, ack_of(user, expected[user])).await);
    }
    let empty = Put { message: message(new_id(), ""), ..put("silent") };
    stored(store, empty).await;
    assert!(load(store, load_of("silent")).await.messages[0].payload.is_empty());
}

pub(crate) async fn concurrent_tries_under_one_key_store_one_message_s1(store: &impl Store) {
    let tries = (0..8).map(|_| store_one(store, keyed("alice", "k", 1)));
    let outcomes: Vec<_> = join_all(tries).await.into_iter().map(|o| o.unwrap()).collect();
    let first = outcomes.iter().find(|o| !o.repeated).expect("one of them was the first");
    assert!(outcomes.iter().all(|o| o.id == first.id), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|o| o.repeated).count(), 7);
    assert_eq!(waiting(store, "alice").await, [first.id]);

    let same = put("bob");
    let outcomes = join_all((0..8).map(|_| store_one(store, same.clone()))).await;
    let first = outcomes.iter().filter(|o| o.as_ref().is_ok_and(|s| !s.repeated)).count();
    assert_eq!((first, waiting(store, "bob").await.len()), (1, 1), "{outcomes:?}");
    assert_eq!(store.account(None).await.unwrap().accepted, 2);
}

pub(crate) async fn concurrent_puts_leave_the_newest_of_a_collapse_key_s3(store: &impl Store) {
    let ids: Vec<MessageId> = (0..8).map(|_| new_id()).collect();
    let outcomes = join_all(ids.iter().map(|id| store_one(store, collapsing("alice", *id, "score")))).await;
    assert!(outcomes.iter().all(|o| o.as_ref().is_ok_and(|s| !s.repeated)), "{outcomes:?}");
    assert_eq!(waiting(store, "alice").await, [ids[7]]);
    for id in &ids[..7] {
        assert_eq!(state_of(store, *id).await, MessageState::Collapsed);
    }
}

pub(crate) async fn concurrent_puts_keep_the_inbox_limit(store: &impl Store) {
    let ids: Vec<MessageId> = (0..12).map(|_| new_id()).collect();
    let puts = ids.iter().map(|id| store_one(store, Put { inbox_limit: 3, ..put_as("alice", *id) }));
    let overflowed: u32 = join_all(puts).await.into_iter().map(|o| o.unwrap().overflowed).sum();
    assert_eq!(waiting(store, "alice").await, ids[9..]);
    assert_eq!(overflowed, 9);
}

pub(crate) async fn what_was_accepted_adds_up_i3(store: &impl Store) {
    let acked = stored(store, put("alice")).await;
    let recalled = stored(store, put("alice")).await;
    stored(store, collapsing("alice", new_id(), "score")).await;
    stored(store, collapsing("alice", new_id(), "score")).await;
    stored(store, put("bob")).await;
    store_one(store, Put { inbox_limit: 1, ..put("bob") }).await.unwrap();
    let mut dead = put("carol");
    dead.message.expires_at_ms = 1;
    store_one(store, dead).await.unwrap();
    let mut other = put("alice");
    other.address = Address::new(2, "alice").unwrap();
    stored(store, other).await;
    ack(store, ack_of("alice", acked)).await;
    store.recall(ProductId(1), recalled).await.unwrap();
    store.expire(100).await.unwrap();

    let counts = [
        (MessageState::Waiting, 2),
        (MessageState::Acked, 1),
        (MessageState::Expired, 1),
        (MessageState::Collapsed, 1),
        (MessageState::Recalled, 1),
        (MessageState::Overflowed, 1),
    ];
    let account = store.account(Some(ProductId(1))).await.unwrap();
    assert_eq!(account.accepted, 7);
    assert_eq!(account.counts, counts);
    assert_eq!(store.account(Some(ProductId(2))).await.unwrap().counts, [(MessageState::Waiting, 1)]);
    assert_eq!(store.account(Some(ProductId(3))).await.unwrap().accepted, 0);
    let all = store.account(None).await.unwrap();
    assert_eq!(all.accepted, 8);
    assert_eq!(all.counts.iter().map(|(_, n)| n).sum::<u64>(), 8);
}
