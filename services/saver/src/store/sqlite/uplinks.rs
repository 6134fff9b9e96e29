//! The uplink queue.

use std::collections::{HashMap, HashSet};

use longline_pb::saver::{UplinkKind, UplinkRecord};
use longline_types::{Error, TimeMs};
use prost::Message;
use sqlx::sqlite::SqliteConnection;

use super::sql::{Failure, corrupt, int, json, unsigned};
use crate::store::{Claim, FinishUplink, PutUplink};

/// By what a repeat of data is recognised: product, user, device, sequence.
type Sequence<'a> = (u32, &'a str, &'a str, i64);

/// Queues a group; true for each repeat.
pub(super) async fn put(
    tx: &mut SqliteConnection,
    items: &[PutUplink],
    now: TimeMs,
) -> sqlx::Result<Vec<Result<bool, Error>>> {
    let (mut ids, mut sequences) = known(tx, items).await?;
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        let sequence = sequence(&item.record);
        let repeat = !ids.insert(item.record.id) | sequence.is_some_and(|s| !sequences.insert(s));
        if !repeat {
            insert(tx, item, now).await?;
        }
        answers.push(Ok(repeat));
    }
    Ok(answers)
}

fn sequence(record: &UplinkRecord) -> Option<Sequence<'_>> {
    let address = record.address.as_ref()?;
    let data = record.kind() == UplinkKind::Data && record.sequence != 0;
    data.then(|| (address.product, address.user.as_str(), record.device.as_str(), int(record.sequence)))
}

/// The ids and sequences of the group that are stored already.
async fn known<'a>(
    tx: &mut SqliteConnection,
    items: &'a [PutUplink],
) -> sqlx::Result<(HashSet<u64>, HashSet<Sequence<'a>>)> {
    let ids: Vec<i64> = items.iter().map(|i| int(i.record.id)).collect();
    let ids: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM uplinks WHERE id IN (SELECT value FROM json_each(?))")
            .bind(json(&ids))
            .fetch_all(&mut *tx)
            .await?;
    let asked: Vec<Sequence<'_>> = items.iter().filter_map(|i| sequence(&i.record)).collect();
    let found: Vec<i64> = sqlx::query_scalar(
        "SELECT j.key FROM json_each(?) j CROSS JOIN uplinks u
         ON u.product = j.value->>0 AND u.user = j.value->>1 AND u.device = j.value->>2 AND u.sequence = j.value->>3
         AND u.kind = 1 AND u.sequence <> 0",
    )
    .bind(json(&asked))
    .fetch_all(tx)
    .await?;
    let sequences = found.into_iter().map(|index| asked[unsigned(index) as usize]).collect();
    Ok((ids.into_iter().map(unsigned).collect(), sequences))
}

async fn insert(tx: &mut SqliteConnection, item: &PutUplink, now: TimeMs) -> sqlx::Result<()> {
    let record = &item.record;
    let address = record.address.as_ref().ok_or_else(|| corrupt("an uplink has an address"))?;
    sqlx::query(
        "INSERT INTO uplinks (id, product, user, device, sequence, kind, attempts, due_at_ms, record)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(int(record.id))
    .bind(address.product)
    .bind(address.user.as_str())
    .bind(record.device.as_str())
    .bind(int(record.sequence))
    .bind(record.kind)
    .bind(record.attempts)
    .bind(int(now.saturating_add(item.lease_ms.into())))
    .bind(record.encode_to_vec())
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn claim(
    tx: &mut SqliteConnection,
    claim: Claim,
    now: TimeMs,
) -> Result<Vec<UplinkRecord>, Failure> {
    let rows: Vec<(i64, u32, Vec<u8>)> = sqlx::query_as(
        "SELECT id, attempts, record FROM uplinks WHERE ended_at_ms = 0 AND due_at_ms <= ?
         ORDER BY due_at_ms, id LIMIT ?",
    )
    .bind(int(now))
    .bind(claim.limit)
    .fetch_all(&mut *tx)
    .await?;
    let ids: Vec<i64> = rows.iter().map(|(id, ..)| *id).collect();
    sqlx::query("UPDATE uplinks SET due_at_ms = ? WHERE id IN (SELECT value FROM json_each(?))")
        .bind(int(now.saturating_add(claim.lease_ms.into())))
        .bind(json(&ids))
        .execute(tx)
        .await?;
    let records = rows.into_iter().map(|(_, attempts, record)| {
        let record = UplinkRecord::decode(record.as_slice()).map_err(corrupt)?;
        Ok(UplinkRecord { attempts, ..record })
    });
    Ok(records.collect::<sqlx::Result<_>>()?)
}

pub(super) async fn finish(
    tx: &mut SqliteConnection,
    batch: &[FinishUplink],
    now: TimeMs,
) -> Result<(), Failure> {
    // Of several words about one uplink the last counts.
    let last: HashMap<u64, &FinishUplink> = batch.iter().map(|f| (f.id.0, f)).collect();
    let (taken, postponed): (Vec<&FinishUplink>, Vec<&FinishUplink>) =
        last.into_values().partition(|f| f.taken);
    let taken: Vec<i64> = taken.iter().map(|f| int(f.id.0)).collect();
    sqlx::query(
        "UPDATE uplinks SET ended_at_ms = ?, record = NULL
         WHERE id IN (SELECT value FROM json_each(?)) AND ended_at_ms = 0",
    )
    .bind(int(now))
    .bind(json(&taken))
    .execute(&mut *tx)
    .await?;
    let postponed: Vec<_> = postponed.iter().map(|f| (int(f.id.0), int(f.next_try_at_ms))).collect();
    sqlx::query(
        "UPDATE uplinks SET attempts = attempts + 1, due_at_ms = j.value->>1 FROM json_each(?) j
         WHERE uplinks.id = j.value->>0 AND uplinks.ended_at_ms = 0",
    )
    .bind(json(&postponed))
    .execute(tx)
    .await?;
    Ok(())
}
