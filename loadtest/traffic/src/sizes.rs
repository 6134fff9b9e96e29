//! How long payloads are.

use longline_load_truth::Header;

use crate::walk::Random;

/// Longest payload that the API takes, in bytes.
const LONGEST: usize = 64 * 1024;

/// Draws lengths by their shares.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// Each length with the sum of the shares up to it, which is 1 for the last.
    steps: Vec<(u32, f64)>,
    random: Random,
}

impl Sizes {
    /// Shares count relative to their sum. A payload is never shorter than its header, nor longer than the API takes.
    pub(crate) fn new(sizes: &[(usize, f64)], seed: u64) -> Sizes {
        let shares = || sizes.iter().filter(|(_, share)| *share > 0.0);
        let total: f64 = shares().map(|(_, share)| share).sum();
        let mut sum = 0.0;
        let step = |(bytes, share): &(usize, f64)| {
            sum += share / total;
            ((*bytes).clamp(Header::LEN, LONGEST) as u32, sum)
        };
        Sizes { steps: shares().map(step).collect(), random: Random::new(seed) }
    }

    /// The next payload's length in bytes.
    pub(crate) fn next(&mut self) -> u32 {
        let shortest = Header::LEN as u32;
        let [.., (last, _)] = self.steps[..] else { return shortest };
        if self.steps.len() == 1 {
            return last;
        }
        let drawn = self.random.fraction();
        self.steps.iter().find(|(_, sum)| drawn < *sum).map_or(last, |(bytes, _)| *bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_come_by_their_shares() {
        let mut sizes = Sizes::new(&[(100, 8.0), (50, 0.0), (1000, 2.0)], 3);
        let drawn: Vec<u32> = (0..10_000).map(|_| sizes.next()).collect();
        let short = drawn.iter().filter(|n| **n == 100).count();
        assert!((7_800..8_200).contains(&short), "{short}");
        assert_eq!(drawn.iter().filter(|n| **n == 1000).count(), 10_000 - short);
    }

    #[test]
    fn the_header_always_fits_and_so_does_the_api() {
        assert_eq!(Sizes::new(&[(1, 1.0)], 0).next(), Header::LEN as u32);
        assert_eq!(Sizes::new(&[], 0).next(), Header::LEN as u32);
        assert_eq!(Sizes::new(&[(1 << 20, 1.0)], 0).next(), 65_536);
    }
}
