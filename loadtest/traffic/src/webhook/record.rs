//! Which uplinks came.

use std::collections::BTreeMap;

use longline_load_truth::{Header, Kind};
use serde::{Deserialize, Serialize};

/// What the webhook was told.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// By run and agent.
    agents: BTreeMap<(u32, u16), Agent>,
    /// Uplinks that came, each once.
    pub received: u64,
    /// Uplinks that came again. Callbacks are made at least once: a repeat is no fault by itself.
    pub repeated: u64,
    /// Callbacks of other kinds, such as presence.
    pub others: u64,
    /// Calls without a right signature.
    pub forged: u64,
    /// Calls that are no callback, or no uplink of the load tester's.
    pub unreadable: u64,
    /// Calls answered with 500 on purpose.
    pub refused: u64,
}

/// The uplinks of one agent's devices, a bit each.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Agent {
    words: Vec<u64>,
}

/// Agents and runs that are told apart; more are unreadable.
const MOST_AGENTS: usize = 4096;
/// Sequences run below this: an agent's bitmap is at most 32 MiB.
const SEQUENCES: u64 = 1 << 28;

impl Record {
    /// Takes an uplink down by its payload.
    pub(crate) fn add(&mut self, payload: &[u8]) {
        let header =
            Header::read(payload).filter(|header| header.kind == Kind::Uplink && header.sequence < SEQUENCES);
        let Some(header) = header else {
            self.unreadable += 1;
            return;
        };
        let key = (header.run, header.agent);
        if self.agents.len() >= MOST_AGENTS && !self.agents.contains_key(&key) {
            self.unreadable += 1;
            return;
        }
        let is_new = self.agents.entry(key).or_default().insert(header.sequence);
        *if is_new { &mut self.received } else { &mut self.repeated } += 1;
    }

    /// How many of these uplinks of a run's agent have not come. `acked`: a bit for each sequence that a room said OK to,
    /// 64 to a word, the lowest bit first.
    pub fn missing(&self, run: u32, agent: u16, acked: &[u64]) -> u64 {
        let came = self.agents.get(&(run, agent)).map_or(&[][..], |agent| &agent.words);
        let word = |place: usize| came.get(place).copied().unwrap_or(0);
        acked.iter().enumerate().map(|(place, bits)| u64::from((bits & !word(place)).count_ones())).sum()
    }

    /// Up to `limit` of the sequences that [`missing`](Record::missing) counts, in order.
    pub fn examples(&self, run: u32, agent: u16, acked: &[u64], limit: usize) -> Vec<u64> {
        let came = self.agents.get(&(run, agent));
        let bits = |place: usize| (0..64).filter(move |bit| acked[place] >> bit & 1 == 1);
        let sequences =
            (0..acked.len()).flat_map(|place| bits(place).map(move |bit| place as u64 * 64 + bit));
        sequences
            .filter(|sequence| !came.is_some_and(|agent| agent.contains(*sequence)))
            .take(limit)
            .collect()
    }
}

impl Agent {
    /// Answers whether it is new.
    fn insert(&mut self, sequence: u64) -> bool {
        let (place, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if self.words.len() <= place {
            self.words.resize(place + 1, 0);
        }
        let is_new = self.words[place] & bit == 0;
        self.words[place] |= bit;
        is_new
    }

    fn contains(&self, sequence: u64) -> bool {
        self.words.get((sequence / 64) as usize).is_some_and(|word| word >> (sequence % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(agent: u16, sequence: u64) -> Vec<u8> {
        let header = Header { run: 1, agent, kind: Kind::Uplink, user: 0, sequence, due: 0 };
        let mut payload = Vec::new();
        header.payload(40, &mut payload);
        payload
    }

    #[test]
    fn what_was_acknowledged_and_never_came_is_missing() {
        let mut record = Record::default();
        for sequence in [0, 1, 63, 64, 200] {
            record.add(&payload(3, sequence));
        }
        record.add(&payload(3, 1));
        record.add(&payload(4, 2));
        assert_eq!((record.received, record.repeated), (6, 1));
        let acked = [1 << 0 | 1 << 2 | 1 << 63, 1 << 0, 0, 1 << 8, 0b101];
        assert_eq!(record.missing(1, 3, &acked), 3);
        assert_eq!(record.examples(1, 3, &acked, 2), [2, 256]);
        assert_eq!(record.missing(1, 4, &[0b111]), 2);
        assert_eq!((record.missing(1, 5, &[0b111]), record.missing(2, 3, &[0b111])), (3, 3));
    }

    #[test]
    fn what_cannot_be_the_testers_is_counted_apart() {
        let mut record = Record::default();
        record.add(b"hello");
        record.add(&payload(1, SEQUENCES));
        let unicast = Header { run: 1, agent: 1, kind: Kind::Unicast, user: 0, sequence: 1, due: 0 };
        let mut bytes = Vec::new();
        unicast.payload(40, &mut bytes);
        record.add(&bytes);
        assert_eq!((record.unreadable, record.received), (3, 0));
    }
}
