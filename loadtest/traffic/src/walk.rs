//! A pseudo-random walk over a range of users that keeps no list of them.

/// Visits every number below `size` once a round, in an order of the seed's, the same one each round.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    size: u64,
    /// One less than the power of two that holds `size`.
    mask: u64,
    keys: [u64; ROUNDS],
    step: u64,
}

const ROUNDS: usize = 3;

impl Walk {
    /// A walk over `0..size`; `size` is at least 1.
    pub(crate) fn new(size: u32, seed: u64) -> Walk {
        let size = u64::from(size.max(1));
        let mut random = Random::new(seed);
        let keys = std::array::from_fn(|_| random.next());
        Walk { size, mask: size.next_power_of_two() - 1, keys, step: 0 }
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u32 {
        loop {
            let place = self.mixed(self.step);
            self.step = (self.step + 1) & self.mask;
            // More than half of the places are below the size.
            if place < self.size {
                return place as u32;
            }
        }
    }

    /// A bijection on the bits of the mask: each round multiplies by an odd number, adds, and folds the high half down.
    fn mixed(&self, step: u64) -> u64 {
        let fold = (self.mask.count_ones() / 2 + 1).min(31);
        self.keys.iter().fold(step, |x, key| {
            let x = x.wrapping_mul(key | 1).wrapping_add(key >> 32) & self.mask;
            x ^ (x >> fold)
        })
    }
}

/// SplitMix64: cheap, and good enough to choose sizes and orders.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, but not including, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(walk: &mut Walk, size: u32) -> Vec<u32> {
        (0..size).map(|_| walk.next()).collect()
    }

    #[test]
    fn everybody_gets_a_turn_each_round() {
        for size in [1, 2, 3, 7, 8, 9, 1000, 1024, 20_001] {
            let mut walk = Walk::new(size, 42);
            for _ in 0..3 {
                let mut seen = round(&mut walk, size);
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..size), "of {size}");
            }
        }
    }

    #[test]
    fn rounds_repeat_so_that_turns_are_evenly_apart() {
        let mut walk = Walk::new(100, 7);
        assert_eq!(round(&mut walk, 100), round(&mut walk, 100));
    }

    #[test]
    fn the_order_is_the_seeds_and_looks_like_none() {
        let (one, other) = (round(&mut Walk::new(1000, 1), 1000), round(&mut Walk::new(1000, 2), 1000));
        assert_ne!(one, other);
        let rising = one.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((400..600).contains(&rising), "{rising} of 999 neighbours rise");
    }
}
