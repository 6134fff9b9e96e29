//! Single messages, waiting or ended, and their account.

use std::collections::BTreeMap;

use longline_pb::saver::MessageRecord;
use longline_pb::types;
use longline_types::{MessageId, MessageState, ProductId, TimeMs};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::sql::{Failure, address, int, json_ids, state, unsigned};
use crate::store::{Account, Recalled};

/// Ends those that wait, whoever asks: one conditional change that decides the reason (S5).
pub(super) async fn end(
    tx: &mut SqliteConnection,
    ids: &[MessageId],
    reason: MessageState,
    now: TimeMs,
) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE messages SET state = ?, ended_at_ms = ?, payload = NULL
         WHERE id IN (SELECT value FROM json_each(?)) AND state = 1",
    )
    .bind(reason as u8)
    .bind(int(now))
    .bind(json_ids(ids.iter().copied()))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn read(
    readers: &SqlitePool,
    product: ProductId,
    id: MessageId,
) -> sqlx::Result<Option<MessageRecord>> {
    let row = sqlx::query(
        "SELECT user, state, class, accepted_at_ms, expires_at_ms, stored_at_ms, stored_by, written_at_ms, written_by,
         ended_at_ms, collapse_key FROM messages WHERE id = ? AND product = ?",
    )
    .bind(int(id.0))
    .bind(product.0)
    .fetch_optional(readers)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let time = |column: &str| row.try_get(column).map(unsigned);
    Ok(Some(MessageRecord {
        address: Some(types::Address { product: product.0, user: row.try_get("user")? }),
        id: id.0,
        state: types::MessageState::from(state(row.try_get("state")?)?).into(),
        class: row.try_get("class")?,
        accepted_at_ms: time("accepted_at_ms")?,
        expires_at_ms: time("expires_at_ms")?,
        stored_at_ms: time("stored_at_ms")?,
        stored_by: row.try_get("stored_by")?,
        written_at_ms: time("written_at_ms")?,
        written_by: row.try_get("written_by")?,
        ended_at_ms: time("ended_at_ms")?,
        collapse_key: row.try_get::<Option<String>, _>("collapse_key")?.unwrap_or_default(),
    }))
}

pub(super) async fn recall(
    tx: &mut SqliteConnection,
    product: ProductId,
    id: MessageId,
    now: TimeMs,
) -> Result<Option<Recalled>, Failure> {
    let row: Option<(String, i64)> =
        sqlx::query_as("SELECT user, state FROM messages WHERE id = ? AND product = ?")
            .bind(int(id.0))
            .bind(product.0)
            .fetch_optional(&mut *tx)
            .await?;
    let Some((user, number)) = row else { return Ok(None) };
    let address = address(i64::from(product.0), &user)?;
    let before = state(number)?;
    if before != MessageState::Waiting {
        return Ok(Some(Recalled { address, state: before, recalled: false }));
    }
    end(tx, &[id], MessageState::Recalled, now).await?;
    Ok(Some(Recalled { address, state: MessageState::Recalled, recalled: true }))
}

/// Counts the stored states and what retention removed (I3).
pub(super) async fn account(readers: &SqlitePool, product: Option<ProductId>) -> sqlx::Result<Account> {
    let product = product.map(|p| p.0);
    // One snapshot for all of it: what is purged in between would be counted twice or not at all.
    let mut tx = readers.begin().await?;
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT state, sum(count) FROM (
             SELECT state, count(*) AS count FROM messages WHERE ?1 IS NULL OR product = ?1 GROUP BY state
             UNION ALL SELECT state, count FROM purged WHERE ?1 IS NULL OR product = ?1)
         GROUP BY state",
    )
    .bind(product)
    .fetch_all(&mut *tx)
    .await?;
    let accepted: Option<i64> =
        sqlx::query_scalar("SELECT sum(accepted) FROM counters WHERE ?1 IS NULL OR product = ?1")
            .bind(product)
            .fetch_one(&mut *tx)
            .await?;
    tx.commit().await?;
    let mut counts = BTreeMap::new();
    for (number, count) in rows {
        counts.insert(state(number)? as u8, (state(number)?, unsigned(count)));
    }
    Ok(Account { accepted: unsigned(accepted.unwrap_or(0)), counts: counts.into_values().collect() })
}
