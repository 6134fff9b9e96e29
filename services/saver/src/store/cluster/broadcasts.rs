//! Broadcasts: stored once, with a sequence per product, driven by whoever claims them.

use std::collections::HashMap;

use bytes::Bytes;
use longline_pb::saver::{BroadcastRecord, RoomProgress};
use longline_pb::types::Message;
use longline_types::{Error, ErrorCode, MessageId, ProductId, TimeMs};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Acquire as _, Row as _};

use super::Core;
use super::sql::{self, padded, query, retrying, rungs};
use crate::store::{Claim, PutBroadcast, Report, StoredBroadcast};

const COLUMNS: &str = "product, seq, id, class, sent_at_ms, expires_at_ms, payload, rate_per_second, created_at_ms, \
                       finished";

impl Core {
    /// [`Store::put_broadcast`](crate::store::Store::put_broadcast).
    pub(super) async fn put_broadcast(&self, put: &PutBroadcast) -> Result<StoredBroadcast, Error> {
        let stored = self.sql.run(async { retrying!(self.try_put_broadcast(put)) }).await??;
        self.active.forget(put.product);
        Ok(stored)
    }

    async fn try_put_broadcast(
        &self,
        put: &PutBroadcast,
    ) -> Result<Result<StoredBroadcast, Error>, sqlx::Error> {
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        if let Some(earlier) = earlier_broadcast(&mut tx, put).await? {
            return Ok(earlier);
        }
        // Whoever wants the next sequence waits for this row until we have committed: so they become readable in order.
        let next = "INSERT INTO broadcast_sequences (product, seq) VALUES (?, 1) ON DUPLICATE KEY UPDATE seq = seq + 1";
        sqlx::query(next).bind(put.product.0).execute(&mut *tx).await?;
        let seq = super::cursors::highest(&mut tx, put.product).await?;
        let key = put.idempotency.as_ref();
        let text = format!(
            "INSERT INTO broadcasts ({COLUMNS}, idempotency_key, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, FALSE, ?, ?)"
        );
        query(text)
            .bind(put.product.0)
            .bind(seq)
            .bind(put.message.id)
            .bind(u8::try_from(put.message.class).unwrap_or(1))
            .bind(put.message.sent_at_ms)
            .bind(put.message.expires_at_ms)
            .bind(&put.message.payload[..])
            .bind(put.rate_per_second)
            .bind(self.clock.now())
            .bind(key.map(|k| k.key.as_bytes()))
            .bind(key.map(|k| &k.digest[..]))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Ok(StoredBroadcast { id: MessageId(put.message.id), seq, repeated: false }))
    }

    /// [`Store::broadcast`](crate::store::Store::broadcast).
    pub(super) async fn broadcast(
        &self,
        product: ProductId,
        id: MessageId,
    ) -> Result<Option<BroadcastRecord>, Error> {
        let read = async {
            let mut connection = self.sql.pool.acquire().await?;
            let text = format!("SELECT {COLUMNS} FROM broadcasts WHERE product = ? AND id = ?");
            let rows = query(text).bind(product.0).bind(id.0).fetch_all(&mut *connection).await?;
            Ok(records(&mut connection, &rows).await?.pop())
        };
        self.sql.run(read).await
    }

    /// [`Store::broadcasts`](crate::store::Store::broadcasts).
    pub(super) async fn list_broadcasts(
        &self,
        product: ProductId,
        above: u64,
        limit: u32,
    ) -> Result<Vec<BroadcastRecord>, Error> {
        let read = async {
            let mut connection = self.sql.pool.acquire().await?;
            let text = format!(
                "SELECT {COLUMNS} FROM broadcasts WHERE product = ? AND seq > ? AND ended_at_ms = 0 \
                 AND expires_at_ms > ? ORDER BY seq LIMIT ?"
            );
            let select = query(text).bind(product.0).bind(above).bind(self.clock.now()).bind(limit);
            let rows = select.fetch_all(&mut *connection).await?;
            records(&mut connection, &rows).await
        };
        self.sql.run(read).await
    }

    /// [`Store::claim_broadcasts`](crate::store::Store::claim_broadcasts).
    pub(super) async fn claim_broadcasts(&self, claim: Claim) -> Result<Vec<BroadcastRecord>, Error> {
        self.sql.run(async { retrying!(self.try_claim_broadcasts(claim)) }).await
    }

    async fn try_claim_broadcasts(&self, claim: Claim) -> Result<Vec<BroadcastRecord>, sqlx::Error> {
        let now = self.clock.now();
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let text = format!(
            "SELECT {COLUMNS} FROM broadcasts WHERE finished = FALSE AND ended_at_ms = 0 AND expires_at_ms > ? \
             AND held_until_ms <= ? ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED"
        );
        let rows = query(text).bind(now).bind(now).bind(claim.limit).fetch_all(&mut *tx).await?;
        let records = records(&mut tx, &rows).await?;
        for record in &records {
            let id = record.message.as_ref().map_or(0, |m| m.id);
            hold(&mut tx, id, (claim.node, claim.incarnation), now + u64::from(claim.lease_ms), false)
                .await?;
        }
        tx.commit().await?;
        Ok(records)
    }

    /// [`Store::report_broadcast`](crate::store::Store::report_broadcast).
    pub(super) async fn report_broadcast(&self, report: &Report) -> Result<(), Error> {
        self.sql.run(async { retrying!(self.try_report_broadcast(report)) }).await?
    }

    async fn try_report_broadcast(&self, report: &Report) -> Result<Result<(), Error>, sqlx::Error> {
        let now = self.clock.now();
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let select = sqlx::query(
            "SELECT finished, holder_node, holder_incarnation, held_until_ms FROM broadcasts \
             WHERE product = ? AND id = ? FOR UPDATE",
        );
        let row = select.bind(report.product.0).bind(report.id.0).fetch_optional(&mut *tx).await?;
        let Some(row) = row else { return Ok(Err(Error::not_found("there is no such broadcast"))) };
        let holder: (u32, u64) = (row.try_get("holder_node")?, row.try_get("holder_incarnation")?);
        let held = row.try_get::<u64, _>("held_until_ms")? > now;
        let reporter = (report.node, report.incarnation);
        if held && holder != reporter {
            return Ok(Err(Error::new(ErrorCode::Conflict, "another drives this broadcast")));
        }
        write_rooms(&mut tx, report).await?;
        let finished = report.finished || row.try_get("finished")?;
        let until = if finished { 0 } else { now + u64::from(report.lease_ms) };
        hold(&mut tx, report.id.0, reporter, until, finished).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// [`Store::expire_broadcasts`](crate::store::Store::expire_broadcasts).
    pub(super) async fn expire_broadcasts(&self, limit: u32) -> Result<u64, Error> {
        if !self.clock.agrees() {
            return Ok(0);
        }
        let now = self.clock.now();
        let update = "UPDATE broadcasts SET ended_at_ms = ?, payload = '' \
                      WHERE ended_at_ms = 0 AND expires_at_ms <= ? LIMIT ?";
        let update = sqlx::query(update).bind(now).bind(now).bind(limit).execute(&self.sql.pool);
        Ok(self.sql.run(update).await?.rows_affected())
    }
}

/// The broadcast that was stored under this id or key before.
async fn earlier_broadcast(
    c: &mut MySqlConnection,
    put: &PutBroadcast,
) -> Result<Option<Result<StoredBroadcast, Error>>, sqlx::Error> {
    let key = put.idempotency.as_ref();
    let text = "SELECT product, id, seq, digest, idempotency_key FROM broadcasts \
                WHERE id = ? OR (product = ? AND idempotency_key = ?)";
    let select =
        sqlx::query(text).bind(put.message.id).bind(put.product.0).bind(key.map(|k| k.key.as_bytes()));
    let Some(row) = select.fetch_optional(c).await? else { return Ok(None) };
    let digest: Option<Vec<u8>> = row.try_get("digest")?;
    let same_product = row.try_get::<u32, _>("product")? == put.product.0;
    let same_request = key.is_none_or(|k| digest.is_none_or(|d| d == k.digest));
    Ok(Some(if same_product && same_request {
        Ok(StoredBroadcast { id: MessageId(row.try_get("id")?), seq: row.try_get("seq")?, repeated: true })
    } else {
        Err(Error::new(ErrorCode::Conflict, "the id or the idempotency key was used for another broadcast"))
    }))
}

async fn hold(
    c: &mut MySqlConnection,
    id: u64,
    holder: (u32, u64),
    until: TimeMs,
    finished: bool,
) -> Result<(), sqlx::Error> {
    let update = "UPDATE broadcasts SET holder_node = ?, holder_incarnation = ?, held_until_ms = ?, finished = ? WHERE id = ?";
    let update = sqlx::query(update).bind(holder.0).bind(holder.1).bind(until).bind(finished).bind(id);
    update.execute(c).await.map(drop)
}

async fn write_rooms(c: &mut MySqlConnection, report: &Report) -> Result<(), sqlx::Error> {
    for part in rungs(&report.rooms, |_| 64) {
        let text = format!(
            "INSERT INTO broadcast_rooms (id, node, incarnation, done, sessions, pushed, acked) VALUES {} \
             ON DUPLICATE KEY UPDATE done = VALUES(done), sessions = VALUES(sessions), pushed = VALUES(pushed), \
             acked = VALUES(acked)",
            sql::rows(7, part.len())
        );
        let mut insert = query(text);
        for room in part {
            insert = insert
                .bind(report.id.0)
                .bind(room.node)
                .bind(room.incarnation)
                .bind(room.done)
                .bind(room.sessions)
                .bind(room.pushed)
                .bind(room.acked);
        }
        insert.execute(&mut *c).await?;
    }
    Ok(())
}

/// The message of a row.
pub(super) fn read_message(row: &MySqlRow) -> Result<Message, sqlx::Error> {
    Ok(Message {
        id: row.try_get("id")?,
        payload: Bytes::from(row.try_get::<Vec<u8>, _>("payload")?),
        sent_at_ms: row.try_get("sent_at_ms")?,
        expires_at_ms: row.try_get("expires_at_ms")?,
        class: row.try_get::<u8, _>("class")?.into(),
        broadcast_seq: row.try_get("seq")?,
        ..Message::default()
    })
}

/// The records of rows, with what the rooms reported and how many have acknowledged.
async fn records(c: &mut MySqlConnection, rows: &[MySqlRow]) -> Result<Vec<BroadcastRecord>, sqlx::Error> {
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        records.push(BroadcastRecord {
            product: row.try_get("product")?,
            message: Some(read_message(row)?),
            rate_per_second: row.try_get("rate_per_second")?,
            created_at_ms: row.try_get("created_at_ms")?,
            finished: row.try_get("finished")?,
            rooms: Vec::new(),
            acked: 0,
        });
    }
    let ids: Vec<u64> = records.iter().filter_map(|r| Some(r.message.as_ref()?.id)).collect();
    let mut rooms = rooms(c, &ids).await?;
    let acked = acked(c, &ids).await?;
    for record in &mut records {
        let id = record.message.as_ref().map_or(0, |m| m.id);
        record.rooms = rooms.remove(&id).unwrap_or_default();
        record.acked = acked.get(&id).copied().unwrap_or(0);
    }
    Ok(records)
}

async fn rooms(c: &mut MySqlConnection, ids: &[u64]) -> Result<HashMap<u64, Vec<RoomProgress>>, sqlx::Error> {
    let mut rooms: HashMap<u64, Vec<RoomProgress>> = HashMap::new();
    for list in padded(ids) {
        let text = format!(
            "SELECT id, node, incarnation, done, sessions, pushed, acked FROM broadcast_rooms WHERE id IN ({}) \
             ORDER BY id, node, incarnation",
            sql::marks(list.len())
        );
        for row in list.iter().fold(query(text), |q, id| q.bind(*id)).fetch_all(&mut *c).await? {
            rooms.entry(row.try_get("id")?).or_default().push(RoomProgress {
                node: row.try_get("node")?,
                incarnation: row.try_get("incarnation")?,
                done: row.try_get("done")?,
                sessions: row.try_get("sessions")?,
                pushed: row.try_get("pushed")?,
                acked: row.try_get("acked")?,
            });
        }
    }
    Ok(rooms)
}

async fn acked(c: &mut MySqlConnection, ids: &[u64]) -> Result<HashMap<u64, u64>, sqlx::Error> {
    let mut acked = HashMap::new();
    for list in padded(ids) {
        let marks = sql::marks(list.len());
        let text = format!("SELECT id, count FROM broadcast_acks WHERE id IN ({marks})");
        for row in list.iter().fold(query(text), |q, id| q.bind(*id)).fetch_all(&mut *c).await? {
            *acked.entry(row.try_get("id")?).or_default() += row.try_get::<u64, _>("count")?;
        }
    }
    Ok(acked)
}
