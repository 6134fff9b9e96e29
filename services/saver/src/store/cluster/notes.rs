//! Notes in MySQL of what Redis has to be told yet (`pending_redis`).
//!
//! A group's rows and a note of them are committed together; the note goes once Redis has the group. So when Redis could not be
//! written, or the saver died in between, any saver finds the note after a while and brings Redis in line with the rows, also in
//! a Redis process that never restarted and whose slots count as filled.

use std::sync::Mutex;

use longline_types::{Error, MessageId, TimeMs};
use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;

use super::Core;
use super::row::RowId;
use super::sql::{marks, padded, query};

/// Age at which a note is taken for left over. Doing its work beside the one who wrote it does no harm.
const LEFT_OVER_MS: TimeMs = 3_000;
/// Notes swept at once.
const SWEEP: u32 = 32;
/// Notes removed along with the next group.
const ALONG: usize = 64;
const ENTRY: usize = 12;

/// Notes whose work is done, to be removed with the next group or by the sweep.
#[derive(Default)]
pub(super) struct Done {
    notes: Mutex<Vec<u64>>,
}

impl Done {
    /// Redis has what the note says.
    pub(super) fn add(&self, note: u64) {
        self.lock().push(note);
    }

    /// Some that are to be removed now.
    pub(super) fn take(&self, most: usize) -> Vec<u64> {
        let mut notes = self.lock();
        let keep = notes.len().saturating_sub(most);
        notes.split_off(keep)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A name for a note.
pub(super) fn new_note() -> u64 {
    rand::random()
}

/// Writes a note in the transaction that writes the rows.
pub(super) async fn insert(
    c: &mut MySqlConnection,
    note: u64,
    rows: &[RowId],
    now: TimeMs,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO pending_redis (id, created_at_ms, messages) VALUES (?, ?, ?)");
    insert.bind(note).bind(now).bind(pack(rows)).execute(c).await.map(drop)
}

/// Removes notes.
pub(super) async fn remove(c: &mut MySqlConnection, notes: &[u64]) -> Result<(), sqlx::Error> {
    for list in padded(notes) {
        let delete = query(format!("DELETE FROM pending_redis WHERE id IN ({})", marks(list.len())));
        list.iter().fold(delete, |q, n| q.bind(*n)).execute(&mut *c).await?;
    }
    Ok(())
}

impl Core {
    /// Notes to remove in the next transaction. Lost if that fails: the sweep finds them.
    pub(super) fn notes_along(&self) -> Vec<u64> {
        self.done.take(ALONG)
    }

    /// Removes notes whose work is done, and does the work of those left over; returns how many were left over.
    pub(super) async fn sweep_notes(&self) -> Result<usize, Error> {
        self.remove_notes(&self.done.take(usize::MAX)).await?;
        let old = self.clock.now().saturating_sub(LEFT_OVER_MS);
        let select = sqlx::query("SELECT id, messages FROM pending_redis WHERE created_at_ms < ? LIMIT ?");
        let rows = self.sql.run(select.bind(old).bind(SWEEP).fetch_all(&self.sql.pool)).await?;
        let link = self.redis.link().await?;
        for row in &rows {
            let note: u64 = row.try_get("id").map_err(Error::internal)?;
            let messages: Vec<u8> = row.try_get("messages").map_err(Error::internal)?;
            self.restore(&link, &unpack(&messages)).await?;
            self.remove_notes(&[note]).await?;
        }
        Ok(rows.len())
    }

    async fn remove_notes(&self, notes: &[u64]) -> Result<(), Error> {
        if notes.is_empty() {
            return Ok(());
        }
        let work = async { remove(&mut *self.sql.pool.acquire().await?, notes).await };
        self.sql.run(work).await
    }
}

fn pack(rows: &[RowId]) -> Vec<u8> {
    let entries = rows.iter().flat_map(|r| r.id.0.to_be_bytes().into_iter().chain(r.day.to_be_bytes()));
    entries.collect()
}

fn unpack(packed: &[u8]) -> Vec<RowId> {
    let entries = packed.chunks_exact(ENTRY).filter_map(|entry| {
        let (id, day) = entry.split_at(8);
        Some(RowId {
            id: MessageId(u64::from_be_bytes(id.try_into().ok()?)),
            day: u32::from_be_bytes(day.try_into().ok()?),
        })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_gives_back_its_rows() {
        let rows = [RowId { id: MessageId(u64::MAX), day: 1 }, RowId { id: MessageId(5), day: u32::MAX }];
        assert_eq!(unpack(&pack(&rows)), rows);
        assert!(unpack(&[0; ENTRY - 1]).is_empty());
    }
}
