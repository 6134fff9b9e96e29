//! Storing messages: a group in a handful of statements, however many there are.

use std::collections::HashMap;

use longline_types::{Address, Error, ErrorCode, MessageId, MessageState, TimeMs};
use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteConnection;

use super::messages;
use super::sql::{address, int, json, json_ids, state, unsigned};
use crate::store::{Put, Stored};

/// A message to store, and the saver that stores it.
pub(super) struct NewMessage {
    pub(super) put: Put,
    pub(super) saver: u32,
}

/// Rows of one INSERT: few distinct counts, since each is a prepared statement.
const LADDER: [usize; 3] = [64, 16, 1];

/// Stores a group: finds what earlier tries stored, inserts the rest, then lets collapse keys and inbox limits end what they end.
pub(super) async fn store(
    tx: &mut SqliteConnection,
    items: &[NewMessage],
    now: TimeMs,
) -> sqlx::Result<Vec<Result<Stored, Error>>> {
    let mut group = Group::sort(items, &Tries::read(tx, items).await?);
    group.collapse(tx, now).await?;
    group.insert(tx, now).await?;
    group.overflow(tx, now).await?;
    group.count(tx).await?;
    Ok(group.outcomes())
}

/// What is stored of a group already.
struct Tries<'a> {
    by_id: HashMap<MessageId, (Address, MessageState)>,
    by_key: HashMap<(&'a Address, &'a str), Try>,
}

struct Try {
    id: MessageId,
    state: MessageState,
    digest: Vec<u8>,
}

impl<'a> Tries<'a> {
    async fn read(tx: &mut SqliteConnection, items: &'a [NewMessage]) -> sqlx::Result<Tries<'a>> {
        let ids = json_ids(items.iter().map(|i| MessageId(i.put.message.id)));
        let rows: Vec<(i64, i64, String, i64)> = sqlx::query_as(
            "SELECT id, product, user, state FROM messages WHERE id IN (SELECT value FROM json_each(?))",
        )
        .bind(ids)
        .fetch_all(&mut *tx)
        .await?;
        let mut by_id = HashMap::with_capacity(rows.len());
        for (id, product, user, number) in rows {
            by_id.insert(MessageId(unsigned(id)), (address(product, &user)?, state(number)?));
        }

        let keyed: Vec<(&Address, &str)> = items
            .iter()
            .filter_map(|i| Some((&i.put.address, i.put.idempotency.as_ref()?.key.as_str())))
            .collect();
        let mut by_key = HashMap::new();
        if !keyed.is_empty() {
            let asked: Vec<_> = keyed.iter().map(|(a, key)| (a.product.0, a.user.as_str(), key)).collect();
            let rows: Vec<(i64, i64, i64, Vec<u8>)> = sqlx::query_as(
                "SELECT j.key, m.id, m.state, m.digest FROM json_each(?) j CROSS JOIN messages m
                 ON m.product = j.value->>0 AND m.user = j.value->>1 AND m.idempotency_key = j.value->>2",
            )
            .bind(json(&asked))
            .fetch_all(&mut *tx)
            .await?;
            for (index, id, number, digest) in rows {
                let try_ = Try { id: MessageId(unsigned(id)), state: state(number)?, digest };
                by_key.insert(keyed[unsigned(index) as usize], try_);
            }
        }
        Ok(Tries { by_id, by_key })
    }

    /// What an earlier try decides about this item; none if there was no earlier try.
    fn outcome(&self, put: &Put) -> Option<Result<Stored, Error>> {
        if let Some(key) = &put.idempotency
            && let Some(earlier) = self.by_key.get(&(&put.address, key.key.as_str()))
        {
            return Some(if earlier.digest == key.digest {
                Ok(repeated(earlier.id, earlier.state))
            } else {
                Err(another_request())
            });
        }
        let id = MessageId(put.message.id);
        let (address, state) = self.by_id.get(&id)?;
        Some(if *address == put.address { Ok(repeated(id, *state)) } else { Err(another_address(id)) })
    }
}

fn repeated(id: MessageId, state: MessageState) -> Stored {
    Stored { id, state, repeated: true, collapsed: 0, overflowed: 0 }
}

fn another_request() -> Error {
    Error::new(ErrorCode::Conflict, "the idempotency key was used for another request")
}

fn another_address(id: MessageId) -> Error {
    Error::new(ErrorCode::Conflict, format_args!("message {id} is stored for another address"))
}

/// The group while it is stored.
struct Group<'a> {
    /// Messages that nobody has stored yet.
    fresh: Vec<Fresh<'a>>,
    /// What each item will be answered.
    answers: Vec<Answer>,
}

struct Fresh<'a> {
    item: &'a NewMessage,
    state: MessageState,
    collapsed: u32,
    overflowed: u32,
}

enum Answer {
    Decided(Result<Stored, Error>),
    /// By the fresh message with this index.
    Fresh(usize),
    /// The group has the same message twice: the fresh one with this index.
    RepeatOf(usize),
}

impl<'a> Group<'a> {
    fn sort(items: &'a [NewMessage], tries: &Tries<'_>) -> Group<'a> {
        let mut fresh: Vec<Fresh<'a>> = Vec::with_capacity(items.len());
        let mut ids: HashMap<u64, usize> = HashMap::with_capacity(items.len());
        let mut keys: HashMap<(&Address, &str), usize> = HashMap::new();
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            let put = &item.put;
            let key = put.idempotency.as_ref().map(|k| (&put.address, k.key.as_str()));
            let answer = if let Some(outcome) = tries.outcome(put) {
                Answer::Decided(outcome)
            } else if let Some(&first) = key.and_then(|k| keys.get(&k)) {
                let same = fresh[first].item.put.idempotency == put.idempotency;
                if same { Answer::RepeatOf(first) } else { Answer::Decided(Err(another_request())) }
            } else if let Some(&first) = ids.get(&put.message.id) {
                let same = fresh[first].item.put.address == put.address;
                let id = MessageId(put.message.id);
                if same { Answer::RepeatOf(first) } else { Answer::Decided(Err(another_address(id))) }
            } else {
                ids.insert(put.message.id, fresh.len());
                keys.extend(key.map(|k| (k, fresh.len())));
                fresh.push(Fresh { item, state: MessageState::Waiting, collapsed: 0, overflowed: 0 });
                Answer::Fresh(fresh.len() - 1)
            };
            answers.push(answer);
        }
        Group { fresh, answers }
    }

    /// Of all waiting messages of an address with one key the highest id stays (S3).
    async fn collapse(&mut self, tx: &mut SqliteConnection, now: TimeMs) -> sqlx::Result<()> {
        let mut keyed: HashMap<(&Address, &str), Vec<usize>> = HashMap::new();
        for (index, fresh) in self.fresh.iter().enumerate() {
            let put = &fresh.item.put;
            if let Some(key) = &put.collapse_key {
                keyed.entry((&put.address, key)).or_default().push(index);
            }
        }
        if keyed.is_empty() {
            return Ok(());
        }
        let keyed: Vec<_> = keyed.into_iter().collect();
        let asked: Vec<_> = keyed.iter().map(|((a, key), _)| (a.product.0, a.user.as_str(), key)).collect();
        let waiting: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT j.key, m.id FROM json_each(?) j CROSS JOIN messages m
             ON m.product = j.value->>0 AND m.user = j.value->>1 AND m.collapse_key = j.value->>2
             AND m.state = 1 AND m.collapse_key IS NOT NULL",
        )
        .bind(json(&asked))
        .fetch_all(&mut *tx)
        .await?;
        let mut stored: Vec<Vec<u64>> = vec![Vec::new(); keyed.len()];
        for (index, id) in waiting {
            stored[unsigned(index) as usize].push(unsigned(id));
        }

        let mut losers = Vec::new();
        for ((_, indexes), stored) in keyed.iter().zip(stored) {
            let newest = indexes.iter().copied().max_by_key(|&i| self.fresh[i].item.put.message.id);
            let Some(newest) = newest else { continue };
            let winner =
                stored.iter().copied().max().unwrap_or(0).max(self.fresh[newest].item.put.message.id);
            for &index in indexes {
                let fresh = &mut self.fresh[index];
                if fresh.item.put.message.id != winner {
                    fresh.state = MessageState::Collapsed;
                    fresh.collapsed = 1;
                }
            }
            let beaten = stored.into_iter().filter(|&id| id != winner).map(MessageId);
            let before = losers.len();
            losers.extend(beaten);
            self.fresh[newest].collapsed += (losers.len() - before) as u32;
        }
        messages::end(tx, &losers, MessageState::Collapsed, now).await
    }

    async fn insert(&self, tx: &mut SqliteConnection, now: TimeMs) -> sqlx::Result<()> {
        let mut rest = self.fresh.as_slice();
        while !rest.is_empty() {
            let step = LADDER.into_iter().find(|&step| step <= rest.len()).unwrap_or(1);
            let (rows, after) = rest.split_at(step);
            insert_rows(tx, rows, now).await?;
            rest = after;
        }
        Ok(())
    }

    /// Beyond its limit an inbox loses its lowest ids.
    async fn overflow(&mut self, tx: &mut SqliteConnection, now: TimeMs) -> sqlx::Result<()> {
        let mut limited: HashMap<&Address, usize> = HashMap::new();
        for (index, fresh) in self.fresh.iter().enumerate() {
            if fresh.item.put.inbox_limit > 0 {
                limited.insert(&fresh.item.put.address, index);
            }
        }
        if limited.is_empty() {
            return Ok(());
        }
        let limited: Vec<_> = limited.into_iter().collect();
        let asked: Vec<_> = limited
            .iter()
            .map(|(a, last)| (a.product.0, a.user.as_str(), self.fresh[*last].item.put.inbox_limit))
            .collect();
        let beyond: Vec<(i64, i64)> = sqlx::query_as(
            // Only inboxes beyond their limit are walked.
            "SELECT asked, id FROM (
                 SELECT j.key AS asked, j.value->>2 AS keep, m.id AS id,
                 row_number() OVER (PARTITION BY j.key ORDER BY m.id DESC) AS place
                 FROM json_each(?) j CROSS JOIN messages m
                 ON m.product = j.value->>0 AND m.user = j.value->>1 AND m.state = 1
                 WHERE (SELECT count(*) FROM messages w
                        WHERE w.product = j.value->>0 AND w.user = j.value->>1 AND w.state = 1) > j.value->>2)
             WHERE place > keep",
        )
        .bind(json(&asked))
        .fetch_all(&mut *tx)
        .await?;
        if beyond.is_empty() {
            return Ok(());
        }
        let fresh: HashMap<u64, usize> =
            self.fresh.iter().enumerate().map(|(index, f)| (f.item.put.message.id, index)).collect();
        let mut losers = Vec::with_capacity(beyond.len());
        for (index, id) in beyond {
            let id = unsigned(id);
            losers.push(MessageId(id));
            if let Some(&own) = fresh.get(&id) {
                self.fresh[own].state = MessageState::Overflowed;
            }
            self.fresh[limited[unsigned(index) as usize].1].overflowed += 1;
        }
        messages::end(tx, &losers, MessageState::Overflowed, now).await
    }

    /// Adds to what the products have ever stored (I3).
    async fn count(&self, tx: &mut SqliteConnection) -> sqlx::Result<()> {
        let mut accepted: HashMap<u32, u32> = HashMap::new();
        for fresh in &self.fresh {
            *accepted.entry(fresh.item.put.address.product.0).or_default() += 1;
        }
        for (product, count) in accepted {
            sqlx::query(
                "INSERT INTO counters (product, accepted) VALUES (?, ?)
                 ON CONFLICT (product) DO UPDATE SET accepted = accepted + excluded.accepted",
            )
            .bind(product)
            .bind(count)
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }

    fn outcomes(self) -> Vec<Result<Stored, Error>> {
        let fresh: Vec<Stored> = self
            .fresh
            .iter()
            .map(|f| Stored {
                id: MessageId(f.item.put.message.id),
                state: f.state,
                repeated: false,
                collapsed: f.collapsed,
                overflowed: f.overflowed,
            })
            .collect();
        self.answers
            .into_iter()
            .map(|answer| match answer {
                Answer::Decided(outcome) => outcome,
                Answer::Fresh(index) => Ok(fresh[index]),
                Answer::RepeatOf(index) => Ok(repeated(fresh[index].id, fresh[index].state)),
            })
            .collect()
    }
}

async fn insert_rows(tx: &mut SqliteConnection, rows: &[Fresh<'_>], now: TimeMs) -> sqlx::Result<()> {
    let mut insert = QueryBuilder::new(
        "INSERT INTO messages (id, slot, product, user, state, class, accepted_at_ms, expires_at_ms, stored_at_ms,
         stored_by, ended_at_ms, collapse_key, idempotency_key, digest, payload) ",
    );
    insert.push_values(rows, |mut row, fresh| {
        let NewMessage { put, saver } = fresh.item;
        let waits = fresh.state == MessageState::Waiting;
        row.push_bind(int(put.message.id))
            .push_bind(put.address.slot().index() as i64)
            .push_bind(put.address.product.0)
            .push_bind(put.address.user.as_str().to_owned())
            .push_bind(fresh.state as u8)
            .push_bind(put.message.class)
            .push_bind(int(put.message.sent_at_ms))
            .push_bind(int(put.message.expires_at_ms))
            .push_bind(int(now))
            .push_bind(*saver)
            .push_bind(if waits { 0 } else { int(now) })
            .push_bind(put.collapse_key.clone())
            .push_bind(put.idempotency.as_ref().map(|i| i.key.clone()))
            .push_bind(put.idempotency.as_ref().map(|i| i.digest.to_vec()))
            .push_bind(waits.then(|| put.message.payload.to_vec()));
    });
    insert.build().execute(tx).await?;
    Ok(())
}
