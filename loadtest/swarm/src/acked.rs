//! Which uplinks the room said OK to.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Sequences of this agent's uplinks that are safe, told by rooms: a bit each. The user of an uplink is in its header.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct AckedUplinks {
    words: Vec<u64>,
}

impl AckedUplinks {
    /// Adds a sequence; says whether it is new. Sequences are given one after the other, so that the bits are dense.
    pub(crate) fn insert(&mut self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// Whether the room said OK to this sequence.
    pub fn contains(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bits, 64 to a word, the lowest first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The sequences in order, as ranges.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for sequence in (0..self.words.len() as u64 * 64).filter(|sequence| self.contains(*sequence)) {
            match ranges.last_mut() {
                Some(last) if last.end == sequence => last.end += 1,
                _ => ranges.push(sequence..sequence + 1),
            }
        }
        ranges
    }
}

fn place(sequence: u64) -> (usize, u64) {
    ((sequence / 64) as usize, 1 << (sequence % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_kept_once_and_told_as_ranges() {
        let mut acked = AckedUplinks::default();
        assert!(acked.is_empty());
        for sequence in [1, 2, 63, 64, 65, 200] {
            assert!(acked.insert(sequence));
            assert!(!acked.insert(sequence));
        }
        assert_eq!(acked.len(), 6);
        assert!(acked.contains(64) && !acked.contains(3) && !acked.contains(1 << 40));
        assert_eq!(acked.ranges(), [1..3, 63..66, 200..201]);
    }
}
