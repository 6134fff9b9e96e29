//! The unicasts of a shard by number: in chunks while they are young, and only those that are still open after that.

use std::collections::HashMap;

use super::entry::Entry;
use super::tick::{SECOND, Tick};

/// Entries of a chunk.
const CHUNK: usize = 1_024;
/// A chunk is dissolved when no more than this many of its entries are open.
const FEW: usize = CHUNK / 8;
/// How long a chunk that cannot be dissolved is left alone, at most.
const LONGEST_WAIT: Tick = 30 * SECOND;
/// How often the stragglers are looked through.
const STRAGGLERS: Tick = 5 * SECOND;

/// The entries. One that has ended takes 1/128 byte.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// A chunk that was dissolved is `None`: what is not among the stragglers has ended.
    chunks: Vec<Option<Box<Chunk>>>,
    /// The full chunks that are not dissolved.
    full: Vec<u32>,
    stragglers: HashMap<u64, Entry>,
    stragglers_at: Tick,
    count: u64,
}

#[derive(Debug)]
struct Chunk {
    entries: Vec<Entry>,
    look_at: Tick,
    wait: Tick,
}

/// What there is under a number.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Entry(&'a mut Entry),
    /// It was there and has ended.
    Ended,
    /// There never was one.
    Nothing,
}

impl Entries {
    /// Adds an entry. Answers its number.
    pub(super) fn push(&mut self, entry: Entry) -> u64 {
        if self.is_full() {
            let entries = Vec::with_capacity(CHUNK);
            self.chunks.push(Some(Box::new(Chunk { entries, look_at: 0, wait: SECOND })));
        }
        if let Some(Some(chunk)) = self.chunks.last_mut() {
            chunk.entries.push(entry);
        }
        self.count += 1;
        if self.is_full() {
            self.full.push(self.chunks.len() as u32 - 1);
        }
        self.count - 1
    }

    /// The next entry opens a chunk: a moment to sweep.
    pub(super) fn is_full(&self) -> bool {
        self.count.is_multiple_of(CHUNK as u64)
    }

    /// How many were added.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether it was there and is forgotten.
    pub(super) fn has_ended(&self, number: u64) -> bool {
        let dissolved = self.chunks.get((number / CHUNK as u64) as usize).is_some_and(Option::is_none);
        dissolved && !self.stragglers.contains_key(&number)
    }

    pub(super) fn find(&mut self, number: u64) -> Found<'_> {
        if number >= self.count {
            return Found::Nothing;
        }
        let (index, place) = (number / CHUNK as u64, number % CHUNK as u64);
        let found = match self.chunks.get_mut(index as usize) {
            Some(Some(chunk)) => chunk.entries.get_mut(place as usize),
            _ => self.stragglers.get_mut(&number),
        };
        found.map_or(Found::Ended, Found::Entry)
    }

    /// Forgets what has ended. `first_look`: how old a full chunk must be before it is looked at.
    pub(super) fn sweep(&mut self, now: Tick, first_look: Tick, is_open: impl Fn(&mut Entry) -> bool) {
        let Entries { chunks, full, stragglers, stragglers_at, .. } = self;
        full.retain(|&index| {
            let place = &mut chunks[index as usize];
            let dissolved = match place {
                Some(chunk) => chunk.dissolve(now, first_look, u64::from(index), stragglers, &is_open),
                None => true,
            };
            if dissolved {
                *place = None;
            }
            !dissolved
        });
        if now >= *stragglers_at {
            stragglers.retain(|_, entry| is_open(entry));
            if stragglers.capacity() > 4 * stragglers.len() {
                stragglers.shrink_to(2 * stragglers.len());
            }
            *stragglers_at = now + STRAGGLERS;
        }
    }

    /// All that are kept, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let chunks = (0..).zip(&self.chunks).filter_map(|(index, chunk)| Some((index, chunk.as_ref()?)));
        let young = chunks.flat_map(|(index, chunk)| (index * CHUNK as u64..).zip(&chunk.entries));
        young.chain(self.stragglers.iter().map(|(number, entry)| (*number, entry)))
    }
}

impl Chunk {
    /// Moves the open entries out if they are few. Answers whether they were.
    fn dissolve(
        &mut self,
        now: Tick,
        first_look: Tick,
        index: u64,
        stragglers: &mut HashMap<u64, Entry>,
        is_open: impl Fn(&mut Entry) -> bool,
    ) -> bool {
        if self.look_at == 0 {
            self.look_at = now + first_look;
        }
        if now < self.look_at {
            return false;
        }
        if self.entries.iter_mut().filter_map(|entry| is_open(entry).then_some(())).count() > FEW {
            self.look_at = now + self.wait;
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
            return false;
        }
        let numbered = (index * CHUNK as u64..).zip(self.entries.drain(..));
        stragglers.extend(
            numbered.filter_map(|(number, mut entry)| is_open(&mut entry).then_some((number, entry))),
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tick::Rules;
    use crate::ledger::{LedgerOptions, Plan};
    use crate::{Clock, Graces};

    const LAST: u64 = 3 * CHUNK as u64 + 9;

    /// Three full chunks and a part of one; the entries' ids are their numbers.
    fn filled() -> Entries {
        let options =
            LedgerOptions { run: 1, agent: 1, users: 0..1, clock: Clock::new(), graces: Graces::default() };
        let rules = Rules::new(&options);
        let mut entries = Entries::default();
        for number in 0..=LAST {
            let mut entry =
                Entry::new(&Plan { user: 0, due: 0, stream: 0, transient: false, expires: None }, 0, &rules);
            entry.id = number;
            assert_eq!(entries.push(entry), number);
        }
        entries
    }

    fn id(entries: &mut Entries, number: u64) -> Result<u64, &'static str> {
        match entries.find(number) {
            Found::Entry(entry) => Ok(entry.id),
            Found::Ended => Err("ended"),
            Found::Nothing => Err("nothing"),
        }
    }

    #[test]
    fn what_ended_is_forgotten_and_the_rest_is_found() {
        let mut entries = filled();
        let open = |entry: &mut Entry| entry.id.is_multiple_of(100);
        entries.sweep(1_000, 500, open);
        assert_eq!(id(&mut entries, 5), Ok(5), "younger than the graces");
        entries.sweep(1_500, 500, open);
        assert_eq!(id(&mut entries, 5), Err("ended"));
        assert_eq!(id(&mut entries, 2_000), Ok(2_000));
        assert_eq!(id(&mut entries, LAST), Ok(LAST), "its chunk is not full");
        assert_eq!(id(&mut entries, LAST + 1), Err("nothing"));
        let mut kept: Vec<u64> =
            entries.iter().map(|(number, entry)| (number == entry.id, number).1).collect();
        kept.sort_unstable();
        let expected: Vec<u64> = (0..3_072).step_by(100).chain(3_072..=LAST).collect();
        assert_eq!(kept, expected);
        entries.sweep(9_000, 500, |entry| entry.id == 100);
        assert_eq!((id(&mut entries, 100), id(&mut entries, 200)), (Ok(100), Err("ended")));
    }

    #[test]
    fn chunks_with_many_open_entries_stay_as_they_are() {
        let mut entries = filled();
        for now in [1, 1_001, 2_001, 9_000] {
            entries.sweep(now, 500, |entry| entry.id < 1_024);
        }
        assert!(entries.stragglers.is_empty());
        assert_eq!(entries.full, [0]);
        assert_eq!((id(&mut entries, 7), id(&mut entries, 1_024)), (Ok(7), Err("ended")));
        entries.sweep(100_000, 500, |_| false);
        assert!(entries.full.is_empty());
    }
}
