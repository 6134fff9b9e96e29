//! Rows of messages in MySQL: insert, look up, end.

use std::collections::{BTreeMap, HashMap};

use longline_types::{Address, MessageId, MessageState, TimeMs};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Acquire as _, Row as _};

use super::row::{Row, RowId};
use super::sql::{self, Sql, padded, query, retrying, rungs};

/// Bytes of a row beside its payload, about.
const ROW_BYTES: usize = 256;

const COLUMNS: &str = "id, expire_day, product, user, class, sent_at_ms, expires_at_ms, stored_at_ms, stored_by, \
                       collapse_key, idempotency_key, payload, address_high";

/// What the database knows of a message.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) row: RowId,
    pub(super) address: Address,
    pub(super) state: MessageState,
}

/// A wish to end a message.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) row: RowId,
    pub(super) state: MessageState,
    /// Only if it is this address's.
    pub(super) address: Option<Address>,
    /// When it was written to a socket, and by which room; 0 unknown.
    pub(super) written_at_ms: TimeMs,
    pub(super) written_by: u32,
}

/// What became of an [`End`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// This one did it.
    Now(Address),
    /// It had ended so before.
    Before(Address, MessageState),
    /// It is another address's.
    Foreign,
    /// There is no such row (yet).
    Missing,
}

/// Inserts rows. One that is there already is left as it is if `lenient`, else it is a duplicate key.
pub(super) async fn insert(c: &mut MySqlConnection, rows: &[Row], lenient: bool) -> Result<(), sqlx::Error> {
    let tail = if lenient { " ON DUPLICATE KEY UPDATE id = messages.id" } else { "" };
    for part in rungs(rows, |r| ROW_BYTES + r.payload.len()) {
        let values = sql::rows(13, part.len());
        let mut insert = query(format!("INSERT INTO messages ({COLUMNS}) VALUES {values}{tail}"));
        for row in part {
            let high = row.address().map_or(0, |a| a.key().high);
            insert = insert
                .bind(row.id)
                .bind(row.row_id().day)
                .bind(row.product)
                .bind(row.user.as_bytes())
                .bind(u8::try_from(row.class).unwrap_or(1))
                .bind(row.sent_at_ms)
                .bind(row.expires_at_ms)
                .bind(row.stored_at_ms)
                .bind(row.stored_by)
                .bind(row.collapse_key.as_bytes())
                .bind(row.idempotency_key.as_bytes())
                .bind(&row.payload[..])
                .bind(high);
        }
        insert.execute(&mut *c).await?;
    }
    Ok(())
}

/// Looks rows up by their names; `lock` them until the transaction ends.
pub(super) async fn known(
    c: &mut MySqlConnection,
    ids: &[RowId],
    lock: bool,
) -> Result<HashMap<RowId, Known>, sqlx::Error> {
    let tail = if lock { " FOR UPDATE" } else { "" };
    let mut found = HashMap::new();
    for (day, list) in by_day(ids) {
        let marks = sql::marks(list.len());
        let text = format!(
            "SELECT id, expire_day, product, user, state FROM messages WHERE expire_day = ? AND id IN ({marks}){tail}"
        );
        let mut select = query(text).bind(day);
        for id in &list {
            select = select.bind(*id);
        }
        for row in select.fetch_all(&mut *c).await? {
            let known = read_known(&row)?;
            found.insert(known.row, known);
        }
    }
    Ok(found)
}

/// Looks messages up by id alone: each partition is asked, so this is for rare cases.
pub(super) async fn find(sql: &Sql, ids: &[MessageId]) -> Result<Vec<Known>, sqlx::Error> {
    let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
    let mut found = Vec::new();
    for list in padded(&ids) {
        let marks = sql::marks(list.len());
        let text = format!("SELECT id, expire_day, product, user, state FROM messages WHERE id IN ({marks})");
        let select = list.iter().fold(query(text), |q, id| q.bind(*id));
        for row in select.fetch_all(&sql.pool).await? {
            found.push(read_known(&row)?);
        }
    }
    Ok(found)
}

/// Reads rows whole, with their state.
pub(super) async fn full(sql: &Sql, ids: &[RowId]) -> Result<Vec<(Row, MessageState)>, sqlx::Error> {
    let mut found = Vec::new();
    for (day, list) in by_day(ids) {
        let marks = sql::marks(list.len());
        let text = format!("SELECT {COLUMNS}, state FROM messages WHERE expire_day = ? AND id IN ({marks})");
        let select = list.iter().fold(query(text).bind(day), |q, id| q.bind(*id));
        for row in select.fetch_all(&sql.pool).await? {
            found.push((read_row(&row)?, state(&row)?));
        }
    }
    Ok(found)
}

/// A waiting row of a range of addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Upper half of the address's hash.
    pub(super) high: u64,
    pub(super) row: RowId,
}

/// The first waiting rows of a range of addresses beyond `after`, in order of (address, id). Read from the index alone: the rows of
/// all partitions have to be sorted, and with their payloads that would be slow.
pub(super) async fn waiting(
    sql: &Sql,
    highs: std::ops::RangeInclusive<u64>,
    after: Option<Waiting>,
    today: u32,
    limit: u32,
) -> Result<Vec<Waiting>, sqlx::Error> {
    let beyond = if after.is_some() { "AND (address_high > ? OR id > ?)" } else { "" };
    let text = format!(
        "SELECT address_high, id, expire_day FROM messages WHERE state = 1 AND address_high BETWEEN ? AND ? {beyond} \
         AND expire_day >= ? ORDER BY address_high, id LIMIT ?"
    );
    let mut select = query(text).bind(after.map_or(*highs.start(), |a| a.high)).bind(*highs.end());
    if let Some(after) = after {
        select = select.bind(after.high).bind(after.row.id.0);
    }
    let rows = select.bind(today).bind(limit).fetch_all(&sql.pool).await?;
    rows.iter().map(|r| Ok(Waiting { high: r.try_get("address_high")?, row: row_id(r)? })).collect()
}

/// Ends messages in one transaction: of two that want to end the same, one does (S5). `pending`: a note that Redis has to be told,
/// written along.
pub(super) async fn end(
    sql: &Sql,
    ends: &[End],
    now: TimeMs,
    pending: Option<u64>,
) -> Result<Vec<Ended>, sqlx::Error> {
    retrying!(try_end(sql, ends, now, pending))
}

async fn try_end(
    sql: &Sql,
    ends: &[End],
    now: TimeMs,
    pending: Option<u64>,
) -> Result<Vec<Ended>, sqlx::Error> {
    let mut connection = sql.pool.acquire().await?;
    let mut tx = connection.begin().await?;
    let ids: Vec<RowId> = ends.iter().map(|e| e.row).collect();
    let mut known = known(&mut tx, &ids, true).await?;
    let mut outcomes = Vec::with_capacity(ends.len());
    let mut changed = Vec::new();
    for end in ends {
        outcomes.push(match known.get_mut(&end.row) {
            None => Ended::Missing,
            Some(k) if end.address.as_ref().is_some_and(|a| *a != k.address) => Ended::Foreign,
            Some(k) if k.state != MessageState::Waiting => Ended::Before(k.address.clone(), k.state),
            Some(k) => {
                k.state = end.state;
                changed.push(end.clone());
                Ended::Now(k.address.clone())
            }
        });
    }
    if changed.is_empty() {
        return Ok(outcomes);
    }
    write_ends(&mut tx, &changed, now).await?;
    if let Some(note) = pending {
        let rows: Vec<RowId> = changed.iter().map(|e| e.row).collect();
        super::notes::insert(&mut tx, note, &rows, now).await?;
    }
    tx.commit().await?;
    Ok(outcomes)
}

/// Writes the terminal states of rows that the transaction has locked.
pub(super) async fn write_ends(
    c: &mut MySqlConnection,
    ends: &[End],
    now: TimeMs,
) -> Result<(), sqlx::Error> {
    for part in rungs(ends, |_| 64) {
        // All of them exist, so nothing is inserted: this is an update with different values per row.
        let text = format!(
            "INSERT INTO messages (id, expire_day, state, written_at_ms, written_by, ended_at_ms) VALUES {} \
             ON DUPLICATE KEY UPDATE state = VALUES(state), written_at_ms = VALUES(written_at_ms), \
             written_by = VALUES(written_by), ended_at_ms = VALUES(ended_at_ms)",
            sql::rows(6, part.len())
        );
        let mut update = query(text);
        for end in part {
            update = update
                .bind(end.row.id.0)
                .bind(end.row.day)
                .bind(end.state as u8)
                .bind(end.written_at_ms)
                .bind(end.written_by)
                .bind(now.max(1));
        }
        update.execute(&mut *c).await?;
    }
    Ok(())
}

/// Ids by partition, both in order, so that transactions lock rows in the same order; lists as long as the ladder says.
fn by_day(ids: &[RowId]) -> Vec<(u32, Vec<u64>)> {
    let mut days: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for row in ids {
        days.entry(row.day).or_default().push(row.id.0);
    }
    let lists = days.into_iter().flat_map(|(day, mut ids)| {
        ids.sort_unstable();
        ids.dedup();
        padded(&ids).into_iter().map(move |list| (day, list))
    });
    lists.collect()
}

/// What a column that ought to make sense does not.
pub(super) fn damaged(what: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(what.to_string().into())
}

/// A column of user names, keys and the like.
pub(super) fn text(row: &MySqlRow, column: &str) -> Result<String, sqlx::Error> {
    String::from_utf8(row.try_get(column)?).map_err(damaged)
}

/// The columns `product` and `user`.
pub(super) fn address(row: &MySqlRow) -> Result<Address, sqlx::Error> {
    Address::new(row.try_get("product")?, &text(row, "user")?).map_err(damaged)
}

/// The column `state`.
pub(super) fn state(row: &MySqlRow) -> Result<MessageState, sqlx::Error> {
    MessageState::from_number(row.try_get("state")?).ok_or_else(|| damaged("a state that is none"))
}

/// The columns `id` and `expire_day`.
pub(super) fn row_id(row: &MySqlRow) -> Result<RowId, sqlx::Error> {
    Ok(RowId { id: MessageId(row.try_get("id")?), day: row.try_get("expire_day")? })
}

/// The columns of a [`Known`].
pub(super) fn read_known(row: &MySqlRow) -> Result<Known, sqlx::Error> {
    Ok(Known { row: row_id(row)?, address: address(row)?, state: state(row)? })
}

fn read_row(row: &MySqlRow) -> Result<Row, sqlx::Error> {
    Ok(Row {
        id: row.try_get("id")?,
        product: row.try_get("product")?,
        user: text(row, "user")?,
        class: row.try_get::<u8, _>("class")?.into(),
        sent_at_ms: row.try_get("sent_at_ms")?,
        expires_at_ms: row.try_get("expires_at_ms")?,
        stored_at_ms: row.try_get("stored_at_ms")?,
        stored_by: row.try_get("stored_by")?,
        collapse_key: text(row, "collapse_key")?,
        idempotency_key: text(row, "idempotency_key")?,
        digest: Vec::new(),
        payload: row.try_get::<Option<Vec<u8>>, _>("payload")?.unwrap_or_default().into(),
    })
}
