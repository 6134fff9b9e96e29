//! What time does: expiry, and the removal of what ended long ago. Each call is one small batch.

use std::collections::BTreeMap;

use longline_types::{MessageState, TimeMs};
use sqlx::sqlite::SqliteConnection;

use super::sql::{Failure, int, json};

pub(super) async fn expire(tx: &mut SqliteConnection, limit: u32, now: TimeMs) -> Result<u64, Failure> {
    let done = sqlx::query(
        "UPDATE messages SET state = ?1, ended_at_ms = ?2, payload = NULL WHERE id IN (
             SELECT id FROM messages WHERE state = 1 AND expires_at_ms <= ?2 ORDER BY expires_at_ms LIMIT ?3)",
    )
    .bind(MessageState::Expired as u8)
    .bind(int(now))
    .bind(limit)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

pub(super) async fn expire_broadcasts(
    tx: &mut SqliteConnection,
    limit: u32,
    now: TimeMs,
) -> Result<u64, Failure> {
    let done = sqlx::query(
        "UPDATE broadcasts SET ended_at_ms = ?1, payload = NULL WHERE id IN (
             SELECT id FROM broadcasts WHERE ended_at_ms = 0 AND expires_at_ms <= ?1 ORDER BY expires_at_ms LIMIT ?2)",
    )
    .bind(int(now))
    .bind(limit)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Removes up to `limit` each of messages, broadcasts and uplinks that ended before the time given.
pub(super) async fn purge(tx: &mut SqliteConnection, before: TimeMs, limit: u32) -> Result<u64, Failure> {
    let messages = purge_messages(tx, before, limit).await?;
    let broadcasts = purge_broadcasts(tx, before, limit).await?;
    let uplinks = sqlx::query(
        "DELETE FROM uplinks WHERE id IN (
             SELECT id FROM uplinks WHERE ended_at_ms <> 0 AND ended_at_ms <= ? ORDER BY ended_at_ms LIMIT ?)",
    )
    .bind(int(before))
    .bind(limit)
    .execute(tx)
    .await?;
    Ok(messages + broadcasts + uplinks.rows_affected())
}

async fn purge_messages(tx: &mut SqliteConnection, before: TimeMs, limit: u32) -> sqlx::Result<u64> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "DELETE FROM messages WHERE id IN (
             SELECT id FROM messages WHERE state <> 1 AND ended_at_ms <= ? ORDER BY ended_at_ms LIMIT ?)
         RETURNING product, state",
    )
    .bind(int(before))
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for row in &rows {
        *counts.entry(*row).or_default() += 1;
    }
    let counts: Vec<_> =
        counts.into_iter().map(|((product, state), count)| (product, state, count)).collect();
    sqlx::query(
        "INSERT INTO purged (product, state, count)
         SELECT value->>0, value->>1, value->>2 FROM json_each(?) WHERE true
         ON CONFLICT (product, state) DO UPDATE SET count = count + excluded.count",
    )
    .bind(json(&counts))
    .execute(tx)
    .await?;
    Ok(rows.len() as u64)
}

async fn purge_broadcasts(tx: &mut SqliteConnection, before: TimeMs, limit: u32) -> sqlx::Result<u64> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "DELETE FROM broadcasts WHERE id IN (
             SELECT id FROM broadcasts WHERE ended_at_ms <> 0 AND ended_at_ms <= ? ORDER BY ended_at_ms LIMIT ?)
         RETURNING id",
    )
    .bind(int(before))
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM broadcast_rooms WHERE broadcast IN (SELECT value FROM json_each(?))")
        .bind(json(&ids))
        .execute(tx)
        .await?;
    Ok(ids.len() as u64)
}
