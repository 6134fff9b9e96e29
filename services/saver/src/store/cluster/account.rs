//! Counting messages by state, and removing what ended long ago (I3).

use std::collections::BTreeMap;

use longline_types::{Error, MessageState, ProductId, TimeMs};
use sqlx::mysql::MySqlConnection;
use sqlx::{Acquire as _, Row as _};

use super::Core;
use super::messages::{row_id, text};
use super::row::RowId;
use super::sql::{self, padded, query, retrying};
use crate::store::Account;

/// A message to be purged.
struct Old {
    row: RowId,
    product: u32,
    user: String,
    state: u8,
    idempotency_key: String,
}

impl Core {
    /// [`Store::account`](crate::store::Store::account).
    pub(super) async fn account(&self, product: Option<ProductId>) -> Result<Account, Error> {
        // What is on its way to the database was accepted as well.
        if let Ok(link) = self.redis.link().await {
            self.flush_all(&link).await?;
        }
        let mut counts: BTreeMap<u8, u64> = BTreeMap::new();
        let read = async {
            let condition = if product.is_some() { "WHERE product = ?" } else { "" };
            let text = format!(
                "SELECT state, CAST(SUM(count) AS UNSIGNED) AS count FROM (\
                 SELECT state, COUNT(*) AS count FROM messages {condition} GROUP BY state \
                 UNION ALL SELECT state, SUM(count) AS count FROM purged {condition} GROUP BY state\
                 ) AS both_of_them GROUP BY state"
            );
            let select = query(text);
            let select = match product {
                Some(product) => select.bind(product.0).bind(product.0),
                None => select,
            };
            select.fetch_all(&self.sql.pool).await
        };
        for row in self.sql.run(read).await? {
            let of = |e: sqlx::Error| Error::internal(e);
            *counts.entry(row.try_get("state").map_err(of)?).or_default() +=
                row.try_get::<u64, _>("count").map_err(of)?;
        }
        let counts = MessageState::ALL.into_iter().filter_map(|s| Some((s, *counts.get(&(s as u8))?)));
        let counts: Vec<(MessageState, u64)> = counts.filter(|(_, n)| *n > 0).collect();
        Ok(Account { accepted: counts.iter().map(|(_, n)| n).sum(), counts })
    }

    /// [`Store::purge`](crate::store::Store::purge).
    pub(super) async fn purge(&self, retention_s: u64, limit: u32) -> Result<u64, Error> {
        let before = self.clock.now().saturating_sub(retention_s.saturating_mul(1000));
        let messages = self.sql.run(async { retrying!(self.purge_messages(before, limit)) }).await?;
        let broadcasts = self.sql.run(async { retrying!(self.purge_broadcasts(before, limit)) }).await?;
        let uplinks = "DELETE FROM uplinks WHERE ended_at_ms BETWEEN 1 AND ? LIMIT ?";
        let uplinks = async {
            retrying!(sqlx::query(uplinks).bind(before.saturating_sub(1)).bind(limit).execute(&self.sql.pool))
        };
        let uplinks = self.sql.run(uplinks).await?.rows_affected();
        Ok(messages + broadcasts + uplinks)
    }

    async fn purge_messages(&self, before: TimeMs, limit: u32) -> Result<u64, sqlx::Error> {
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let select = sqlx::query(
            "SELECT id, expire_day, product, user, state, idempotency_key FROM messages \
             WHERE ended_at_ms BETWEEN 1 AND ? LIMIT ? FOR UPDATE SKIP LOCKED",
        );
        let mut old = Vec::new();
        for row in select.bind(before.saturating_sub(1)).bind(limit).fetch_all(&mut *tx).await? {
            old.push(Old {
                row: row_id(&row)?,
                product: row.try_get("product")?,
                user: text(&row, "user")?,
                state: row.try_get("state")?,
                idempotency_key: text(&row, "idempotency_key")?,
            });
        }
        if old.is_empty() {
            return Ok(0);
        }
        let mut counts: BTreeMap<(u32, u8), u64> = BTreeMap::new();
        for message in &old {
            *counts.entry((message.product, message.state)).or_default() += 1;
        }
        for ((product, state), count) in counts {
            let add = "INSERT INTO purged (product, state, count) VALUES (?, ?, ?) \
                       ON DUPLICATE KEY UPDATE count = count + VALUES(count)";
            sqlx::query(add).bind(product).bind(state).bind(count).execute(&mut *tx).await?;
        }
        remove_keys(&mut tx, &old).await?;
        remove_rows(&mut tx, &old).await?;
        tx.commit().await?;
        Ok(old.len() as u64)
    }

    async fn purge_broadcasts(&self, before: TimeMs, limit: u32) -> Result<u64, sqlx::Error> {
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let select = sqlx::query(
            "SELECT id FROM broadcasts WHERE ended_at_ms BETWEEN 1 AND ? LIMIT ? FOR UPDATE SKIP LOCKED",
        );
        let rows = select.bind(before.saturating_sub(1)).bind(limit).fetch_all(&mut *tx).await?;
        let ids: Vec<u64> = rows.iter().map(|r| r.try_get("id")).collect::<Result<_, _>>()?;
        for list in padded(&ids) {
            for table in ["broadcast_rooms", "broadcast_acks", "broadcasts"] {
                let delete = query(format!("DELETE FROM {table} WHERE id IN ({})", sql::marks(list.len())));
                list.iter().fold(delete, |q, id| q.bind(*id)).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(ids.len() as u64)
    }
}

/// A key goes with the message that was stored under it.
async fn remove_keys(c: &mut MySqlConnection, old: &[Old]) -> Result<(), sqlx::Error> {
    let keyed: Vec<&Old> = old.iter().filter(|o| !o.idempotency_key.is_empty()).collect();
    for list in padded(&keyed) {
        let condition =
            vec!["(product = ? AND user = ? AND idempotency_key = ? AND id = ?)"; list.len()].join(" OR ");
        let mut delete = query(format!("DELETE FROM idempotency WHERE {condition}"));
        for message in &list {
            delete = delete
                .bind(message.product)
                .bind(message.user.as_bytes())
                .bind(message.idempotency_key.as_bytes())
                .bind(message.row.id.0);
        }
        delete.execute(&mut *c).await?;
    }
    Ok(())
}

async fn remove_rows(c: &mut MySqlConnection, old: &[Old]) -> Result<(), sqlx::Error> {
    let mut days: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for message in old {
        days.entry(message.row.day).or_default().push(message.row.id.0);
    }
    for (day, ids) in days {
        for list in padded(&ids) {
            let marks = sql::marks(list.len());
            let delete =
                query(format!("DELETE FROM messages WHERE expire_day = ? AND id IN ({marks})")).bind(day);
            list.iter().fold(delete, |q, id| q.bind(*id)).execute(&mut *c).await?;
        }
    }
    Ok(())
}
