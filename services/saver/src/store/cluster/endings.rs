//! Ending messages: acknowledged, recalled, expired, pushed out (S5).
//!
//! The row decides: a transaction changes it from waiting to a terminal state, once. Only then is the message taken out of Redis,
//! and only then is the caller told. Whatever breaks off in between leaves a message in Redis that has ended; it may come a
//! second time, and its acknowledgement takes it out.

use longline_pb::saver::MessageRecord;
use longline_pb::types::MessageState as PbState;
use longline_types::{Error, MessageId, MessageState, ProductId, Slot};
use sqlx::{Acquire as _, Row as _};

use super::Core;
use super::keys;
use super::messages::{self, End, Ended, Known};
use super::notes;
use super::redis_link::{Link, bytes};
use super::row::{RowId, day, hex, parse_expiry};
use super::scripts;
use super::sql::retrying;
use crate::store::{Ack, Recalled, fail_all};

/// A message that nobody finds may still be on its way to the database if it is not older than this.
const YOUNG_MS: u64 = 60_000;

impl Core {
    /// [`Store::ack`](crate::store::Store::ack) for messages (not broadcasts).
    pub(super) async fn ack_messages(&self, acks: &[Ack]) -> Vec<Result<bool, Error>> {
        if acks.is_empty() {
            return Vec::new();
        }
        self.try_ack(acks).await.unwrap_or_else(|e| fail_all(acks.len(), &e))
    }

    async fn try_ack(&self, acks: &[Ack]) -> Result<Vec<Result<bool, Error>>, Error> {
        let link = self.redis.link().await?;
        let rows = self.rows_of(&link, acks).await?;
        let mut ends = Vec::new();
        let mut slots = Vec::new();
        for (ack, row) in acks.iter().zip(&rows) {
            if let Some(row) = row {
                ends.push(End {
                    row: *row,
                    state: MessageState::Acked,
                    address: Some(ack.address.clone()),
                    written_at_ms: ack.written_at_ms,
                    written_by: ack.room,
                });
                slots.push(ack.address.slot());
            }
        }
        let mut outcomes = self.end_rows(&link, &ends, &slots, None).await?.into_iter();
        let mut results = Vec::with_capacity(acks.len());
        let mut removals = Vec::new();
        for (ack, row) in acks.iter().zip(&rows) {
            let outcome = row.and_then(|_| outcomes.next()).unwrap_or(Ended::Missing);
            results.push(matches!(outcome, Ended::Now(_)));
            let state = match outcome {
                Ended::Now(_) => Some(MessageState::Acked),
                Ended::Before(_, state) => Some(state),
                // Redis had it, the database never did or no more: nothing is left that could be waited for.
                Ended::Missing => row.map(|_| MessageState::Acked),
                Ended::Foreign => None,
            };
            removals.extend(state.map(|s| (ack.address.clone(), ack.id, s)));
        }
        self.take_out(&link, removals.into_iter()).await?;
        Ok(results.into_iter().map(Ok).collect())
    }

    /// The rows of acknowledged messages: their day is in Redis. What is not there is looked for in the database.
    async fn rows_of(&self, link: &Link, acks: &[Ack]) -> Result<Vec<Option<RowId>>, Error> {
        let peeks = acks.iter().map(|a| {
            let mut command = scripts::PEEK.call(&[keys::inbox(&a.address)]);
            command.arg(hex(a.id));
            command
        });
        let mut rows = Vec::with_capacity(acks.len());
        for (ack, answer) in acks.iter().zip(link.run(peeks.collect()).await?) {
            let expires_at_ms = parse_expiry(&bytes(answer?));
            rows.push(expires_at_ms.map(|at| RowId { id: ack.id, day: day(at) }));
        }
        let missing: Vec<MessageId> =
            acks.iter().zip(&rows).filter(|(_, r)| r.is_none()).map(|(a, _)| a.id).collect();
        if !missing.is_empty() {
            let found = self.sql.run(messages::find(&self.sql, &missing)).await?;
            for (ack, row) in acks.iter().zip(&mut rows) {
                if row.is_none() {
                    *row = found.iter().find(|k| k.row.id == ack.id).map(|k| k.row);
                }
            }
        }
        Ok(rows)
    }

    /// Ends rows; those that are still on their way to the database are brought there first. `slots` are the rows' slots.
    pub(super) async fn end_rows(
        &self,
        link: &Link,
        ends: &[End],
        slots: &[Slot],
        pending: Option<u64>,
    ) -> Result<Vec<Ended>, Error> {
        if ends.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let mut outcomes = self.sql.run(messages::end(&self.sql, ends, now, pending)).await?;
        let missing: Vec<usize> =
            outcomes.iter().enumerate().filter(|(_, o)| **o == Ended::Missing).map(|(i, _)| i).collect();
        if !missing.is_empty() {
            self.flush_ids(link, &missing.iter().map(|&i| (slots[i], ends[i].row.id)).collect::<Vec<_>>())
                .await?;
            let again: Vec<End> = missing.iter().map(|&i| ends[i].clone()).collect();
            // A note of its own would be needed for a second transaction; these are told to Redis at once, or come again.
            let second = self.sql.run(messages::end(&self.sql, &again, now, None)).await?;
            for (i, outcome) in missing.into_iter().zip(second) {
                outcomes[i] = outcome;
            }
        }
        Ok(outcomes)
    }

    /// [`Store::message`](crate::store::Store::message).
    pub(super) async fn message(
        &self,
        product: ProductId,
        id: MessageId,
    ) -> Result<Option<MessageRecord>, Error> {
        let Some(known) = self.find(product, id).await? else { return Ok(None) };
        let text = "SELECT product, user, state, class, sent_at_ms, expires_at_ms, stored_at_ms, stored_by, \
                    written_at_ms, written_by, ended_at_ms, collapse_key FROM messages WHERE id = ? AND expire_day = ?";
        let select = sqlx::query(text).bind(id.0).bind(known.row.day).fetch_optional(&self.sql.pool);
        let read = async {
            let Some(row) = select.await? else { return Ok(None) };
            Ok(Some(MessageRecord {
                address: Some((&messages::address(&row)?).into()),
                id: id.0,
                state: PbState::from(messages::state(&row)?).into(),
                class: row.try_get::<u8, _>("class")?.into(),
                accepted_at_ms: row.try_get("sent_at_ms")?,
                expires_at_ms: row.try_get("expires_at_ms")?,
                stored_at_ms: row.try_get("stored_at_ms")?,
                stored_by: row.try_get("stored_by")?,
                written_at_ms: row.try_get("written_at_ms")?,
                written_by: row.try_get("written_by")?,
                ended_at_ms: row.try_get("ended_at_ms")?,
                collapse_key: messages::text(&row, "collapse_key")?,
            }))
        };
        self.sql.run(read).await
    }

    /// [`Store::recall`](crate::store::Store::recall).
    pub(super) async fn recall(&self, product: ProductId, id: MessageId) -> Result<Option<Recalled>, Error> {
        let link = self.redis.link().await?;
        let Some(known) = self.find(product, id).await? else { return Ok(None) };
        let end = End {
            row: known.row,
            state: MessageState::Recalled,
            address: Some(known.address.clone()),
            written_at_ms: 0,
            written_by: 0,
        };
        // Nobody repeats a recall, so a note makes sure that Redis is told.
        let note = notes::new_note();
        let outcome = self.end_rows(&link, &[end], &[known.address.slot()], Some(note)).await?.pop();
        let (state, recalled) = match outcome {
            Some(Ended::Now(_)) => (MessageState::Recalled, true),
            Some(Ended::Before(_, state)) => (state, false),
            _ => return Ok(None),
        };
        self.take_out(&link, [(known.address.clone(), id, state)].into_iter()).await?;
        if recalled {
            self.done.add(note);
        }
        Ok(Some(Recalled { address: known.address, state, recalled }))
    }

    /// [`Store::expire`](crate::store::Store::expire).
    pub(super) async fn expire(&self, limit: u32) -> Result<u64, Error> {
        self.clock.measure(&self.sql).await?;
        if !self.clock.agrees() {
            return Ok(0);
        }
        let expired = self.sql.run(async { retrying!(self.try_expire(limit)) }).await?;
        let count = expired.len() as u64;
        // If Redis is away they stay there, hidden by their time.
        if let Ok(link) = self.redis.link().await {
            let ended = expired.into_iter().map(|k| (k.address, k.row.id, MessageState::Expired));
            if let Err(error) = self.take_out(&link, ended).await {
                tracing::debug!(%error, "expired messages are still in Redis");
            }
        }
        Ok(count)
    }

    async fn try_expire(&self, limit: u32) -> Result<Vec<Known>, sqlx::Error> {
        let now = self.clock.now();
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let text = "SELECT id, expire_day, product, user, state FROM messages \
                    WHERE ended_at_ms = 0 AND expires_at_ms <= ? AND expire_day <= ? LIMIT ? FOR UPDATE SKIP LOCKED";
        let select = sqlx::query(text).bind(now).bind(day(now)).bind(limit);
        let mut expired = Vec::new();
        for row in select.fetch_all(&mut *tx).await? {
            let row = messages::read_known(&row)?;
            if row.state == MessageState::Waiting {
                expired.push(row);
            }
        }
        let ends = expired.iter().map(|k| End {
            row: k.row,
            state: MessageState::Expired,
            address: None,
            written_at_ms: 0,
            written_by: 0,
        });
        messages::write_ends(&mut tx, &ends.collect::<Vec<_>>(), now).await?;
        tx.commit().await?;
        Ok(expired)
    }

    /// A message of the product, by id alone; a young one also if it is still on its way to the database.
    async fn find(&self, product: ProductId, id: MessageId) -> Result<Option<Known>, Error> {
        let own = |found: Vec<Known>| found.into_iter().find(|k| k.address.product == product);
        let known = own(self.sql.run(messages::find(&self.sql, &[id])).await?);
        if known.is_some() || id.time_ms().saturating_add(YOUNG_MS) < self.clock.now() {
            return Ok(known);
        }
        let Ok(link) = self.redis.link().await else { return Ok(None) };
        // The slot is not known, so all are asked.
        let questions: Vec<(Slot, MessageId)> = Slot::all().map(|slot| (slot, id)).collect();
        self.flush_ids(&link, &questions).await?;
        // Also if there was nothing to flush: another may just have done it.
        Ok(own(self.sql.run(messages::find(&self.sql, &[id])).await?))
    }

    /// What the database knows of rows.
    pub(super) async fn look_up(
        &self,
        ids: &[RowId],
    ) -> Result<std::collections::HashMap<RowId, Known>, Error> {
        if ids.is_empty() {
            return Ok(Default::default());
        }
        let look = async { messages::known(&mut *self.sql.pool.acquire().await?, ids, false).await };
        self.sql.run(look).await
    }
}
