//! The uplink queue.

use std::collections::HashSet;

use longline_pb::saver::{UplinkKind, UplinkRecord};
use longline_types::Error;
use prost::Message as _;
use sqlx::mysql::MySqlConnection;
use sqlx::{Acquire as _, Row as _};

use super::Core;
use super::messages::damaged;
use super::sql::{self, padded, query, retrying, rungs};
use crate::store::{Claim, FinishUplink, PutUplink, fail_all};

/// Product, user, device, sequence: by these a repeat of data is recognised.
type Sequence = (u32, Vec<u8>, Vec<u8>, u64);

impl Core {
    /// [`Store::put_uplinks`](crate::store::Store::put_uplinks).
    pub(super) async fn put_uplinks(&self, batch: &[PutUplink]) -> Vec<Result<bool, Error>> {
        match self.sql.run(async { retrying!(self.try_put_uplinks(batch)) }).await {
            Ok(repeats) => repeats.into_iter().map(Ok).collect(),
            Err(e) => fail_all(batch.len(), &e),
        }
    }

    async fn try_put_uplinks(&self, batch: &[PutUplink]) -> Result<Vec<bool>, sqlx::Error> {
        let now = self.clock.now();
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let mut ids = known_ids(&mut tx, batch).await?;
        let mut sequences = known_sequences(&mut tx, batch).await?;
        let mut repeats = Vec::with_capacity(batch.len());
        let mut new = Vec::new();
        for put in batch {
            let sequence = sequence(&put.record);
            let repeat =
                ids.contains(&put.record.id) || sequence.as_ref().is_some_and(|s| sequences.contains(s));
            repeats.push(repeat);
            if !repeat {
                ids.insert(put.record.id);
                sequences.extend(sequence);
                new.push(put);
            }
        }
        for part in rungs(&new, |p| 512 + p.record.payload.len()) {
            let values = sql::rows(8, part.len());
            let columns = "id, product, user, device, sequence, record, attempts, due_at_ms";
            let mut insert = query(format!("INSERT INTO uplinks ({columns}) VALUES {values}"));
            for put in part {
                let record = &put.record;
                let address =
                    record.address.as_ref().ok_or_else(|| damaged("an uplink without an address"))?;
                insert = insert
                    .bind(record.id)
                    .bind(address.product)
                    .bind(address.user.as_bytes())
                    .bind(record.device.as_bytes())
                    .bind(sequence(record).map(|s| s.3))
                    .bind(record.encode_to_vec())
                    .bind(record.attempts)
                    .bind(now + u64::from(put.lease_ms));
            }
            // Another may have queued one of these in between: a duplicate key, and it starts again.
            insert.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(repeats)
    }

    /// [`Store::claim_uplinks`](crate::store::Store::claim_uplinks).
    pub(super) async fn claim_uplinks(&self, claim: Claim) -> Result<Vec<UplinkRecord>, Error> {
        self.sql.run(async { retrying!(self.try_claim_uplinks(claim)) }).await
    }

    async fn try_claim_uplinks(&self, claim: Claim) -> Result<Vec<UplinkRecord>, sqlx::Error> {
        let now = self.clock.now();
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let select = sqlx::query(
            "SELECT id, record, attempts FROM uplinks WHERE ended_at_ms = 0 AND due_at_ms <= ? \
             ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED",
        );
        let mut records = Vec::new();
        for row in select.bind(now).bind(claim.limit).fetch_all(&mut *tx).await? {
            let record = UplinkRecord::decode(row.try_get::<&[u8], _>("record")?).map_err(damaged)?;
            records.push(UplinkRecord { attempts: row.try_get("attempts")?, ..record });
        }
        let ids: Vec<u64> = records.iter().map(|r| r.id).collect();
        for list in padded(&ids) {
            let text = format!("UPDATE uplinks SET due_at_ms = ? WHERE id IN ({})", sql::marks(list.len()));
            let update = query(text).bind(now + u64::from(claim.lease_ms));
            list.iter().fold(update, |q, id| q.bind(*id)).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(records)
    }

    /// [`Store::finish_uplinks`](crate::store::Store::finish_uplinks).
    pub(super) async fn finish_uplinks(&self, batch: &[FinishUplink]) -> Result<(), Error> {
        self.sql.run(async { retrying!(self.try_finish_uplinks(batch)) }).await
    }

    async fn try_finish_uplinks(&self, batch: &[FinishUplink]) -> Result<(), sqlx::Error> {
        let now = self.clock.now();
        let mut batch = batch.to_vec();
        // Always in the same order, or two callers could wait for each other.
        batch.sort_by_key(|f| f.id);
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let (taken, left): (Vec<&FinishUplink>, Vec<&FinishUplink>) = batch.iter().partition(|f| f.taken);
        for list in padded(&taken.iter().map(|f| f.id.0).collect::<Vec<_>>()) {
            let marks = sql::marks(list.len());
            let text = format!(
                "UPDATE uplinks SET ended_at_ms = ?, record = '' WHERE ended_at_ms = 0 AND id IN ({marks})"
            );
            list.iter().fold(query(text).bind(now), |q, id| q.bind(*id)).execute(&mut *tx).await?;
        }
        for put_off in left {
            let text =
                "UPDATE uplinks SET attempts = attempts + 1, due_at_ms = ? WHERE ended_at_ms = 0 AND id = ?";
            sqlx::query(text).bind(put_off.next_try_at_ms).bind(put_off.id.0).execute(&mut *tx).await?;
        }
        tx.commit().await
    }
}

fn sequence(record: &UplinkRecord) -> Option<Sequence> {
    let address = record.address.as_ref()?;
    let data = record.kind() == UplinkKind::Data && record.sequence != 0;
    let bytes = |text: &str| text.as_bytes().to_vec();
    data.then(|| (address.product, bytes(&address.user), bytes(&record.device), record.sequence))
}

async fn known_ids(c: &mut MySqlConnection, batch: &[PutUplink]) -> Result<HashSet<u64>, sqlx::Error> {
    let ids: Vec<u64> = batch.iter().map(|p| p.record.id).collect();
    let mut known = HashSet::new();
    for list in padded(&ids) {
        let select = query(format!("SELECT id FROM uplinks WHERE id IN ({})", sql::marks(list.len())));
        for row in list.iter().fold(select, |q, id| q.bind(*id)).fetch_all(&mut *c).await? {
            known.insert(row.try_get("id")?);
        }
    }
    Ok(known)
}

async fn known_sequences(
    c: &mut MySqlConnection,
    batch: &[PutUplink],
) -> Result<HashSet<Sequence>, sqlx::Error> {
    let sequences: Vec<Sequence> = batch.iter().filter_map(|p| sequence(&p.record)).collect();
    let mut known = HashSet::new();
    for list in padded(&sequences) {
        let condition =
            vec!["(product = ? AND user = ? AND device = ? AND sequence = ?)"; list.len()].join(" OR ");
        let mut select =
            query(format!("SELECT product, user, device, sequence FROM uplinks WHERE {condition}"));
        for (product, user, device, sequence) in &list {
            select = select.bind(*product).bind(&user[..]).bind(&device[..]).bind(*sequence);
        }
        for row in select.fetch_all(&mut *c).await? {
            let key = (row.try_get("product")?, row.try_get("user")?, row.try_get("device")?);
            known.insert((key.0, key.1, key.2, row.try_get("sequence")?));
        }
    }
    Ok(known)
}
