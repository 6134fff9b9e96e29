//! Randomness, the same for the same seed.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::time::Ms;

/// The first wait after a failure, and the longest.
const BACKOFF_MS: (Ms, Ms) = (200, 30_000);

/// A thread's source of randomness.
pub(crate) struct Chance(SmallRng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(SmallRng::seed_from_u64(seed))
    }

    /// A number within these, both included.
    pub(crate) fn between(&mut self, from: Ms, to: Ms) -> Ms {
        self.0.random_range(from..=to.max(from))
    }

    /// A number below this, 0 if there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.0.random_range(0..end) }
    }

    /// True in this share of the cases.
    pub(crate) fn happens(&mut self, share: f64) -> bool {
        self.0.random::<f64>() < share
    }

    /// The wait after `step` failures in a row: doubled each time, the upper half of it left to chance, so that devices that
    /// lost the same room do not come back together.
    pub(crate) fn backoff(&mut self, step: u8) -> Ms {
        let whole = BACKOFF_MS.0.saturating_mul(1 << step.min(20)).min(BACKOFF_MS.1);
        self.between(whole / 2, whole)
    }

    /// Random bytes.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// A number that follows from these two and looks random (splitmix64).
pub(crate) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same as a number from 0 to below 1.
pub(crate) fn fraction(seed: u64, number: u64) -> f64 {
    (mix(seed, number) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ() {
        let mut chance = Chance::new(1);
        for (step, whole) in [(0, 200), (1, 400), (4, 3_200), (8, 30_000), (255, 30_000)] {
            let waits: Vec<Ms> = (0..50).map(|_| chance.backoff(step)).collect();
            assert!(waits.iter().all(|wait| (whole / 2..=whole).contains(wait)), "{step}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let mut chance = Chance::new(seed);
            (0..10).map(|_| chance.between(0, 1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let below = (0..10_000).filter(|n| fraction(3, *n) < 0.25).count();
        assert!((2_300..2_700).contains(&below), "{below}");
    }

    #[test]
    fn edges_do_no_harm() {
        let mut chance = Chance::new(1);
        assert_eq!((chance.below(0), chance.below(1), chance.between(9, 3)), (0, 0, 9));
        assert!(!chance.happens(0.0) && chance.happens(1.0));
    }
}
