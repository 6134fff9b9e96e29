use std::time::Duration;

use prometheus::proto;

use super::Number;

/// Upper bounds of the buckets, in nanoseconds: seven for each power of ten, from 10 µs to 10 s.
const BOUNDS: [u64; 43] = bounds();

const fn bounds() -> [u64; 43] {
    let steps = [10, 15, 20, 30, 40, 60, 80];
    let mut bounds = [0; 43];
    let (mut decade, mut place) = (1_000, 0);
    while place < bounds.len() {
        bounds[place] = steps[place % steps.len()] * decade;
        place += 1;
        if place % steps.len() == 0 {
            decade *= 10;
        }
    }
    bounds
}

/// Times that one thread measures and others read. Its buckets are fixed, so nothing is allocated and nothing is locked.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// By bound; the last one is of what took longer.
    counts: [Number; BOUNDS.len() + 1],
    /// In microseconds.
    sum_us: Number,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: std::array::from_fn(|_| Number::default()), sum_us: Number::default() }
    }
}

impl Histogram {
    /// So many things took this time each.
    pub(crate) fn observe(&self, time: Duration, count: u64) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[BOUNDS.partition_point(|bound| *bound < ns)].add(count);
        self.sum_us.add((ns / 1000).saturating_mul(count));
    }

    /// Those of several threads, added up.
    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Histogram> + Clone) -> proto::Histogram {
        let mut sum = proto::Histogram::default();
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (place, bound) in BOUNDS.iter().enumerate() {
            count += all.clone().map(|h| h.counts[place].read()).sum::<u64>();
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e9);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        count += all.clone().map(|h| h.counts[BOUNDS.len()].read()).sum::<u64>();
        sum.set_bucket(buckets);
        sum.set_sample_count(count);
        sum.set_sample_sum(all.map(|h| h.sum_us.read()).sum::<u64>() as f64 / 1e6);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_by_half_at_most_and_hold_the_targets() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1] && pair[1] * 2 <= pair[0] * 3));
        assert_eq!((BOUNDS[0], BOUNDS[42]), (10_000, 10_000_000_000));
        for target_ms in [1, 6] {
            assert!(BOUNDS.contains(&(target_ms * 1_000_000)), "p99.9 of a delivery: {target_ms} ms");
        }
    }

    #[test]
    fn each_time_is_counted_in_the_first_bucket_that_holds_it() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.observe(Duration::ZERO, 1);
        one.observe(Duration::from_millis(1), 3);
        other.observe(Duration::from_nanos(1_000_001), 2);
        other.observe(Duration::from_secs(11), 1);
        let sum = Histogram::sum([&one, &other].into_iter());
        let below = |bound: f64| {
            sum.get_bucket().iter().find(|b| b.upper_bound() == bound).map(proto::Bucket::cumulative_count)
        };
        assert_eq!([1e-5, 8e-4, 1e-3, 1.5e-3, 10.0].map(below), [1, 1, 4, 6, 6].map(Some));
        assert_eq!(sum.get_sample_count(), 7);
        assert!((sum.get_sample_sum() - 11.005).abs() < 1e-6, "{}", sum.get_sample_sum());
    }
}
