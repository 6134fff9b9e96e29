//! What each address has seen of its product's broadcasts (S8): a floor and the set of acknowledged sequences above it.
//!
//! MySQL decides; Redis has copies. A copy that is behind only brings a broadcast a second time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use longline_types::{Address, Error, ProductId};
use redis::Cmd;
use sqlx::mysql::MySqlConnection;
use sqlx::{Acquire as _, Row as _};

use super::keys;
use super::messages::{damaged, text};
use super::redis_link::Link;
use super::scripts;
use super::sql::{self, Sql, padded, query, retrying, rungs};

/// How long a copy that nobody changes stays in Redis.
const TTL_MS: u64 = 7 * 86_400_000;

/// A floor and what was acknowledged above it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Cursor {
    /// Rises with each change.
    pub(super) version: u64,
    floor: u64,
    acked: BTreeSet<u64>,
}

impl Cursor {
    /// Of an address that is seen for the first time: it starts at the present.
    pub(super) fn starting_at(floor: u64) -> Cursor {
        Cursor { version: 1, floor, acked: BTreeSet::new() }
    }

    /// Whether the broadcast with this sequence is done for this address.
    pub(super) fn has(&self, seq: u64) -> bool {
        seq <= self.floor || self.acked.contains(&seq)
    }

    /// Marks a broadcast as acknowledged; false if it was done before.
    pub(super) fn ack(&mut self, seq: u64) -> bool {
        if self.has(seq) {
            return false;
        }
        self.acked.insert(seq);
        self.normalise();
        true
    }

    /// Raises the floor; false if it was as high.
    pub(super) fn raise(&mut self, floor: u64) -> bool {
        if floor <= self.floor {
            return false;
        }
        self.floor = floor;
        self.normalise();
        true
    }

    fn normalise(&mut self) {
        self.version += 1;
        while self.acked.remove(&(self.floor + 1)) {
            self.floor += 1;
        }
        self.acked = self.acked.split_off(&(self.floor + 1));
    }

    /// The copy in Redis: version, floor, acknowledged, 8 bytes each.
    fn packed(&self) -> Vec<u8> {
        let numbers = [self.version, self.floor].into_iter().chain(self.acked.iter().copied());
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    /// The cursor of a copy; none if it is none.
    pub(super) fn unpack(packed: &[u8]) -> Option<Cursor> {
        let mut numbers = numbers(packed);
        Some(Cursor { version: numbers.next()?, floor: numbers.next()?, acked: numbers.collect() })
    }

    fn acked_bytes(&self) -> Vec<u8> {
        self.acked.iter().flat_map(|seq| seq.to_be_bytes()).collect()
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).filter_map(|b| Some(u64::from_be_bytes(b.try_into().ok()?)))
}

/// The command that copies a cursor to Redis.
fn copy(address: &Address, cursor: &Cursor) -> Cmd {
    let mut command = scripts::CURSOR.call(&[keys::cursor(address)]);
    command.arg(cursor.packed()).arg(TTL_MS);
    command
}

/// Copies cursors to Redis; what fails is read from the database next time.
pub(super) async fn copy_all<'a>(link: &Link, cursors: impl Iterator<Item = (&'a Address, &'a Cursor)>) {
    let commands: Vec<Cmd> = cursors.map(|(address, cursor)| copy(address, cursor)).collect();
    if let Err(error) = link.run(commands).await {
        tracing::debug!(%error, "broadcast cursors were not copied to Redis");
    }
}

/// The cursors of addresses that have one.
pub(super) async fn read(sql: &Sql, addresses: &[Address]) -> Result<HashMap<Address, Cursor>, Error> {
    sql.run(async { select(&mut *sql.pool.acquire().await?, addresses, false).await }).await
}

/// The cursors of addresses; those seen for the first time get one at the present.
pub(super) async fn first_sight(sql: &Sql, addresses: &[Address]) -> Result<HashMap<Address, Cursor>, Error> {
    let known = read(sql, addresses).await?;
    let mut new: Vec<&Address> = addresses.iter().filter(|a| !known.contains_key(a)).collect();
    if new.is_empty() {
        return Ok(known);
    }
    new.sort();
    new.dedup();
    sql.run(async { retrying!(insert_first(sql, &new)) }).await?;
    read(sql, addresses).await
}

/// A change of a cursor.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// The address has acknowledged a broadcast. Everything up to `passed` is of no concern any more.
    Ack { seq: u64, id: u64, passed: u64 },
    /// The device has seen everything up to this sequence.
    Raise(u64),
}

/// Changes cursors in one transaction; tells of each whether that changed anything, and the cursor.
pub(super) async fn change(sql: &Sql, wishes: &[(Address, Wish)]) -> Result<Vec<(bool, Cursor)>, Error> {
    sql.run(async { retrying!(try_change(sql, wishes)) }).await
}

async fn try_change(sql: &Sql, wishes: &[(Address, Wish)]) -> Result<Vec<(bool, Cursor)>, sqlx::Error> {
    let mut connection = sql.pool.acquire().await?;
    let mut tx = connection.begin().await?;
    let addresses: Vec<Address> = wishes.iter().map(|(a, _)| a.clone()).collect();
    let stored = select(&mut tx, &addresses, true).await?;
    let mut cursors = stored.clone();
    let mut acks: BTreeMap<u64, u64> = BTreeMap::new();
    let mut changed = Vec::with_capacity(wishes.len());
    for (address, wish) in wishes {
        changed.push(match wish {
            Wish::Ack { seq, id, passed } => {
                // One that was never seen has nothing open.
                let Some(cursor) = cursors.get_mut(address) else {
                    changed.push(false);
                    continue;
                };
                cursor.raise((*passed).min(seq.saturating_sub(1)));
                let acked = cursor.ack(*seq);
                *acks.entry(*id).or_default() += u64::from(acked);
                acked
            }
            Wish::Raise(floor) => cursors.get_mut(address).is_some_and(|c| c.raise(*floor)),
        });
    }
    let mut rows: Vec<(&Address, &Cursor)> =
        cursors.iter().filter(|(address, cursor)| stored.get(*address) != Some(*cursor)).collect();
    rows.sort_by_key(|(address, _)| *address);
    write(&mut tx, &rows, "version = VALUES(version), floor = VALUES(floor), acked = VALUES(acked)").await?;
    count(&mut tx, &acks).await?;
    tx.commit().await?;
    Ok(wishes
        .iter()
        .zip(changed)
        .map(|((address, _), changed)| (changed, cursors.get(address).cloned().unwrap_or_default()))
        .collect())
}

async fn insert_first(sql: &Sql, new: &[&Address]) -> Result<(), sqlx::Error> {
    let mut connection = sql.pool.acquire().await?;
    let mut floors: HashMap<ProductId, Cursor> = HashMap::new();
    for product in new.iter().map(|a| a.product) {
        if let std::collections::hash_map::Entry::Vacant(entry) = floors.entry(product) {
            entry.insert(Cursor::starting_at(highest(&mut connection, product).await?));
        }
    }
    let rows: Vec<(&Address, &Cursor)> =
        new.iter().filter_map(|a| Some((*a, floors.get(&a.product)?))).collect();
    write(&mut connection, &rows, "version = broadcast_cursors.version").await
}

/// The highest sequence that a product has given.
pub(super) async fn highest(c: &mut MySqlConnection, product: ProductId) -> Result<u64, sqlx::Error> {
    let select = sqlx::query("SELECT seq FROM broadcast_sequences WHERE product = ?").bind(product.0);
    select.fetch_optional(c).await?.map_or(Ok(0), |row| row.try_get(0))
}

/// Inserts cursors; `on_duplicate` says what becomes of one that is there.
async fn write(
    c: &mut MySqlConnection,
    rows: &[(&Address, &Cursor)],
    on_duplicate: &str,
) -> Result<(), sqlx::Error> {
    for part in rungs(rows, |(_, cursor)| 200 + cursor.acked.len() * 8) {
        let values = sql::rows(5, part.len());
        let text = format!(
            "INSERT INTO broadcast_cursors (product, user, version, floor, acked) VALUES {values} ON DUPLICATE KEY UPDATE {on_duplicate}"
        );
        let mut insert = query(text);
        for (address, cursor) in part {
            insert = insert
                .bind(address.product.0)
                .bind(address.user.as_str().as_bytes())
                .bind(cursor.version)
                .bind(cursor.floor)
                .bind(cursor.acked_bytes());
        }
        insert.execute(&mut *c).await?;
    }
    Ok(())
}

async fn count(c: &mut MySqlConnection, acks: &BTreeMap<u64, u64>) -> Result<(), sqlx::Error> {
    let shard = rand::random::<u8>() % 16;
    for (id, count) in acks.iter().filter(|(_, count)| **count > 0) {
        let text = "INSERT INTO broadcast_acks (id, shard, count) VALUES (?, ?, ?) \
                    ON DUPLICATE KEY UPDATE count = count + VALUES(count)";
        sqlx::query(text).bind(*id).bind(shard).bind(*count).execute(&mut *c).await?;
    }
    Ok(())
}

async fn select(
    c: &mut MySqlConnection,
    addresses: &[Address],
    lock: bool,
) -> Result<HashMap<Address, Cursor>, sqlx::Error> {
    let mut products: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for address in addresses {
        products.entry(address.product.0).or_default().push(address.user.as_str());
    }
    let tail = if lock { " FOR UPDATE" } else { "" };
    let mut found = HashMap::new();
    for (product, mut users) in products {
        users.sort_unstable();
        users.dedup();
        for list in padded(&users) {
            let marks = sql::marks(list.len());
            let statement = format!(
                "SELECT user, version, floor, acked FROM broadcast_cursors WHERE product = ? AND user IN ({marks}){tail}"
            );
            let select = list.iter().fold(query(statement).bind(product), |q, user| q.bind(user.as_bytes()));
            for row in select.fetch_all(&mut *c).await? {
                let acked: Vec<u8> = row.try_get("acked")?;
                let cursor = Cursor {
                    version: row.try_get("version")?,
                    floor: row.try_get("floor")?,
                    acked: numbers(&acked).collect(),
                };
                found.insert(Address::new(product, &text(&row, "user")?).map_err(damaged)?, cursor);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_follows_what_is_acknowledged_s8() {
        let mut cursor = Cursor::starting_at(5);
        assert!(!cursor.ack(5), "from before its first sight");
        assert!(cursor.ack(7) && !cursor.ack(7));
        assert!(!cursor.has(6) && cursor.has(7));
        assert!(cursor.ack(6));
        assert_eq!((cursor.floor, cursor.acked.len()), (7, 0));
        assert!(cursor.ack(9) && cursor.raise(8));
        assert_eq!((cursor.floor, cursor.acked.len()), (9, 0));
        assert!(!cursor.raise(9) && !cursor.raise(3), "it only rises");
    }

    #[test]
    fn a_copy_gives_back_the_cursor_and_later_ones_are_higher() {
        let mut cursor = Cursor::starting_at(5);
        let before = cursor.version;
        cursor.ack(9);
        assert_eq!(Cursor::unpack(&cursor.packed()), Some(cursor.clone()));
        assert!(cursor.version > before);
        assert_eq!(Cursor::unpack(b""), None);
    }
}
