//! Messages that were stored `fast`, on their way to the database (S2).
//!
//! A row waits in two places: in Redis (`unflushed`), where any saver finds it if this one dies, and in this process's memory, from where it
//! is written if Redis loses it. So only the death of both within the flush time loses a message.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures::future::BoxFuture;
use longline_types::{Error, MessageId, Slot};
use prost::Message as _;
use sqlx::Acquire as _;
use tokio::sync::Notify;

use super::Core;
use super::keys;
use super::redis_link::{Link, bytes, list, number};
use super::row::{Row, RowId, hex};
use super::sql::retrying;
use super::{messages, notes, puts};

/// Rows written to the database at once.
const GROUP: usize = 256;
/// Most bytes of payload kept in memory; what is beyond waits in Redis alone.
const MEMORY: usize = 64 << 20;

/// Rows in memory, in order of their storing.
#[derive(Default)]
pub(super) struct Queue {
    rows: Mutex<Held>,
    filled: Notify,
}

#[derive(Default)]
struct Held {
    rows: VecDeque<Row>,
    bytes: usize,
}

impl Queue {
    /// Adds rows that Redis has. What does not fit is left to the survey of Redis.
    pub(super) fn push(&self, rows: impl Iterator<Item = Row>) {
        let mut held = self.lock();
        for row in rows {
            if held.bytes + cost(&row) <= MEMORY {
                held.bytes += cost(&row);
                held.rows.push_back(row);
            }
        }
        drop(held);
        self.filled.notify_one();
    }

    /// Waits until there is something.
    pub(super) async fn some(&self) {
        while self.lock().rows.is_empty() {
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Vec<Row> {
        let mut held = self.lock();
        let count = held.rows.len().min(GROUP);
        let rows: Vec<Row> = held.rows.drain(..count).collect();
        held.bytes -= rows.iter().map(cost).sum::<usize>();
        rows
    }

    fn put_back(&self, rows: Vec<Row>) {
        let mut held = self.lock();
        for row in rows.into_iter().rev() {
            held.bytes += cost(&row);
            held.rows.push_front(row);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn cost(row: &Row) -> usize {
    row.payload.len() + 512
}

impl Core {
    /// Writes a group of the queue; false if it was empty. On failure the group waits again.
    pub(super) async fn flush_queue(&self) -> Result<bool, Error> {
        let rows = self.queue.take();
        if rows.is_empty() {
            return Ok(false);
        }
        // Dropped half way, the rows are still in Redis.
        match self.flush(&rows).await {
            Ok(()) => Ok(true),
            Err(e) => {
                self.queue.put_back(rows);
                Err(e)
            }
        }
    }

    /// Writes what is in a slot's `unflushed`: left by a saver that died, or more than fits in memory.
    pub(super) async fn flush_slot(&self, link: &Link, slot: Slot) -> Result<(), Error> {
        loop {
            let mut command = redis::cmd("HRANDFIELD");
            command.arg(keys::unflushed(slot)).arg(GROUP).arg("WITHVALUES");
            let fields: Vec<Vec<u8>> = list(link.one(command).await?).into_iter().map(bytes).collect();
            let mut rows = Vec::with_capacity(fields.len() / 2);
            for entry in fields.chunks_exact(2) {
                match Row::decode(entry[1].as_slice()) {
                    Ok(row) => rows.push(row),
                    Err(error) => {
                        tracing::error!(%error, %slot, "Redis holds a row that makes no sense; it is dropped");
                        let mut drop = redis::cmd("HDEL");
                        drop.arg(keys::unflushed(slot)).arg(&entry[0]);
                        link.one(drop).await?;
                    }
                }
            }
            if rows.is_empty() {
                return Ok(());
            }
            self.flush(&rows).await?;
        }
    }

    /// Writes those of these messages that are in `unflushed`.
    pub(super) fn flush_ids<'a>(
        &'a self,
        link: &'a Link,
        ids: &'a [(Slot, MessageId)],
    ) -> BoxFuture<'a, Result<(), Error>> {
        // Boxed since flushing may find that something else has to be ended, and ending may have to flush.
        Box::pin(async move {
            let questions = ids.iter().map(|(slot, id)| {
                let mut command = redis::cmd("HGET");
                command.arg(keys::unflushed(*slot)).arg(hex(*id));
                command
            });
            let mut rows = Vec::new();
            for answer in link.run(questions.collect()).await? {
                let packed = bytes(answer?);
                rows.extend(if packed.is_empty() { None } else { Row::decode(packed.as_slice()).ok() });
            }
            if !rows.is_empty() {
                self.flush(&rows).await?;
            }
            Ok(())
        })
    }

    /// Writes rows to the database, then tells Redis that it has them. If Redis did not have one of them any more, it has lost its
    /// data since (or another saver was faster), and the inbox is brought in line.
    async fn flush(&self, rows: &[Row]) -> Result<(), Error> {
        let note = notes::new_note();
        self.sql.run(async { retrying!(self.write_flushed(rows, note)) }).await?;
        let told = async {
            let link = self.redis.link().await?;
            let commands = rows.iter().filter_map(|row| {
                let mut command = redis::cmd("HDEL");
                command.arg(keys::unflushed(row.address()?.slot())).arg(hex(MessageId(row.id)));
                Some(command)
            });
            // One that Redis refuses says nothing about its row: then the note stays for all of them.
            let answers = link.run(commands.collect()).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
            let lost = rows.iter().zip(answers).filter(|(_, answer)| number(answer) == 0);
            let lost: Vec<RowId> = lost.map(|(row, _)| row.row_id()).collect();
            if lost.is_empty() { Ok(()) } else { self.restore(&link, &lost).await }
        };
        match told.await {
            Ok(()) => self.done.add(note),
            // The rows are safe, and the note is swept when Redis is back.
            Err(error) => tracing::debug!(%error, "Redis was not told of flushed rows"),
        }
        Ok(())
    }

    async fn write_flushed(&self, rows: &[Row], note: u64) -> Result<(), sqlx::Error> {
        let along = self.notes_along();
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        puts::insert_keys(&mut tx, &rows.iter().collect::<Vec<_>>()).await?;
        messages::insert(&mut tx, rows, true).await?;
        let ids: Vec<RowId> = rows.iter().map(Row::row_id).collect();
        notes::insert(&mut tx, note, &ids, self.clock.now()).await?;
        notes::remove(&mut tx, &along).await?;
        tx.commit().await
    }
}
