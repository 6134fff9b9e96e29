//! Random operations, compared one by one with a model in memory that is simple enough to be believed.

use std::collections::{BTreeMap, BTreeSet};

use longline_types::{ErrorCode, MessageId, MessageState, ProductId, now_ms};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::store::{Put, PutBroadcast, Store};

const USERS: [&str; 3] = ["alice", "bob", "carol"];
const IDS: u64 = 24;

/// Users, ids, keys by small numbers, so that they meet often.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Put { user: usize, id: u64, key: Option<(u8, u8)>, collapse: Option<u8>, limit: u32, expired: bool },
    Ack { user: usize, id: u64 },
    Recall { id: u64 },
    Load { user: usize, limit: usize, except: Vec<u64>, seen: u64 },
    Check { user: usize, in_flight: u64 },
    Expire,
    Broadcast,
    AckBroadcast { user: usize, seq: u64 },
}

pub(crate) fn operations() -> impl Strategy<Value = Vec<Op>> {
    let (user, id) = (0..USERS.len(), 0..IDS);
    let key = option::weighted(0.3, (0..4u8, 0..2u8));
    let op = prop_oneof![
        8 => (user.clone(), id.clone(), key, option::weighted(0.3, 0..2u8), 0..5u32, prop::bool::weighted(0.1))
            .prop_map(|(user, id, key, collapse, limit, expired)| Op::Put { user, id, key, collapse, limit, expired }),
        4 => (user.clone(), id.clone()).prop_map(|(user, id)| Op::Ack { user, id }),
        1 => id.clone().prop_map(|id| Op::Recall { id }),
        4 => (user.clone(), 1..6usize, vec(id, 0..4), 0..8u64)
            .prop_map(|(user, limit, except, seen)| Op::Load { user, limit, except, seen }),
        2 => (user.clone(), 0..4u64).prop_map(|(user, in_flight)| Op::Check { user, in_flight }),
        1 => Just(Op::Expire),
        1 => Just(Op::Broadcast),
        2 => (user, 0..8u64).prop_map(|(user, seq)| Op::AckBroadcast { user, seq }),
    ];
    vec(op, 1..120)
}

/// Runs the operations against an empty store; every answer, and in the end every state, must be the model's.
pub(crate) async fn matches_the_model(store: &impl Store, operations: Vec<Op>) {
    let mut model = Model::default();
    for (step, op) in operations.into_iter().enumerate() {
        let shown = format!("step {step}: {op:?}");
        match op {
            Op::Put { user, id, key, collapse, limit, expired } => {
                let put = request(user, id, key, collapse, limit, expired);
                let got = store_one(store, put)
                    .await
                    .map(|s| (s.id.0 - 1, s.state, s.repeated))
                    .map_err(|e| e.code);
                assert_eq!(got, model.put(user, id, key, collapse, limit, expired), "{shown}");
            }
            Op::Ack { user, id } => {
                assert_eq!(
                    ack(store, ack_of(USERS[user], MessageId(id + 1))).await,
                    model.ack(user, id),
                    "{shown}"
                );
            }
            Op::Recall { id } => {
                let got = store.recall(ProductId(1), MessageId(id + 1)).await.unwrap();
                assert_eq!(got.map(|r| (r.state, r.recalled)), model.recall(id), "{shown}");
            }
            Op::Load { user, limit, except, seen } => {
                let request = Load {
                    limit,
                    except: except.iter().map(|id| MessageId(id + 1)).collect(),
                    seen_broadcast: seen,
                    known_broadcast: model.broadcasts,
                    ..load_of(USERS[user])
                };
                let page = load(store, request).await;
                let got = page.messages.iter().map(|m| (m.broadcast_seq, m.id)).collect();
                assert_eq!((got, page.more), model.load(user, limit, &except, seen), "{shown}");
            }
            Op::Check { user, in_flight } => {
                assert_eq!(
                    check(store, USERS[user], in_flight).await,
                    model.check(user, in_flight),
                    "{shown}"
                );
            }
            Op::Expire => assert_eq!(store.expire(1000).await, Ok(model.expire()), "{shown}"),
            Op::Broadcast => {
                model.broadcasts += 1;
                let id = MessageId(broadcast_id(model.broadcasts));
                let broadcast = PutBroadcast {
                    product: ProductId(1),
                    message: message(id, "news"),
                    rate_per_second: 0,
                    idempotency: None,
                };
                assert_eq!(store.put_broadcast(broadcast).await.unwrap().seq, model.broadcasts, "{shown}");
            }
            Op::AckBroadcast { user, seq } if seq > 0 => {
                let id = MessageId(broadcast_id(seq));
                let got = ack(store, Ack { broadcast_seq: seq, ..ack_of(USERS[user], id) }).await;
                assert_eq!(got, model.ack_broadcast(user, seq), "{shown}");
            }
            Op::AckBroadcast { .. } => {}
        }
    }
    for (id, known) in &model.messages {
        assert_eq!(state_of(store, MessageId(id + 1)).await, known.state, "message {id} in the end");
    }
    let account = store.account(Some(ProductId(1))).await.unwrap();
    assert_eq!(account.accepted, model.messages.len() as u64, "I3");
    for (state, count) in account.counts {
        assert_eq!(
            count,
            model.messages.values().filter(|m| m.state == state).count() as u64,
            "I3: {state:?}"
        );
    }
}

fn request(
    user: usize,
    id: u64,
    key: Option<(u8, u8)>,
    collapse: Option<u8>,
    limit: u32,
    expired: bool,
) -> Put {
    let mut put = put_as(USERS[user], MessageId(id + 1));
    if expired {
        put.message.expires_at_ms = now_ms() - 1000;
    }
    put.idempotency = key.map(|(k, digest)| Idempotency { key: format!("key-{k}"), digest: [digest; 16] });
    put.collapse_key = collapse.map(|c| format!("collapse-{c}"));
    put.inbox_limit = limit;
    put
}

fn broadcast_id(seq: u64) -> u64 {
    1000 + seq
}

#[derive(Default)]
struct Model {
    messages: BTreeMap<u64, Known>,
    /// Highest sequence; all are active.
    broadcasts: u64,
    /// What each seen user has not acknowledged yet.
    open: BTreeMap<usize, BTreeSet<u64>>,
    /// Broadcasts that were there when the user was last looked at.
    counted: BTreeMap<usize, u64>,
}

struct Known {
    user: usize,
    key: Option<(u8, u8)>,
    collapse: Option<u8>,
    expired: bool,
    state: MessageState,
}

impl Model {
    fn put(
        &mut self,
        user: usize,
        id: u64,
        key: Option<(u8, u8)>,
        collapse: Option<u8>,
        limit: u32,
        expired: bool,
    ) -> Result<(u64, MessageState, bool), ErrorCode> {
        if let Some((key, digest)) = key {
            let earlier =
                self.messages.iter().find(|(_, m)| m.user == user && m.key.is_some_and(|k| k.0 == key));
            if let Some((id, known)) = earlier {
                let same = known.key == Some((key, digest));
                return if same { Ok((*id, known.state, true)) } else { Err(ErrorCode::Conflict) };
            }
        }
        if let Some(known) = self.messages.get(&id) {
            return if known.user == user { Ok((id, known.state, true)) } else { Err(ErrorCode::Conflict) };
        }
        let known = Known { user, key, collapse, expired, state: MessageState::Waiting };
        self.messages.insert(id, known);
        if collapse.is_some() {
            let mut rivals = self.waiting(user, |m| m.collapse == collapse);
            rivals.pop();
            self.end(rivals, MessageState::Collapsed);
        }
        if limit > 0 {
            let mut all = self.waiting(user, |_| true);
            all.truncate(all.len().saturating_sub(limit as usize));
            self.end(all, MessageState::Overflowed);
        }
        Ok((id, self.messages[&id].state, false))
    }

    fn ack(&mut self, user: usize, id: u64) -> bool {
        let waits = self.waiting(user, |_| true).contains(&id);
        if waits {
            self.end(vec![id], MessageState::Acked);
        }
        waits
    }

    fn recall(&mut self, id: u64) -> Option<(MessageState, bool)> {
        let state = self.messages.get(&id)?.state;
        if state != MessageState::Waiting {
            return Some((state, false));
        }
        self.end(vec![id], MessageState::Recalled);
        Some((MessageState::Recalled, true))
    }

    fn load(&mut self, user: usize, limit: usize, except: &[u64], seen: u64) -> (Vec<(u64, u64)>, bool) {
        self.open.entry(user).or_default();
        self.counted.entry(user).or_insert(self.broadcasts);
        let open = self.open_broadcasts(user);
        open.retain(|seq| *seq > seen);
        let open = open.clone();
        let unicasts = self.waiting(user, |m| !m.expired);
        let unicasts = unicasts.into_iter().filter(|id| !except.contains(id)).map(|id| (0, id + 1));
        let mut all: Vec<_> = unicasts.chain(open.into_iter().map(|seq| (seq, broadcast_id(seq)))).collect();
        let more = all.len() > limit;
        all.truncate(limit);
        (all, more)
    }

    fn check(&mut self, user: usize, in_flight: u64) -> bool {
        let unicasts = self.waiting(user, |m| !m.expired).len();
        let broadcasts = if self.open.contains_key(&user) { self.open_broadcasts(user).len() } else { 0 };
        (unicasts + broadcasts) as u64 > in_flight
    }

    fn expire(&mut self) -> u64 {
        let dead: Vec<u64> = (0..USERS.len()).flat_map(|user| self.waiting(user, |m| m.expired)).collect();
        let count = dead.len() as u64;
        self.end(dead, MessageState::Expired);
        count
    }

    fn ack_broadcast(&mut self, user: usize, seq: u64) -> bool {
        self.open.contains_key(&user) && self.open_broadcasts(user).remove(&seq)
    }

    /// What a seen user has open, with the broadcasts that came since added.
    fn open_broadcasts(&mut self, user: usize) -> &mut BTreeSet<u64> {
        let counted = self.counted.entry(user).or_default();
        let open = self.open.entry(user).or_default();
        open.extend(*counted + 1..=self.broadcasts);
        *counted = self.broadcasts;
        open
    }

    fn waiting(&self, user: usize, which: impl Fn(&Known) -> bool) -> Vec<u64> {
        let waits = |m: &Known| m.user == user && m.state == MessageState::Waiting && which(m);
        self.messages.iter().filter(|(_, m)| waits(m)).map(|(id, _)| *id).collect()
    }

    fn end(&mut self, ids: Vec<u64>, reason: MessageState) {
        for id in ids {
            if let Some(known) = self.messages.get_mut(&id) {
                known.state = reason;
            }
        }
    }
}
