//! Reading what waits for an address: pages, checks and counts.

use bytes::Bytes;
use futures::TryStreamExt;
use longline_pb::types::Message;
use longline_types::{Address, Error, MessageId, TimeMs, now_ms};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{FromRow, Row};

use super::addresses::{self, Broadcasts, Sight};
use super::sql::{int, json, json_ids, unsigned};
use super::writer::{Job, Writer};
use crate::store::{Check, Inbox, Load, Loaded};

/// A page for each request. First sights and raised floors are written before anything is read.
pub(super) async fn load(
    readers: &SqlitePool,
    writer: &Writer,
    batch: Vec<Load>,
) -> sqlx::Result<Vec<Result<Loaded, Error>>> {
    // The connection is given back meanwhile: the writer may be slow, and others read.
    let known = addresses::read(&mut *readers.acquire().await?, batch.iter().map(|l| &l.address)).await?;
    let mut standing: Vec<Result<Broadcasts, Error>> =
        known.iter().map(|b| Ok(b.clone().unwrap_or_default())).collect();
    let news: Vec<usize> = (0..batch.len())
        .filter(|&i| addresses::is_news(known[i].as_ref(), batch[i].seen_broadcast))
        .collect();
    let sights = news
        .iter()
        .map(|&i| Sight { address: batch[i].address.clone(), seen: batch[i].seen_broadcast })
        .collect();
    for (index, seen) in news.into_iter().zip(writer.batch(sights, Job::Sight).await) {
        standing[index] = seen;
    }

    let (mut reader, now) = (readers.acquire().await?, now_ms());
    let mut pages = Vec::with_capacity(batch.len());
    for (request, standing) in batch.iter().zip(standing) {
        pages.push(match standing {
            Ok(standing) => Ok(page(&mut reader, request, &standing, now).await?),
            Err(e) => Err(e),
        });
    }
    Ok(pages)
}

async fn page(
    reader: &mut SqliteConnection,
    request: &Load,
    standing: &Broadcasts,
    now: TimeMs,
) -> sqlx::Result<Loaded> {
    let except = json_ids(request.except.iter().copied());
    let mut page = Page { request, loaded: Loaded::default(), bytes: 0 };
    let unicasts = sqlx::query_as(
        "SELECT id, payload, accepted_at_ms, expires_at_ms, class, 0 FROM messages
         WHERE product = ? AND user = ? AND state = 1 AND expires_at_ms > ?
         AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?",
    )
    .bind(request.address.product.0)
    .bind(request.address.user.as_str())
    .bind(int(now))
    .bind(except.as_str())
    .bind(page.room_and_one())
    .fetch(&mut *reader);
    page.fill(unicasts).await?;
    if page.loaded.more || standing.active <= standing.floor {
        return Ok(page.loaded);
    }
    let broadcasts = sqlx::query_as(
        "SELECT id, payload, sent_at_ms, expires_at_ms, class, seq FROM broadcasts
         WHERE product = ? AND seq > ? AND ended_at_ms = 0 AND expires_at_ms > ?
         AND seq NOT IN (SELECT value FROM json_each(?)) AND id NOT IN (SELECT value FROM json_each(?))
         ORDER BY seq LIMIT ?",
    )
    .bind(request.address.product.0)
    .bind(int(standing.floor))
    .bind(int(now))
    .bind(standing.acked.as_str())
    .bind(except.as_str())
    .bind(page.room_and_one())
    .fetch(&mut *reader);
    page.fill(broadcasts).await?;
    Ok(page.loaded)
}

struct Page<'a> {
    request: &'a Load,
    loaded: Loaded,
    bytes: usize,
}

impl Page<'_> {
    /// How many rows to ask for: one more than fits tells whether there is more.
    fn room_and_one(&self) -> i64 {
        int((self.request.limit - self.loaded.messages.len()) as u64).saturating_add(1)
    }

    async fn fill(
        &mut self,
        mut rows: impl futures::Stream<Item = sqlx::Result<MessageRow>> + Unpin,
    ) -> sqlx::Result<()> {
        while let Some(MessageRow(message)) = rows.try_next().await? {
            let messages = &mut self.loaded.messages;
            let fits = messages.is_empty() || self.bytes + message.payload.len() <= self.request.max_bytes;
            if !fits || messages.len() >= self.request.limit {
                self.loaded.more = true;
                return Ok(());
            }
            self.bytes += message.payload.len();
            messages.push(message);
        }
        Ok(())
    }
}

/// Columns: id, payload, sent, expires, class, sequence.
pub(super) struct MessageRow(pub(super) Message);

impl FromRow<'_, SqliteRow> for MessageRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<MessageRow> {
        Ok(MessageRow(Message {
            id: unsigned(row.try_get(0)?),
            payload: row.try_get::<Option<Vec<u8>>, _>(1)?.map(Bytes::from).unwrap_or_default(),
            sent_at_ms: unsigned(row.try_get(2)?),
            expires_at_ms: unsigned(row.try_get(3)?),
            class: row.try_get(4)?,
            broadcast_seq: unsigned(row.try_get(5)?),
            redelivered: false,
        }))
    }
}

/// Whether more waits for each address than it has in flight.
pub(super) async fn check(readers: &SqlitePool, batch: &[Check], now: TimeMs) -> sqlx::Result<Vec<bool>> {
    let counts = counts(readers, batch.iter().map(|c| &c.address), now).await?;
    Ok(batch
        .iter()
        .zip(counts)
        .map(|(c, inbox)| inbox.waiting + inbox.broadcasts_waiting > c.in_flight)
        .collect())
}

/// What waits for one address.
pub(super) async fn summary(readers: &SqlitePool, address: &Address, now: TimeMs) -> sqlx::Result<Inbox> {
    Ok(counts(readers, std::iter::once(address), now).await?.pop().unwrap_or_default())
}

async fn counts(
    readers: &SqlitePool,
    addresses: impl Iterator<Item = &Address>,
    now: TimeMs,
) -> sqlx::Result<Vec<Inbox>> {
    let asked: Vec<_> = addresses.map(|a| (a.product.0, a.user.as_str())).collect();
    let rows: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(
        "SELECT
             (SELECT count(*) FROM messages m WHERE m.product = j.value->>0 AND m.user = j.value->>1
              AND m.state = 1 AND m.expires_at_ms > ?1),
             (SELECT count(*) FROM addresses a CROSS JOIN broadcasts b
              ON b.product = a.product AND b.seq > a.floor AND b.ended_at_ms = 0 AND b.expires_at_ms > ?1
              AND b.seq NOT IN (SELECT value FROM json_each(a.acked))
              WHERE a.product = j.value->>0 AND a.user = j.value->>1),
             (SELECT m.id FROM messages m WHERE m.product = j.value->>0 AND m.user = j.value->>1
              AND m.state = 1 AND m.expires_at_ms > ?1 ORDER BY m.id LIMIT 1)
         FROM json_each(?2) j ORDER BY j.key",
    )
    .bind(int(now))
    .bind(json(&asked))
    .fetch_all(readers)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(waiting, broadcasts_waiting, oldest)| Inbox {
            waiting: unsigned(waiting),
            broadcasts_waiting: unsigned(broadcasts_waiting),
            oldest: oldest.map(|id| MessageId(unsigned(id))),
        })
        .collect())
}
