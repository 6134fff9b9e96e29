//! Storing messages (S1–S3).
//!
//! `synced`: one transaction with the rows, their idempotency records and a note; then Redis; then the answer. If Redis fails after
//! the commit, the answer is `Unavailable` (the caller repeats the same id), and the note makes sure that the message turns up even
//! if nobody repeats it. `fast`: one script in Redis per message; the database later ([`flush`](super::flush)).

use std::collections::{HashMap, HashSet};

use longline_types::{Address, Durability, Error, ErrorCode, MessageId, MessageState};
use sqlx::mysql::MySqlConnection;
use sqlx::{Acquire as _, Row as _};

use super::Core;
use super::inboxes::{self, KeyRecord, Loser, Mode, Status, TOMBSTONE_MS};
use super::keys;
use super::messages;
use super::notes;
use super::redis_link::{Link, bytes};
use super::row::{Row, RowId};
use super::sql::{self, TRIES, is_contention, is_duplicate, query, rungs};
use crate::store::{Put, Stored, fail_all};

/// Tries to find an inbox filled while others empty Redis or fill it.
const FILL_TRIES: usize = 4;

/// A message to store.
struct Item {
    address: Address,
    row: Row,
    limit: u32,
}

/// What is known of an item before Redis is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Turn {
    New,
    /// It, or the first message under its key, is stored.
    Repeat(RowId),
    Conflict(&'static str),
}

const OTHER_REQUEST: &str = "the idempotency key was used for another request";
const OTHER_ADDRESS: &str = "the message id is another address's";

impl Core {
    /// [`Store::put`](crate::store::Store::put).
    pub(super) async fn put(&self, group: Vec<Put>, saver: u32) -> Vec<Result<Stored, Error>> {
        let mut results: Vec<Option<Result<Stored, Error>>> = group.iter().map(|_| None).collect();
        let mut left: Vec<Placed> = group.into_iter().enumerate().collect();
        while let Some(durability) = left.first().map(|(_, p)| p.durability) {
            let (now, later) = divide(left);
            left = later;
            let (places, puts): (Vec<usize>, Vec<Put>) = now.into_iter().unzip();
            let items: Vec<Item> = puts.into_iter().map(|p| self.item(p, saver)).collect();
            let outcome = match durability {
                Durability::Synced => self.put_synced(&items).await,
                Durability::Fast => self.put_fast(&items).await,
            };
            let outcome = outcome.unwrap_or_else(|e| fail_all(places.len(), &e));
            for (place, result) in places.into_iter().zip(outcome) {
                results[place] = Some(result);
            }
        }
        results
            .into_iter()
            .map(|r| r.unwrap_or_else(|| Err(Error::internal("a message was passed over"))))
            .collect()
    }

    fn item(&self, put: Put, saver: u32) -> Item {
        let (address, limit) = (put.address.clone(), put.inbox_limit);
        Item { address, limit, row: Row::new(put, self.clock.now(), saver) }
    }

    async fn put_synced(&self, items: &[Item]) -> Result<Vec<Result<Stored, Error>>, Error> {
        let link = self.redis.link().await?;
        self.ensure_filled(&link, items.iter().map(|i| &i.address)).await?;
        let turns = self.known_to_redis(&link, items).await?;
        let turns = self.known_late(items, turns).await?;
        let note = notes::new_note();
        let turns = self.sql.run(self.insert_new(items, turns, note)).await?;
        let results = self.put_turns(&link, items, &turns, Mode::Synced).await?;
        if results.iter().all(|r| !matches!(r, Err(e) if e.code != ErrorCode::Conflict)) {
            self.done.add(note);
        }
        Ok(results)
    }

    async fn put_fast(&self, items: &[Item]) -> Result<Vec<Result<Stored, Error>>, Error> {
        let link = self.redis.link().await?;
        self.ensure_filled(&link, items.iter().map(|i| &i.address)).await?;
        let turns = self.known_to_database(items).await?;
        self.put_turns(&link, items, &turns, Mode::Fast).await
    }

    /// Writes new ones to Redis, answers repeats.
    async fn put_turns(
        &self,
        link: &Link,
        items: &[Item],
        turns: &[Turn],
        mode: Mode,
    ) -> Result<Vec<Result<Stored, Error>>, Error> {
        let new: Vec<&Item> = pick(items, turns, |t| *t == Turn::New);
        let mut stored = self.write_inboxes(link, &new, mode).await?.into_iter();
        let mut results = Vec::with_capacity(items.len());
        for (item, turn) in items.iter().zip(turns) {
            results.push(match turn {
                Turn::New => match stored.next() {
                    Some(Ok(Written::Stored(stored))) => Ok(stored),
                    Some(Ok(Written::KeyUsed(record))) => self.same_request(link, item, &record).await,
                    Some(Err(e)) => Err(e),
                    None => Err(Error::internal("a message was passed over")),
                },
                Turn::Repeat(row) => self.repeat(link, item, *row).await,
                Turn::Conflict(why) => Err(Error::new(ErrorCode::Conflict, why)),
            });
        }
        Ok(results)
    }

    /// The script for each message; those pushed out are settled.
    async fn write_inboxes(
        &self,
        link: &Link,
        items: &[&Item],
        mode: Mode,
    ) -> Result<Vec<Result<Written, Error>>, Error> {
        let mut answers: Vec<Result<(Status, Vec<Loser>), Error>> =
            items.iter().map(|_| Ok((Status::Unfilled, Vec::new()))).collect();
        for _ in 0..FILL_TRIES {
            let open: Vec<usize> =
                (0..items.len()).filter(|&i| matches!(&answers[i], Ok((Status::Unfilled, _)))).collect();
            if open.is_empty() {
                break;
            }
            let now = self.clock.now();
            let commands = open
                .iter()
                .map(|&i| inboxes::store(link, &items[i].address, &items[i].row, items[i].limit, mode, now));
            for (&i, answer) in open.iter().zip(link.run(commands.collect()).await?) {
                let slot = items[i].address.slot();
                answers[i] = answer.and_then(|a| inboxes::stored(slot, a));
                if matches!(&answers[i], Ok((Status::Unfilled, _))) {
                    link.note_filled(slot, false);
                }
            }
            let unfilled = open.iter().filter(|&&i| matches!(&answers[i], Ok((Status::Unfilled, _))));
            self.ensure_filled(link, unfilled.map(|&i| &items[i].address)).await?;
        }
        if mode == Mode::Fast {
            let flush = items.iter().zip(&answers).filter(|(_, a)| matches!(a, Ok((Status::Stored, _))));
            self.queue.push(flush.map(|(item, _)| item.row.clone()));
        }
        let losers: Vec<Loser> =
            answers.iter().flatten().flat_map(|(_, losers)| losers.iter().copied()).collect();
        // If this fails, they are in `endings`, and the survey settles them.
        let won = match self.settle(link, &losers).await {
            Ok(won) => won.into_iter().collect(),
            Err(error) => {
                tracing::debug!(%error, "messages that were pushed out are not settled yet");
                losers.iter().map(|l| l.row).collect::<HashSet<RowId>>()
            }
        };
        Ok(items.iter().zip(answers).map(|(item, answer)| written(item, answer?, &won, mode)).collect())
    }

    /// An earlier try stored this row: its state now; if it waits, Redis is written again (S2).
    async fn repeat(&self, link: &Link, item: &Item, row: RowId) -> Result<Stored, Error> {
        let mut known = self.look_up(&[row]).await?;
        if known.is_empty() {
            self.flush_ids(link, &[(item.address.slot(), row.id)]).await?;
            known = self.look_up(&[row]).await?;
        }
        let known =
            known.remove(&row).ok_or_else(|| Error::unavailable("an earlier try is still under way"))?;
        if known.state == MessageState::Waiting {
            self.restore(link, &[row]).await?;
        }
        Ok(repeated(row.id, known.state))
    }

    async fn same_request(&self, link: &Link, item: &Item, record: &KeyRecord) -> Result<Stored, Error> {
        if record.digest != item.row.digest {
            return Err(Error::new(ErrorCode::Conflict, OTHER_REQUEST));
        }
        self.repeat(link, item, record.row).await
    }

    /// Keys under which a message was stored `fast` may not be in the database yet.
    async fn known_to_redis(&self, link: &Link, items: &[Item]) -> Result<Vec<Turn>, Error> {
        let mut turns = vec![Turn::New; items.len()];
        let keyed: Vec<usize> =
            (0..items.len()).filter(|&i| !items[i].row.idempotency_key.is_empty()).collect();
        let questions = keyed.iter().map(|&i| {
            let mut command = redis::cmd("GET");
            command.arg(keys::idempotency(&items[i].address, &items[i].row.idempotency_key));
            command
        });
        for (&i, answer) in keyed.iter().zip(link.run(questions.collect()).await?) {
            if let Some(record) = inboxes::parse_key_record(&bytes(answer?)) {
                turns[i] = turn_of(&items[i].row, record.row, &record.digest);
            }
        }
        Ok(turns)
    }

    /// Before a `fast` put: keys are looked up in the database.
    async fn known_to_database(&self, items: &[Item]) -> Result<Vec<Turn>, Error> {
        let mut turns = vec![Turn::New; items.len()];
        let keys = self.read_keys(&items.iter().map(|i| &i.row).collect::<Vec<_>>()).await?;
        for (item, turn) in items.iter().zip(&mut turns) {
            if let Some((row, digest)) = keys.get(&key_of(&item.row)) {
                *turn = turn_of(&item.row, *row, digest);
            }
        }
        self.known_late(items, turns).await
    }

    /// An id that was not made just now may have had any fate, and its message any expiry: these are looked up by id alone.
    async fn known_late(&self, items: &[Item], mut turns: Vec<Turn>) -> Result<Vec<Turn>, Error> {
        let now = self.clock.now();
        let late: Vec<MessageId> = items
            .iter()
            .map(|i| MessageId(i.row.id))
            .filter(|id| id.time_ms().abs_diff(now) > TOMBSTONE_MS / 2)
            .collect();
        if late.is_empty() {
            return Ok(turns);
        }
        let found = self.sql.run(messages::find(&self.sql, &late)).await?;
        let known = |item: &Item| found.iter().find(|k| k.row.id.0 == item.row.id);
        // A key that was used tells more than the id.
        let rows: Vec<&Row> = items.iter().filter(|i| known(i).is_some()).map(|i| &i.row).collect();
        let keys = self.read_keys(&rows).await?;
        for (item, turn) in items.iter().zip(&mut turns).filter(|(_, t)| **t == Turn::New) {
            if let Some((row, digest)) = keys.get(&key_of(&item.row)) {
                *turn = turn_of(&item.row, *row, digest);
            }
            if let (Turn::New, Some(known)) = (&turn, known(item)) {
                *turn = turn_of_known(item, known);
            }
        }
        Ok(turns)
    }

    async fn read_keys(&self, rows: &[&Row]) -> Result<HashMap<Key, (RowId, Vec<u8>)>, Error> {
        if rows.iter().all(|r| r.idempotency_key.is_empty()) {
            return Ok(HashMap::new());
        }
        self.sql.run(async { read_keys(&mut *self.sql.pool.acquire().await?, rows).await }).await
    }

    /// Inserts new ones, with their idempotency records and a note, in one transaction (S1). Tells what turned out to be there.
    async fn insert_new(
        &self,
        items: &[Item],
        turns: Vec<Turn>,
        note: u64,
    ) -> Result<Vec<Turn>, sqlx::Error> {
        // That an id is there already is rare, so it is looked for only after an insert has failed.
        let mut careful = false;
        let mut tries = 1;
        loop {
            match self.try_insert(items, turns.clone(), note, careful).await {
                Err(e) if tries < TRIES && is_contention(&e) => careful |= is_duplicate(&e),
                outcome => return outcome,
            }
            tries += 1;
            tokio::time::sleep(std::time::Duration::from_millis(u64::from(rand::random::<u8>() % 8))).await;
        }
    }

    async fn try_insert(
        &self,
        items: &[Item],
        mut turns: Vec<Turn>,
        note: u64,
        careful: bool,
    ) -> Result<Vec<Turn>, sqlx::Error> {
        let along = self.notes_along();
        let mut connection = self.sql.pool.acquire().await?;
        let mut tx = connection.begin().await?;
        let rows: Vec<&Row> = pick(items, &turns, |t| *t == Turn::New).into_iter().map(|i| &i.row).collect();
        insert_keys(&mut tx, &rows).await?;
        let keys = read_keys(&mut tx, &rows).await?;
        let known = if careful {
            messages::known(&mut tx, &rows.iter().map(|r| r.row_id()).collect::<Vec<_>>(), false).await?
        } else {
            HashMap::new()
        };
        for (item, turn) in items.iter().zip(&mut turns).filter(|(_, t)| **t == Turn::New) {
            if let Some((row, digest)) = keys.get(&key_of(&item.row)) {
                *turn = turn_of(&item.row, *row, digest);
            }
            if let (Turn::New, Some(known)) = (&turn, known.get(&item.row.row_id())) {
                *turn = turn_of_known(item, known);
            }
        }
        let rows: Vec<Row> =
            pick(items, &turns, |t| *t == Turn::New).into_iter().map(|i| i.row.clone()).collect();
        if !rows.is_empty() {
            messages::insert(&mut tx, &rows, false).await?;
            let ids: Vec<RowId> = rows.iter().map(Row::row_id).collect();
            notes::insert(&mut tx, note, &ids, self.clock.now()).await?;
        }
        notes::remove(&mut tx, &along).await?;
        tx.commit().await?;
        Ok(turns)
    }
}

/// What came of a message's script.
enum Written {
    Stored(Stored),
    KeyUsed(KeyRecord),
}

fn written(
    item: &Item,
    answer: (Status, Vec<Loser>),
    won: &HashSet<RowId>,
    mode: Mode,
) -> Result<Written, Error> {
    let id = MessageId(item.row.id);
    let (status, losers) = answer;
    let earlier = match status {
        Status::Unfilled => return Err(Error::unavailable("the inbox is still being filled")),
        Status::KeyUsed(record) => return Ok(Written::KeyUsed(record)),
        Status::Stored => None,
        Status::Present => Some(MessageState::Waiting),
        Status::Ended(state) => Some(state),
    };
    let count = |state| losers.iter().filter(|l| l.state == state && won.contains(&l.row)).count() as u32;
    let own = losers.iter().find(|l| l.row.id == id).map(|l| l.state);
    Ok(Written::Stored(Stored {
        id,
        state: own.or(earlier).unwrap_or(MessageState::Waiting),
        // The row is this put's; a fill or a repeat was only faster with Redis.
        repeated: earlier.is_some() && mode == Mode::Fast,
        collapsed: count(MessageState::Collapsed),
        overflowed: count(MessageState::Overflowed),
    }))
}

fn repeated(id: MessageId, state: MessageState) -> Stored {
    Stored { id, state, repeated: true, collapsed: 0, overflowed: 0 }
}

/// A put and its place in the group.
type Placed = (usize, Put);

/// Takes what can be stored at once: one durability, no id and no key twice, and nothing of an address after something of it that
/// has to wait.
fn divide(group: Vec<Placed>) -> (Vec<Placed>, Vec<Placed>) {
    let durability = group.first().map(|(_, p)| p.durability);
    let (mut ids, mut keys, mut waiting) = (HashSet::new(), HashSet::new(), HashSet::new());
    group.into_iter().partition(|(_, put)| {
        let key = put.idempotency.as_ref().map(|i| (put.address.clone(), i.key.clone()));
        // Those that have to wait count as well: what comes after them and meets them waits too.
        let new_id = ids.insert(put.message.id);
        let new_key = key.is_none_or(|k| keys.insert(k));
        let same_way = Some(put.durability) == durability;
        let now = new_id && new_key && same_way && !waiting.contains(&put.address);
        if !now {
            waiting.insert(put.address.clone());
        }
        now
    })
}

fn pick<'a>(items: &'a [Item], turns: &[Turn], which: impl Fn(&Turn) -> bool) -> Vec<&'a Item> {
    items.iter().zip(turns).filter(|(_, t)| which(t)).map(|(i, _)| i).collect()
}

fn turn_of(row: &Row, first: RowId, digest: &[u8]) -> Turn {
    if digest != row.digest {
        Turn::Conflict(OTHER_REQUEST)
    } else if first.id.0 == row.id {
        Turn::New
    } else {
        Turn::Repeat(first)
    }
}

fn turn_of_known(item: &Item, known: &messages::Known) -> Turn {
    if known.address == item.address { Turn::Repeat(known.row) } else { Turn::Conflict(OTHER_ADDRESS) }
}

type Key = (u32, Vec<u8>, Vec<u8>);

fn key_of(row: &Row) -> Key {
    (row.product, row.user.clone().into_bytes(), row.idempotency_key.clone().into_bytes())
}

/// Inserts the idempotency records of rows that have a key; one that is there stays.
pub(super) async fn insert_keys(c: &mut MySqlConnection, rows: &[&Row]) -> Result<(), sqlx::Error> {
    let mut keyed: Vec<&&Row> = rows.iter().filter(|r| !r.idempotency_key.is_empty()).collect();
    // Always in the same order, or two groups could wait for each other.
    keyed.sort_by_key(|r| key_of(r));
    for part in rungs(&keyed, |_| ROW_BYTES) {
        let text = format!(
            "INSERT INTO idempotency (product, user, idempotency_key, id, expire_day, digest) VALUES {} \
             ON DUPLICATE KEY UPDATE id = idempotency.id",
            sql::rows(6, part.len())
        );
        let mut insert = query(text);
        for row in part {
            insert = insert
                .bind(row.product)
                .bind(row.user.as_bytes())
                .bind(row.idempotency_key.as_bytes())
                .bind(row.id)
                .bind(row.row_id().day)
                .bind(&row.digest[..]);
        }
        insert.execute(&mut *c).await?;
    }
    Ok(())
}

const ROW_BYTES: usize = 300;

/// The idempotency records of these rows' keys: the first message under each, and its digest.
async fn read_keys(
    c: &mut MySqlConnection,
    rows: &[&Row],
) -> Result<HashMap<Key, (RowId, Vec<u8>)>, sqlx::Error> {
    let keyed: Vec<Key> = rows.iter().filter(|r| !r.idempotency_key.is_empty()).map(|r| key_of(r)).collect();
    let mut found = HashMap::new();
    for list in sql::padded(&keyed) {
        let condition = vec!["(product = ? AND user = ? AND idempotency_key = ?)"; list.len()].join(" OR ");
        let text = format!(
            "SELECT product, user, idempotency_key, id, expire_day, digest FROM idempotency WHERE {condition}"
        );
        let select = list
            .iter()
            .fold(query(text), |q, (product, user, key)| q.bind(*product).bind(&user[..]).bind(&key[..]));
        for row in select.fetch_all(&mut *c).await? {
            let key = (row.try_get("product")?, row.try_get("user")?, row.try_get("idempotency_key")?);
            found.insert(key, (messages::row_id(&row)?, row.try_get("digest")?));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use longline_pb::types::Message;

    use super::*;
    use crate::store::Idempotency;

    fn put(id: u64, user: &str, key: Option<&str>, durability: Durability) -> Put {
        Put {
            address: Address::new(1, user).unwrap(),
            message: Message { id, ..Message::default() },
            idempotency: key.map(|k| Idempotency { key: k.into(), digest: [0; 16] }),
            collapse_key: None,
            durability,
            inbox_limit: 0,
        }
    }

    fn turns(group: Vec<Put>) -> Vec<Vec<usize>> {
        let mut left: Vec<Placed> = group.into_iter().enumerate().collect();
        let mut turns = Vec::new();
        while !left.is_empty() {
            let (now, later) = divide(left);
            turns.push(now.into_iter().map(|(i, _)| i).collect());
            left = later;
        }
        turns
    }

    #[test]
    fn a_group_is_divided_where_one_item_depends_on_another() {
        use Durability::{Fast, Synced};
        let plain =
            vec![put(1, "a", None, Synced), put(2, "a", None, Synced), put(3, "b", Some("k"), Synced)];
        assert_eq!(turns(plain), [vec![0, 1, 2]]);
        let same_id = vec![put(1, "a", None, Synced), put(1, "a", None, Synced), put(2, "a", None, Synced)];
        assert_eq!(turns(same_id), [vec![0], vec![1, 2]], "the order of an address is kept");
        let same_key = vec![
            put(1, "a", Some("k"), Synced),
            put(2, "a", Some("k"), Synced),
            put(3, "b", Some("k"), Synced),
        ];
        assert_eq!(turns(same_key), [vec![0, 2], vec![1]]);
        let late_id = vec![
            put(1, "a", Some("k"), Synced),
            put(2, "a", Some("k"), Synced),
            put(3, "a", None, Synced),
            put(3, "b", None, Synced),
        ];
        assert_eq!(turns(late_id), [vec![0], vec![1, 2], vec![3]], "who names an id first has it");
        let mixed = vec![put(1, "a", None, Synced), put(2, "a", None, Fast), put(3, "a", None, Synced)];
        assert_eq!(turns(mixed), [vec![0], vec![1], vec![2]]);
    }
}
