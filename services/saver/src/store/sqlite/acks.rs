//! Acknowledgements, of messages and of broadcasts, a group at a time.

use std::collections::HashSet;

use longline_types::{Error, TimeMs};
use sqlx::sqlite::SqliteConnection;

use super::addresses;
use super::sql::{int, json, unsigned};
use crate::store::Ack;

/// Ends what is acknowledged; true for each that this call ended.
pub(super) async fn end(
    tx: &mut SqliteConnection,
    items: &[Ack],
    now: TimeMs,
) -> sqlx::Result<Vec<Result<bool, Error>>> {
    let mut ended = end_messages(tx, items, now).await?;
    let broadcasts = addresses::acknowledge(tx, items).await?;
    // An id that comes twice in a group is ended by the first.
    Ok(items
        .iter()
        .enumerate()
        .map(|(index, ack)| {
            Ok(if ack.broadcast_seq == 0 { ended.remove(&ack.id.0) } else { broadcasts.contains(&index) })
        })
        .collect())
}

async fn end_messages(tx: &mut SqliteConnection, items: &[Ack], now: TimeMs) -> sqlx::Result<HashSet<u64>> {
    let asked: Vec<_> = items
        .iter()
        .filter(|ack| ack.broadcast_seq == 0)
        .map(|ack| {
            let address = &ack.address;
            (int(ack.id.0), address.product.0, address.user.as_str(), int(ack.written_at_ms), ack.room)
        })
        .collect();
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let ended: Vec<i64> = sqlx::query_scalar(
        "UPDATE messages SET state = 2, ended_at_ms = ?, payload = NULL, written_at_ms = j.value->>3, written_by = j.value->>4
         FROM json_each(?) j
         WHERE messages.id = j.value->>0 AND messages.state = 1
         AND messages.product = j.value->>1 AND messages.user = j.value->>2
         RETURNING messages.id",
    )
    .bind(int(now))
    .bind(json(&asked))
    .fetch_all(tx)
    .await?;
    Ok(ended.into_iter().map(unsigned).collect())
}
