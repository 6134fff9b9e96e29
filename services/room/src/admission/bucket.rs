/// A rate with a burst, as the time at which everything taken so far is paid for (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// In microseconds.
    paid_at: u64,
}

impl Bucket {
    /// Takes one; if there is none left, says in how many microseconds there is.
    pub(crate) fn take(&mut self, now_us: u64, cost_us: u64, burst: u32) -> Result<(), u64> {
        let paid_at = self.paid_at.max(now_us) + cost_us;
        let allowed = cost_us.saturating_mul(burst.max(1).into());
        match (paid_at - now_us).checked_sub(allowed) {
            None | Some(0) => {
                self.paid_at = paid_at;
                Ok(())
            }
            Some(too_early) => Err(too_early),
        }
    }

    /// Whether everything is paid for: it is as good as new.
    pub(crate) fn is_full(&self, now_us: u64) -> bool {
        self.paid_at <= now_us
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In any span of time no more is given than the burst and what the rate gives in that time.
        #[test]
        fn never_more_than_burst_and_rate(
            cost in 1u64..50_000,
            burst in 0u32..100,
            pauses in proptest::collection::vec(0u64..100_000, 1..300),
        ) {
            let mut bucket = Bucket::default();
            let (mut now, mut taken) = (1_000_000, Vec::new());
            for pause in pauses {
                now += pause;
                match bucket.take(now, cost, burst) {
                    Ok(()) => taken.push(now),
                    Err(wait) => {
                        let mut later = bucket;
                        prop_assert!(wait > 0);
                        prop_assert!(later.take(now + wait - 1, cost, burst).is_err(), "not before it said");
                        prop_assert!(later.take(now + wait, cost, burst).is_ok(), "not later than it said");
                    }
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = u64::from(burst.max(1)) + (to - from).div_ceil(cost);
                    prop_assert!((last - first + 1) as u64 <= most, "{taken:?}");
                }
            }
        }
    }

    #[test]
    fn a_pause_saves_up_one_burst() {
        let mut bucket = Bucket::default();
        let mut takes = |now| (0..100).take_while(|_| bucket.take(now, 1000, 10).is_ok()).count();
        assert_eq!((takes(0), takes(0), takes(3000), takes(1_000_000)), (10, 0, 3, 10));
    }
}
