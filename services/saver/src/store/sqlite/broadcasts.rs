//! Broadcasts: stored once each, driven by whoever claims them.

use std::collections::HashMap;

use longline_pb::saver::{BroadcastRecord, RoomProgress};
use longline_types::{Error, ErrorCode, MessageId, ProductId, TimeMs};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{FromRow, Row};

use super::inbox::MessageRow;
use super::sql::{Failure, bits, int, json, unsigned};
use crate::store::{Claim, PutBroadcast, Report, StoredBroadcast};

/// The columns that [`Record`] reads; the first six are those of a [`MessageRow`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, payload, sent_at_ms, expires_at_ms, class, seq, product, rate_per_second, created_at_ms, finished,
             acked FROM broadcasts ",
            $rest
        )
    };
}

pub(super) async fn put(
    tx: &mut SqliteConnection,
    broadcast: &PutBroadcast,
    now: TimeMs,
) -> Result<StoredBroadcast, Failure> {
    if let Some(earlier) = earlier_try(tx, broadcast).await? {
        return earlier.map_err(Failure::from);
    }
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO counters (product, last_broadcast) VALUES (?, 1)
         ON CONFLICT (product) DO UPDATE SET last_broadcast = last_broadcast + 1 RETURNING last_broadcast",
    )
    .bind(broadcast.product.0)
    .fetch_one(&mut *tx)
    .await?;
    let message = &broadcast.message;
    sqlx::query(
        "INSERT INTO broadcasts (id, product, seq, class, sent_at_ms, expires_at_ms, created_at_ms, rate_per_second,
         idempotency_key, digest, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(int(message.id))
    .bind(broadcast.product.0)
    .bind(seq)
    .bind(message.class)
    .bind(int(message.sent_at_ms))
    .bind(int(message.expires_at_ms))
    .bind(int(now))
    .bind(broadcast.rate_per_second)
    .bind(broadcast.idempotency.as_ref().map(|i| i.key.as_str()))
    .bind(broadcast.idempotency.as_ref().map(|i| i.digest.as_slice()))
    .bind(message.payload.as_ref())
    .execute(tx)
    .await?;
    Ok(StoredBroadcast { id: MessageId(message.id), seq: unsigned(seq), repeated: false })
}

async fn earlier_try(
    tx: &mut SqliteConnection,
    broadcast: &PutBroadcast,
) -> sqlx::Result<Option<Result<StoredBroadcast, Error>>> {
    let product = broadcast.product.0;
    let conflict = |why| Some(Err(Error::new(ErrorCode::Conflict, why)));
    let again = |id, seq| {
        Some(Ok(StoredBroadcast { id: MessageId(unsigned(id)), seq: unsigned(seq), repeated: true }))
    };
    if let Some(key) = &broadcast.idempotency {
        let row: Option<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT id, seq, digest FROM broadcasts WHERE product = ? AND idempotency_key = ?",
        )
        .bind(product)
        .bind(key.key.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        match row {
            Some((id, seq, digest)) if digest == key.digest => return Ok(again(id, seq)),
            Some(_) => return Ok(conflict("the idempotency key was used for another request")),
            None => {}
        }
    }
    let row: Option<(i64, i64, i64)> = sqlx::query_as("SELECT id, seq, product FROM broadcasts WHERE id = ?")
        .bind(int(broadcast.message.id))
        .fetch_optional(tx)
        .await?;
    Ok(match row {
        Some((id, seq, owner)) if owner == i64::from(product) => again(id, seq),
        Some(_) => conflict("a broadcast with this id is stored for another product"),
        None => None,
    })
}

pub(super) async fn read(
    readers: &SqlitePool,
    product: ProductId,
    id: MessageId,
) -> sqlx::Result<Option<BroadcastRecord>> {
    let mut reader = readers.acquire().await?;
    let records = sqlx::query_as(select!("WHERE id = ? AND product = ?"))
        .bind(int(id.0))
        .bind(product.0)
        .fetch_all(&mut *reader)
        .await?;
    Ok(with_rooms(&mut reader, records).await?.pop())
}

pub(super) async fn list(
    readers: &SqlitePool,
    product: ProductId,
    above: u64,
    limit: u32,
    now: TimeMs,
) -> sqlx::Result<Vec<BroadcastRecord>> {
    let mut reader = readers.acquire().await?;
    let records = sqlx::query_as(select!(
        "WHERE product = ? AND seq > ? AND ended_at_ms = 0 AND expires_at_ms > ? ORDER BY seq LIMIT ?"
    ))
    .bind(product.0)
    .bind(int(above))
    .bind(int(now))
    .bind(limit)
    .fetch_all(&mut *reader)
    .await?;
    with_rooms(&mut reader, records).await
}

pub(super) async fn claim(
    tx: &mut SqliteConnection,
    claim: Claim,
    now: TimeMs,
) -> Result<Vec<BroadcastRecord>, Failure> {
    let records: Vec<Record> = sqlx::query_as(select!(
        "WHERE ended_at_ms = 0 AND finished = 0 AND claimed_until_ms <= ?1 AND expires_at_ms > ?1 ORDER BY id LIMIT ?2"
    ))
    .bind(int(now))
    .bind(claim.limit)
    .fetch_all(&mut *tx)
    .await?;
    let ids: Vec<i64> = records.iter().map(|r| int(r.id())).collect();
    sqlx::query(
        "UPDATE broadcasts SET claimed_node = ?, claimed_incarnation = ?, claimed_until_ms = ?
         WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(claim.node)
    .bind(bits(claim.incarnation))
    .bind(int(now.saturating_add(claim.lease_ms.into())))
    .bind(json(&ids))
    .execute(&mut *tx)
    .await?;
    Ok(with_rooms(tx, records).await?)
}

pub(super) async fn report(tx: &mut SqliteConnection, report: &Report, now: TimeMs) -> Result<(), Failure> {
    let row: Option<(u32, i64, i64)> = sqlx::query_as(
        "SELECT claimed_node, claimed_incarnation, claimed_until_ms FROM broadcasts WHERE id = ? AND product = ?",
    )
    .bind(int(report.id.0))
    .bind(report.product.0)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((node, incarnation, until)) = row else {
        return Err(Error::not_found(format_args!(
            "product {} has no broadcast {}",
            report.product, report.id
        ))
        .into());
    };
    let own = node == report.node && incarnation == bits(report.incarnation);
    if !own && until > int(now) {
        return Err(Error::new(ErrorCode::Conflict, "another node drives the broadcast").into());
    }
    let rooms: Vec<_> = report
        .rooms
        .iter()
        .map(|r| (r.node, bits(r.incarnation), r.done, int(r.sessions), int(r.pushed), int(r.acked)))
        .collect();
    sqlx::query(
        "INSERT INTO broadcast_rooms (broadcast, node, incarnation, done, sessions, pushed, acked)
         SELECT ?, value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?) WHERE true
         ON CONFLICT (broadcast, node, incarnation) DO UPDATE SET
         done = excluded.done, sessions = excluded.sessions, pushed = excluded.pushed, acked = excluded.acked",
    )
    .bind(int(report.id.0))
    .bind(json(&rooms))
    .execute(&mut *tx)
    .await?;
    let until = if report.finished { 0 } else { now.saturating_add(report.lease_ms.into()) };
    sqlx::query(
        "UPDATE broadcasts SET finished = max(finished, ?), claimed_node = ?, claimed_incarnation = ?, claimed_until_ms = ?
         WHERE id = ?",
    )
    .bind(report.finished)
    .bind(report.node)
    .bind(bits(report.incarnation))
    .bind(int(until))
    .bind(int(report.id.0))
    .execute(tx)
    .await?;
    Ok(())
}

struct Record(BroadcastRecord);

impl Record {
    fn id(&self) -> u64 {
        self.0.message.as_ref().map_or(0, |m| m.id)
    }
}

impl FromRow<'_, SqliteRow> for Record {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Record> {
        Ok(Record(BroadcastRecord {
            product: row.try_get("product")?,
            message: Some(MessageRow::from_row(row)?.0),
            rate_per_second: row.try_get("rate_per_second")?,
            created_at_ms: unsigned(row.try_get("created_at_ms")?),
            finished: row.try_get("finished")?,
            rooms: Vec::new(),
            acked: unsigned(row.try_get("acked")?),
        }))
    }
}

async fn with_rooms(tx: &mut SqliteConnection, records: Vec<Record>) -> sqlx::Result<Vec<BroadcastRecord>> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = records.iter().map(|r| int(r.id())).collect();
    let rows: Vec<(i64, u32, i64, bool, i64, i64, i64)> = sqlx::query_as(
        "SELECT broadcast, node, incarnation, done, sessions, pushed, acked FROM broadcast_rooms
         WHERE broadcast IN (SELECT value FROM json_each(?)) ORDER BY broadcast, node, incarnation",
    )
    .bind(json(&ids))
    .fetch_all(tx)
    .await?;
    let mut rooms: HashMap<u64, Vec<RoomProgress>> = HashMap::new();
    for (broadcast, node, incarnation, done, sessions, pushed, acked) in rows {
        rooms.entry(unsigned(broadcast)).or_default().push(RoomProgress {
            node,
            incarnation: unsigned(incarnation),
            done,
            sessions: unsigned(sessions),
            pushed: unsigned(pushed),
            acked: unsigned(acked),
        });
    }
    let filled = records.into_iter().map(|mut record| {
        record.0.rooms = rooms.remove(&record.id()).unwrap_or_default();
        record.0
    });
    Ok(filled.collect())
}
