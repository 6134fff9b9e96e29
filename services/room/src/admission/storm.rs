//! Storms: everybody comes at the same moment. Some are served, and the others are told when to come back.

use super::{AdmissionConfig, Bucket};
use crate::session::Jitter;

/// Sessions a second that the whole room is taken to begin, if it has not shown more of late.
const LEAST_PACE: f64 = 100.0;

/// A shard's part of the room's pace, and when those who were turned away are expected back.
///
/// Everybody who is turned away gets the next free appointment, one after the other at the pace at which sessions begin. So waits grow
/// with the number of those who wait, are spread as evenly as can be, and shrink by themselves as time passes. (A device adds a random
/// part of up to as long again, so 69 % of the pace come back at a time; the rest of it is for those who come for the first time.)
#[derive(Debug)]
pub(crate) struct Storm {
    shards: u32,
    bucket: Bucket,
    /// The last appointment, in microseconds.
    last: u64,
    pace: Pace,
}

/// Sessions begun a second, as counted of late.
#[derive(Debug, Default)]
struct Pace {
    per_s: f64,
    begun: u32,
    since_us: u64,
}

impl Storm {
    /// Of a room with this many shards, among which the kernel spreads the connections evenly.
    pub(crate) fn new(shards: u8) -> Storm {
        Storm { shards: u32::from(shards.max(1)), bucket: Bucket::default(), last: 0, pace: Pace::default() }
    }

    /// A HELLO has come: whether its session may begin.
    pub(crate) fn may_begin(&mut self, limits: &AdmissionConfig, now_us: u64) -> bool {
        if limits.hellos_per_s > 0 {
            let cost_us = 1_000_000 * u64::from(self.shards) / u64::from(limits.hellos_per_s);
            if self.bucket.take(now_us, cost_us.max(1), limits.hello_burst / self.shards).is_err() {
                return false;
            }
        }
        self.pace.begun(now_us);
        true
    }

    /// Whether as many binds wait for their answer as may.
    pub(crate) fn is_behind(&self, limits: &AdmissionConfig, binds_waiting: u32) -> bool {
        limits.binds_waiting > 0 && binds_waiting >= (limits.binds_waiting / self.shards).max(1)
    }

    /// In how many milliseconds the next one who is turned away is to come back.
    pub(crate) fn appointment_ms(
        &mut self,
        limits: &AdmissionConfig,
        jitter: &mut Jitter,
        now_us: u64,
    ) -> u32 {
        let pace = match limits.hellos_per_s {
            0 => self.pace.per_s.max(LEAST_PACE / f64::from(self.shards)),
            per_s => f64::from(per_s) / f64::from(self.shards),
        };
        let longest_us = u64::from(limits.come_back_max_ms) * 1000;
        let next = self.last.max(now_us) + (1_000_000.0 / pace) as u64;
        self.last = next.min(now_us + longest_us);
        let wait_ms = ((self.last - now_us) / 1000).max(limits.come_back_ms.into());
        // Those beyond the longest wait would all get the same.
        let wait_ms = wait_ms - jitter.up_to(wait_ms / 4);
        wait_ms.max(limits.come_back_ms.into()).try_into().unwrap_or(u32::MAX)
    }
}

impl Pace {
    fn begun(&mut self, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.since_us);
        if elapsed_us >= 1_000_000 {
            let per_s = f64::from(self.begun) * 1e6 / elapsed_us as f64;
            // Up at once, down slowly: what was possible a moment ago still is.
            self.per_s = per_s.max((self.per_s + per_s) / 2.0);
            (self.begun, self.since_us) = (0, now_us);
        }
        self.begun += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(hellos_per_s: u32) -> AdmissionConfig {
        AdmissionConfig {
            hellos_per_s,
            hello_burst: 10,
            come_back_ms: 500,
            come_back_max_ms: 60_000,
            ..AdmissionConfig::default()
        }
    }

    /// Waits of so many who are turned away at this time.
    fn waits(storm: &mut Storm, limits: &AdmissionConfig, count: usize, now_us: u64) -> Vec<u32> {
        let mut jitter = Jitter::new(7);
        (0..count).map(|_| storm.appointment_ms(limits, &mut jitter, now_us)).collect()
    }

    #[test]
    fn sessions_begin_at_the_rate_of_the_room_divided_among_its_shards() {
        let mut storm = Storm::new(2);
        let limits = limits(100);
        let mut begun = |now| (0..100).filter(|_| storm.may_begin(&limits, now)).count();
        assert_eq!((begun(0), begun(100_000), begun(1_000_000)), (5, 5, 5));
        assert!((0..1000).all(|_| storm.may_begin(&AdmissionConfig::default(), 0)), "no limit by default");
    }

    #[test]
    fn waits_grow_with_those_who_wait_are_spread_and_shrink_as_time_passes() {
        let mut storm = Storm::new(1);
        let limits = limits(100);
        let first = waits(&mut storm, &limits, 1000, 0);
        assert!(first[..40].iter().all(|w| *w == 500), "the shortest");
        // The last of a thousand at a hundred a second: in ten seconds, spread by a quarter.
        assert!((7_500..=10_000).contains(&first[999]), "{}", first[999]);
        let next = waits(&mut storm, &limits, 1000, 0);
        let sum = |waits: &[u32]| waits.iter().map(|w| u64::from(*w)).sum::<u64>();
        assert!(sum(&next) > 2 * sum(&first), "it lasts longer, so does the wait");
        let seconds: std::collections::HashSet<u32> = next.iter().map(|w| w / 1000).collect();
        assert!(seconds.len() >= 10, "spread: {seconds:?}");
        let later = waits(&mut storm, &limits, 10, 19_000_000);
        assert!(later.iter().all(|w| *w <= 1_100), "the storm is nearly over: {later:?}");
        assert!(waits(&mut storm, &limits, 10, 60_000_000).iter().all(|w| *w == 500));
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        let mut storm = Storm::new(1);
        let waits = waits(&mut storm, &limits(1), 100_000, 0);
        let late = &waits[1000..];
        assert!(late.iter().all(|w| (45_000..=60_000).contains(w)));
        assert!(late.iter().any(|w| *w < 47_000) && late.iter().any(|w| *w > 58_000), "and they are spread");
        assert!(waits.iter().all(|w| *w <= 60_000));
    }

    #[test]
    fn without_a_rate_the_appointments_follow_the_pace_of_late() {
        let (mut slow, mut quick) = (Storm::new(1), Storm::new(1));
        let limits = limits(0);
        for ms in 0..3000 {
            (0..2).for_each(|_| assert!(quick.may_begin(&limits, ms * 1000)));
        }
        let last = |storm: &mut Storm| *waits(storm, &limits, 1000, 3_000_000).last().unwrap();
        assert!((7_500..=10_000).contains(&last(&mut slow)), "at least a hundred a second");
        assert_eq!(last(&mut quick), 500, "two thousand a second");
    }

    #[test]
    fn the_depth_of_the_bind_queue_is_divided_too() {
        let limits = AdmissionConfig { binds_waiting: 10, ..AdmissionConfig::default() };
        let storm = Storm::new(4);
        assert!(storm.is_behind(&limits, 2) && !storm.is_behind(&limits, 1));
        assert!(!storm.is_behind(&AdmissionConfig { binds_waiting: 0, ..limits }, u32::MAX), "0: no limit");
    }
}
