//! Randomness for waits (xorshift; not for secrets), and the waits that grow with it.

/// A source of random waits, deterministic by its seed.
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Jitter {
        Jitter(seed | 1)
    }

    /// 0 to `bound`, inclusive.
    pub(crate) fn up_to(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % (bound + 1)
    }

    /// Three quarters of `span` to all of it: a period that does not keep step, and never is longer than promised.
    pub(crate) fn period(&mut self, span: u64) -> u64 {
        span - self.up_to(span / 4)
    }

    /// The wait after this many failures in a row (1: the first): doubles from `first` up to `longest`, at least half of it.
    pub(crate) fn backoff(&mut self, failures: u8, first: u32, longest: u32) -> u64 {
        let factor = 1u64 << failures.saturating_sub(1).min(31);
        let wait = u64::from(first).saturating_mul(factor).min(u64::from(longest)).max(1);
        wait - self.up_to(wait / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_never_longer_than_promised_d2() {
        let mut jitter = Jitter::new(7);
        let periods: Vec<u64> = (0..1000).map(|_| jitter.period(1000)).collect();
        assert!(periods.iter().all(|p| (750..=1000).contains(p)));
        assert!(periods.iter().min() < Some(&770) && periods.iter().max() > Some(&980), "they spread");
        assert_eq!(jitter.period(0), 0);
    }

    #[test]
    fn a_backoff_doubles_up_to_its_limit_d4() {
        let mut jitter = Jitter::new(7);
        for (failures, wait) in [(0, 100), (1, 100), (2, 200), (3, 400), (5, 1000), (255, 1000)] {
            for _ in 0..50 {
                assert!((wait / 2..=wait).contains(&jitter.backoff(failures, 100, 1000)));
            }
        }
        assert_eq!(jitter.backoff(3, 0, 0), 1, "never at once");
    }
}
