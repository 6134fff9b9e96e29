//! Filling Redis from MySQL (S4).
//!
//! What Redis holds of a slot is believed only if the slot's mark is the run id of the process that answers. The mark is missing or
//! another's after a restart, a failover, a rollback, FLUSHALL. Then the slot is filled in the background, and an address that is
//! asked for meanwhile is filled at once, with a mark of its own. A fill begins by writing a token into the mark and ends by
//! replacing exactly that token, so that whatever empties Redis in between undoes it.

use std::time::Duration;

use futures::StreamExt as _;
use longline_types::{Address, Error, Slot};
use redis::{Cmd, Value};
use tokio::time::sleep;

use super::Core;
use super::keys;
use super::messages::{self, Waiting};
use super::redis_link::{Link, bytes, number};
use super::row::day;
use super::scripts;

/// Names of rows read at once.
const NAMES: usize = 16_384;
/// Rows read at once.
const ROWS: usize = 256;
/// Slots filled together.
const RANGE: usize = 16;
/// After this a fill that stands still may be begun by another.
const LEASE_MS: u64 = 15_000;
/// How long an address counts as filled by itself; its slot will be by then.
const ADDRESS_MS: u64 = 60_000;
/// Addresses filled at once for one caller.
const AT_ONCE: usize = 8;
/// Looks at an address that another fills, before it is taken over.
const PATIENCE: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

#[derive(PartialEq, Eq)]
enum Claim {
    Filled,
    Busy,
    Claimed,
}

impl Core {
    /// Fills the addresses whose slots are not known to be filled. Returns when each is filled, or cannot be.
    pub(super) async fn ensure_filled(
        &self,
        link: &Link,
        addresses: impl Iterator<Item = &Address>,
    ) -> Result<(), Error> {
        let mut unsure: Vec<Address> = addresses.filter(|a| !link.seen_filled(a.slot())).cloned().collect();
        unsure.sort();
        unsure.dedup();
        let fills = unsure.into_iter().map(|address| async move { self.fill_address(link, &address).await });
        let mut fills = futures::stream::iter(fills).buffer_unordered(AT_ONCE);
        while let Some(outcome) = fills.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn fill_address(&self, link: &Link, address: &Address) -> Result<(), Error> {
        let (own_mark, slot_mark) = (keys::address_mark(address), keys::slot_mark(address.slot()));
        for look in 0..=PATIENCE {
            let token = token();
            let answer = link.one(claim(link, &own_mark, &slot_mark, &token, look == PATIENCE)).await?;
            match claimed_by(answer) {
                Claim::Filled => return Ok(()),
                Claim::Busy => sleep(PAUSE).await,
                Claim::Claimed => {
                    let high = address.key().high;
                    let mut after = None;
                    loop {
                        // Another address may share the upper half of the hash; it does no harm.
                        let names = self.waiting(high..=high, after).await?;
                        self.fill_rows(link, &names).await?;
                        if names.len() < NAMES {
                            break;
                        }
                        after = names.last().copied();
                    }
                    let answer = link.one(mark(&own_mark, &token, &link.run_id, ADDRESS_MS)).await?;
                    if number(&answer) == 1 {
                        return Ok(());
                    }
                }
            }
        }
        Err(Error::unavailable("the inbox is still being filled"))
    }

    /// Fills slots that nobody else is filling, a range at a time.
    pub(super) async fn fill_slots(&self, link: &Link, slots: &[Slot]) -> Result<(), Error> {
        for range in slots.chunks(RANGE) {
            let token = token();
            let mut claimed = Vec::new();
            let claims =
                range.iter().map(|s| claim(link, &keys::slot_mark(*s), &keys::slot_mark(*s), &token, false));
            for (slot, answer) in range.iter().zip(link.run(claims.collect()).await?) {
                match claimed_by(answer?) {
                    Claim::Filled => link.note_filled(*slot, true),
                    Claim::Busy => {}
                    Claim::Claimed => claimed.push(*slot),
                }
            }
            // Runs of neighbours are one range of hashes.
            for run in claimed.chunk_by(|a, b| a.index() + 1 == b.index()) {
                self.fill_run(link, run, &token).await?;
            }
        }
        Ok(())
    }

    async fn fill_run(&self, link: &Link, run: &[Slot], token: &str) -> Result<(), Error> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let highs = first_high(*first)..=last_high(*last);
        let mut left = run;
        let mut after = None;
        loop {
            let names = self.waiting(highs.clone(), after).await?;
            for rows in names.chunks(ROWS) {
                self.fill_rows(link, rows).await?;
                let leases = left.iter().map(|s| mark(&keys::slot_mark(*s), token, "", LEASE_MS));
                link.run(leases.collect()).await?;
            }
            after = names.last().copied();
            let at_end = names.len() < NAMES;
            // Slots that the scan has passed are filled.
            let passed = after
                .filter(|_| !at_end)
                .map_or(left.len(), |last| left.iter().take_while(|s| last_high(**s) < last.high).count());
            let (filled, rest) = left.split_at(passed);
            let marks = filled.iter().map(|s| mark(&keys::slot_mark(*s), token, &link.run_id, 0));
            for (slot, answer) in filled.iter().zip(link.run(marks.collect()).await?) {
                link.note_filled(*slot, number(&answer?) == 1);
            }
            left = rest;
            if at_end {
                return Ok(());
            }
        }
    }

    async fn waiting(
        &self,
        highs: std::ops::RangeInclusive<u64>,
        after: Option<Waiting>,
    ) -> Result<Vec<Waiting>, Error> {
        let today = day(self.clock.now());
        self.sql.run(messages::waiting(&self.sql, highs, after, today, NAMES as u32)).await
    }

    async fn fill_rows(&self, link: &Link, names: &[Waiting]) -> Result<(), Error> {
        for names in names.chunks(ROWS) {
            self.restore(link, &names.iter().map(|n| n.row).collect::<Vec<_>>()).await?;
        }
        Ok(())
    }
}

/// The command that begins a fill, unless `mark` or `other` shows that it is needless.
fn claim(link: &Link, mark: &str, other: &str, token: &str, take_over: bool) -> Cmd {
    let mut command = scripts::CLAIM.call(&[mark, other]);
    command.arg(&link.run_id).arg(token).arg(LEASE_MS).arg(u8::from(take_over));
    command
}

fn claimed_by(answer: Value) -> Claim {
    match bytes(answer).as_slice() {
        b"filled" => Claim::Filled,
        b"claimed" => Claim::Claimed,
        _ => Claim::Busy,
    }
}

/// The command that ends a fill (`value` is the run id) or prolongs it (`value` is empty), if it is still the token's.
fn mark(mark: &str, token: &str, value: &str, ttl_ms: u64) -> Cmd {
    let mut command = scripts::MARK.call(&[mark]);
    command.arg(token).arg(value).arg(ttl_ms);
    command
}

fn token() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// The lowest upper half of a hash in the slot.
fn first_high(slot: Slot) -> u64 {
    (slot.index() as u64) << 52
}

/// The highest upper half of a hash in the slot.
fn last_high(slot: Slot) -> u64 {
    first_high(slot) | ((1 << 52) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_in_its_slots_range() {
        for i in 0..1000 {
            let key = Address::new(i, "alice").unwrap().key();
            assert!((first_high(key.slot())..=last_high(key.slot())).contains(&key.high));
        }
        assert_eq!(last_high(Slot::new(4095).unwrap()), u64::MAX);
    }
}
