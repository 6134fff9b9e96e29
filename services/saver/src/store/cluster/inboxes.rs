//! Messages into and out of the inboxes in Redis.

use longline_types::{Address, Error, MessageId, MessageState, Slot};
use redis::Cmd;

use super::Core;
use super::keys;
use super::messages::{self, End, Ended};
use super::redis_link::{Link, bytes, list};
use super::row::{Row, RowId, day, hex, parse_expiry, unhex};
use super::scripts;

/// Keys of an inbox live this much longer than its messages, so that a clock that is off costs nothing.
const TTL_MARGIN_MS: u64 = 86_400_000;
/// How long a late repeat of a `fast` put finds how the message ended. Repeats of older ids ask the database.
pub(super) const TOMBSTONE_MS: u64 = 120_000;
/// How long Redis knows the idempotency record of a `fast` message; the database has it much sooner.
const KEY_TTL_MS: u64 = 3_600_000;

/// A message that another one pushed out of its inbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Loser {
    pub(super) slot: Slot,
    pub(super) row: RowId,
    /// Collapsed or overflowed.
    pub(super) state: MessageState,
}

/// What the inbox said to a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Status {
    /// The marks do not show that the inbox is complete; nothing was done (S4).
    Unfilled,
    /// It was added (and perhaps pushed out at once).
    Stored,
    /// It was there.
    Present,
    /// It has ended before.
    Ended(MessageState),
    /// Its idempotency key was used before.
    KeyUsed(KeyRecord),
}

/// An idempotency record in Redis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KeyRecord {
    pub(super) row: RowId,
    pub(super) digest: Vec<u8>,
}

/// How to add a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// The database has it; the inbox must be complete.
    Synced,
    /// The database will have it; the inbox must be complete.
    Fast,
    /// The database has it; the inbox is being completed.
    Fill,
}

/// The command that adds a message to its inbox.
pub(super) fn store(link: &Link, address: &Address, row: &Row, limit: u32, mode: Mode, now: u64) -> Cmd {
    let slot = address.slot();
    let fast = mode == Mode::Fast;
    let id = hex(MessageId(row.id));
    let mut command = scripts::STORE.call(&[
        keys::slot_mark(slot),
        keys::address_mark(address),
        keys::inbox(address),
        keys::endings(slot),
        keys::unflushed(slot),
        keys::idempotency(address, &row.idempotency_key),
        format!("{}{id}", keys::tombstones(slot)),
    ]);
    let keyed = fast && !row.idempotency_key.is_empty();
    command
        .arg(if mode == Mode::Fill { "" } else { &link.run_id })
        .arg(&id)
        .arg(row.record(fast))
        .arg(row.expires_at_ms.saturating_sub(now) + TTL_MARGIN_MS)
        .arg(limit)
        .arg(&row.collapse_key)
        .arg(if fast { row.packed() } else { Vec::new() })
        .arg(if keyed { key_record(row) } else { Vec::new() })
        .arg(KEY_TTL_MS);
    command
}

/// What [`store`] answered.
pub(super) fn stored(slot: Slot, answer: redis::Value) -> Result<(Status, Vec<Loser>), Error> {
    let senseless = || Error::internal("Redis gave an answer that makes no sense");
    let mut parts = list(answer).into_iter().map(bytes);
    let status = match parts.next().ok_or_else(senseless)?.as_slice() {
        b"unfilled" => Status::Unfilled,
        b"stored" => Status::Stored,
        b"present" => Status::Present,
        other => match (other.strip_prefix(b"ended:"), other.strip_prefix(b"key:")) {
            (Some(state), _) => Status::Ended(parse_state(state).ok_or_else(senseless)?),
            (_, Some(record)) => Status::KeyUsed(parse_key_record(record).ok_or_else(senseless)?),
            _ => return Err(senseless()),
        },
    };
    let mut losers = Vec::new();
    while let (Some(id), Some(state), Some(expiry)) = (parts.next(), parts.next(), parts.next()) {
        losers.push(loser(slot, &id, &state, &expiry).ok_or_else(senseless)?);
    }
    Ok((status, losers))
}

/// The command that takes ended messages out of an inbox.
pub(super) fn remove(address: &Address, ended: &[(MessageId, MessageState)]) -> Cmd {
    let mut command = scripts::REMOVE.call(&[keys::inbox(address)]);
    command.arg(keys::tombstones(address.slot())).arg(TOMBSTONE_MS);
    for (id, state) in ended {
        command.arg(hex(*id)).arg(*state as u8);
    }
    command
}

/// The idempotency record of a message, as Redis keeps it: id, expiry, digest.
fn key_record(row: &Row) -> Vec<u8> {
    let head = format!("{}{}", hex(MessageId(row.id)), super::row::expiry(row.expires_at_ms));
    [head.as_bytes(), &row.digest].concat()
}

/// The record of [`key_record`].
pub(super) fn parse_key_record(record: &[u8]) -> Option<KeyRecord> {
    let (id, rest) = record.split_at_checked(16)?;
    let (expiry, digest) = rest.split_at_checked(12)?;
    Some(KeyRecord {
        row: RowId { id: unhex(id)?, day: day(parse_expiry(expiry)?) },
        digest: digest.to_vec(),
    })
}

fn parse_state(digit: &[u8]) -> Option<MessageState> {
    MessageState::from_number(std::str::from_utf8(digit).ok()?.parse().ok()?)
}

/// An entry of `endings`: state (one digit), then expiry.
fn parse_ending(slot: Slot, id: &[u8], value: &[u8]) -> Option<Loser> {
    let (state, expiry) = value.split_at_checked(1)?;
    loser(slot, id, state, expiry)
}

fn loser(slot: Slot, id: &[u8], state: &[u8], expiry: &[u8]) -> Option<Loser> {
    Some(Loser {
        slot,
        row: RowId { id: unhex(id)?, day: day(parse_expiry(expiry)?) },
        state: parse_state(state)?,
    })
}

impl Core {
    /// Adds waiting rows of the database to their inboxes. A row may end between its reading and its adding, unseen by Redis;
    /// since every ending is committed before Redis is told, looking at the rows again afterwards finds each of these.
    pub(super) async fn add(&self, link: &Link, rows: &[Row]) -> Result<(), Error> {
        let now = self.clock.now();
        let rows: Vec<(Address, &Row)> = rows.iter().filter_map(|r| Some((r.address()?, r))).collect();
        let commands =
            rows.iter().map(|(address, row)| store(link, address, row, 0, Mode::Fill, now)).collect();
        let mut losers = Vec::new();
        for ((address, _), answer) in rows.iter().zip(link.run(commands).await?) {
            losers.extend(stored(address.slot(), answer?)?.1);
        }
        self.settle(link, &losers).await?;
        let ids: Vec<RowId> = rows.iter().map(|(_, row)| row.row_id()).collect();
        let known = self.look_up(&ids).await?;
        let ended = known.into_values().filter(|k| k.state != MessageState::Waiting);
        self.take_out(link, ended.map(|k| (k.address, k.row.id, k.state))).await
    }

    /// Brings the inboxes in line with these rows, whatever their state.
    pub(super) async fn restore(&self, link: &Link, ids: &[RowId]) -> Result<(), Error> {
        let rows = self.sql.run(messages::full(&self.sql, ids)).await?;
        let (waiting, ended): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, state)| *state == MessageState::Waiting);
        let now = self.clock.now();
        let waiting: Vec<Row> =
            waiting.into_iter().map(|(r, _)| r).filter(|r| r.expires_at_ms > now).collect();
        self.add(link, &waiting).await?;
        let ended = ended.into_iter().filter_map(|(r, state)| Some((r.address()?, MessageId(r.id), state)));
        self.take_out(link, ended).await
    }

    /// Takes ended messages out of their inboxes.
    pub(super) async fn take_out(
        &self,
        link: &Link,
        ended: impl Iterator<Item = (Address, MessageId, MessageState)>,
    ) -> Result<(), Error> {
        let commands: Vec<Cmd> = ended.map(|(address, id, state)| remove(&address, &[(id, state)])).collect();
        link.run(commands).await?.into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Tells the database of messages that were pushed out of their inboxes, then Redis that it knows. Returns those that ended by
    /// it (others had ended before).
    pub(super) async fn settle(&self, link: &Link, losers: &[Loser]) -> Result<Vec<RowId>, Error> {
        if losers.is_empty() {
            return Ok(Vec::new());
        }
        let ends = losers.iter().map(|l| End {
            row: l.row,
            state: l.state,
            address: None,
            written_at_ms: 0,
            written_by: 0,
        });
        let ends: Vec<End> = ends.collect();
        let slots: Vec<Slot> = losers.iter().map(|l| l.slot).collect();
        let outcomes = self.end_rows(link, &ends, &slots, None).await?;
        let told = losers.iter().map(|l| {
            let mut command = redis::cmd("HDEL");
            command.arg(keys::endings(l.slot)).arg(hex(l.row.id));
            command
        });
        link.run(told.collect()).await?;
        let won = losers.iter().zip(outcomes).filter(|(_, o)| matches!(o, Ended::Now(_)));
        Ok(won.map(|(l, _)| l.row).collect())
    }

    /// Settles what a saver that died left in a slot's `endings`.
    pub(super) async fn settle_slot(&self, link: &Link, slot: Slot) -> Result<(), Error> {
        let mut command = redis::cmd("HGETALL");
        command.arg(keys::endings(slot));
        let fields: Vec<Vec<u8>> = list(link.one(command).await?).into_iter().map(bytes).collect();
        let losers = fields.chunks_exact(2).filter_map(|f| parse_ending(slot, &f[0], &f[1]));
        self.settle(link, &losers.collect::<Vec<_>>()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_records_give_back_what_went_in() {
        let row = Row { id: 77, expires_at_ms: 86_400_000 * 3, digest: vec![9; 16], ..Row::default() };
        let record = parse_key_record(&key_record(&row)).unwrap();
        assert_eq!(record, KeyRecord { row: RowId { id: MessageId(77), day: 3 }, digest: vec![9; 16] });
        assert_eq!(parse_key_record(b"short"), None);
    }

    #[test]
    fn endings_give_back_what_went_in() {
        let slot = Slot::new(5).unwrap();
        let value = format!("4{}", super::super::row::expiry(86_400_000 * 3));
        let loser = parse_ending(slot, hex(MessageId(77)).as_bytes(), value.as_bytes()).unwrap();
        assert_eq!(loser.state, MessageState::Collapsed);
        assert_eq!(loser.row, RowId { id: MessageId(77), day: 3 });
        assert_eq!(parse_ending(slot, b"x", b""), None);
    }
}
