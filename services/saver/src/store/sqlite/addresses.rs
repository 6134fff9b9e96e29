//! What each address has of its product's broadcasts: a floor, and the sequences acknowledged above it (S8).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use longline_types::{Address, Error};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

use super::sql::{corrupt, int, json, unsigned};
use crate::store::Ack;

/// An address that is loaded, and what its device says it has seen.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) address: Address,
    pub(super) seen: u64,
}

/// Where an address stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Broadcasts {
    pub(super) floor: u64,
    /// JSON array of sequences, as `json_each` takes it.
    pub(super) acked: String,
    /// Highest active sequence of the product; 0: none.
    pub(super) active: u64,
    /// Highest sequence ever given.
    last: u64,
}

/// Where each address stands; none for one that was never loaded.
pub(super) async fn read(
    tx: &mut SqliteConnection,
    addresses: impl Iterator<Item = &Address>,
) -> sqlx::Result<Vec<Option<Broadcasts>>> {
    Ok(read_raw(tx, addresses).await?.into_iter().map(|row| row.floor.map(|_| row.into())).collect())
}

/// Whether the record must change before the load: a first sight, or a device that has seen more.
pub(super) fn is_news(known: Option<&Broadcasts>, seen: u64) -> bool {
    known.is_none_or(|b| seen.min(b.last) > b.floor)
}

/// Records first sights (which start at the present) and raises floors.
pub(super) async fn see(
    tx: &mut SqliteConnection,
    items: &[Sight],
) -> sqlx::Result<Vec<Result<Broadcasts, Error>>> {
    let before = read_raw(tx, items.iter().map(|s| &s.address)).await?;
    let rows: Vec<_> = items
        .iter()
        .zip(&before)
        .map(|(sight, row)| {
            let floor = row.floor.map_or(row.last, |floor| floor.max(int(sight.seen).min(row.last)));
            (sight.address.product.0, sight.address.user.as_str(), floor)
        })
        .collect();
    sqlx::query(
        "INSERT INTO addresses (product, user, floor)
         SELECT value->>0, value->>1, value->>2 FROM json_each(?) WHERE true
         ON CONFLICT (product, user) DO UPDATE SET floor = max(floor, excluded.floor)",
    )
    .bind(json(&rows))
    .execute(&mut *tx)
    .await?;
    let after = read_raw(tx, items.iter().map(|s| &s.address)).await?;
    Ok(after.into_iter().map(|row| Ok(row.into())).collect())
}

/// Marks broadcasts as acknowledged; the indexes of the items that were news. Items that acknowledge messages are passed over.
pub(super) async fn acknowledge(tx: &mut SqliteConnection, items: &[Ack]) -> sqlx::Result<HashSet<usize>> {
    let asked: Vec<_> = items
        .iter()
        .enumerate()
        .filter(|(_, ack)| ack.broadcast_seq != 0)
        .map(|(index, ack)| {
            let address = &ack.address;
            (address.product.0, address.user.as_str(), int(ack.broadcast_seq), int(ack.id.0), index)
        })
        .collect();
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    // Foreign sequences, and addresses that were never loaded, fall out of the join.
    let rows: Vec<(i64, i64, String)> = sqlx::query_as(
        "SELECT j.value->>4, a.floor, a.acked FROM json_each(?) j
         CROSS JOIN addresses a ON a.product = j.value->>0 AND a.user = j.value->>1
         CROSS JOIN broadcasts b ON b.product = j.value->>0 AND b.seq = j.value->>2 AND b.id = j.value->>3
         ORDER BY 1",
    )
    .bind(json(&asked))
    .fetch_all(&mut *tx)
    .await?;

    let mut news = HashSet::new();
    let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
    let mut standing: HashMap<&Address, (u64, BTreeSet<u64>)> = HashMap::new();
    for (index, floor, acked) in rows {
        let index = unsigned(index) as usize;
        let ack = &items[index];
        if !standing.contains_key(&ack.address) {
            standing.insert(&ack.address, (unsigned(floor), parse(&acked)?));
        }
        let (floor, acked) = standing.entry(&ack.address).or_default();
        if ack.broadcast_seq > *floor && acked.insert(ack.broadcast_seq) {
            news.insert(index);
            *counts.entry(ack.id.0).or_default() += 1;
        }
    }
    write(tx, standing).await?;
    for (id, count) in counts {
        sqlx::query("UPDATE broadcasts SET acked = acked + ? WHERE id = ?")
            .bind(count)
            .bind(int(id))
            .execute(&mut *tx)
            .await?;
    }
    Ok(news)
}

/// Writes floors and sets, after raising each floor over everything that needs no memory any more.
async fn write(
    tx: &mut SqliteConnection,
    standing: HashMap<&Address, (u64, BTreeSet<u64>)>,
) -> sqlx::Result<()> {
    let products: BTreeSet<u32> = standing.keys().map(|a| a.product.0).collect();
    let mut active: HashMap<u32, (Vec<u64>, u64)> = HashMap::new();
    for product in products {
        active.insert(product, active_sequences(tx, product).await?);
    }
    let mut rows = Vec::with_capacity(standing.len());
    for (address, (floor, acked)) in standing {
        let (active, last) = &active[&address.product.0];
        let (floor, acked) = settle(floor, &acked, active, *last);
        rows.push((address.product.0, address.user.as_str(), floor, json(&acked)));
    }
    sqlx::query(
        "INSERT INTO addresses (product, user, floor, acked)
         SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?) WHERE true
         ON CONFLICT (product, user) DO UPDATE SET floor = excluded.floor, acked = excluded.acked",
    )
    .bind(json(&rows))
    .execute(tx)
    .await?;
    Ok(())
}

/// The highest floor that says the same, and what must be remembered above it: so the set never outgrows what is active.
fn settle(floor: u64, acked: &BTreeSet<u64>, active: &[u64], last: u64) -> (u64, Vec<u64>) {
    let open = active.iter().copied().find(|seq| *seq > floor && !acked.contains(seq));
    let floor = open.map_or(last, |seq| seq - 1).max(floor);
    let kept = active.iter().copied().filter(|seq| *seq > floor && acked.contains(seq)).collect();
    (floor, kept)
}

async fn active_sequences(tx: &mut SqliteConnection, product: u32) -> sqlx::Result<(Vec<u64>, u64)> {
    let active: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM broadcasts WHERE product = ? AND ended_at_ms = 0 ORDER BY seq")
            .bind(product)
            .fetch_all(&mut *tx)
            .await?;
    let last: Option<i64> = sqlx::query_scalar("SELECT last_broadcast FROM counters WHERE product = ?")
        .bind(product)
        .fetch_optional(&mut *tx)
        .await?;
    Ok((active.into_iter().map(unsigned).collect(), unsigned(last.unwrap_or(0))))
}

fn parse(acked: &str) -> sqlx::Result<BTreeSet<u64>> {
    serde_json::from_str(acked).map_err(corrupt)
}

struct Raw {
    /// NULL: never loaded.
    floor: Option<i64>,
    acked: Option<String>,
    active: i64,
    last: i64,
}

impl FromRow<'_, SqliteRow> for Raw {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Raw> {
        Ok(Raw {
            floor: row.try_get("floor")?,
            acked: row.try_get("acked")?,
            active: row.try_get("active")?,
            last: row.try_get("last")?,
        })
    }
}

impl From<Raw> for Broadcasts {
    fn from(row: Raw) -> Broadcasts {
        Broadcasts {
            floor: unsigned(row.floor.unwrap_or(row.last)),
            acked: row.acked.unwrap_or_else(|| "[]".to_owned()),
            active: unsigned(row.active),
            last: unsigned(row.last),
        }
    }
}

async fn read_raw(
    tx: &mut SqliteConnection,
    addresses: impl Iterator<Item = &Address>,
) -> sqlx::Result<Vec<Raw>> {
    let asked: Vec<_> = addresses.map(|a| (a.product.0, a.user.as_str())).collect();
    sqlx::query_as(
        "SELECT a.floor, a.acked, coalesce(c.last_broadcast, 0) AS last, coalesce((
             SELECT max(b.seq) FROM broadcasts b WHERE b.product = j.value->>0 AND b.ended_at_ms = 0), 0) AS active
         FROM json_each(?) j
         LEFT JOIN addresses a ON a.product = j.value->>0 AND a.user = j.value->>1
         LEFT JOIN counters c ON c.product = j.value->>0
         ORDER BY j.key",
    )
    .bind(json(&asked))
    .fetch_all(tx)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(floor: u64, acked: &[u64], active: &[u64], last: u64) -> (u64, Vec<u64>) {
        settle(floor, &acked.iter().copied().collect(), active, last)
    }

    #[test]
    fn the_floor_rises_over_what_is_acked_or_over_s8() {
        assert_eq!(settled(0, &[1, 2], &[1, 2, 3], 3), (2, vec![]), "a run from the floor");
        assert_eq!(settled(0, &[2], &[1, 2, 3], 3), (0, vec![2]), "1 is still open");
        assert_eq!(settled(0, &[2], &[2, 3], 3), (2, vec![]), "1 has ended");
        assert_eq!(settled(0, &[1, 3], &[1, 2, 3, 4], 4), (1, vec![3]));
        assert_eq!(settled(0, &[4], &[4], 4), (4, vec![]), "nothing is open");
        assert_eq!(settled(5, &[2], &[2, 7], 7), (6, vec![]), "what lies below the floor is forgotten");
        assert_eq!(settled(7, &[], &[], 7), (7, vec![]));
    }
}
