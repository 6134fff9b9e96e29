use std::time::Duration;

use longline_types::TimeMs;

use crate::config::WebhookConfig;

/// When an uplink that was not taken is tried again: after a wait that doubles, a little longer at random so that many do not
/// come back at once, until it is too old.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    first: Duration,
    longest: Duration,
    give_up_after: Duration,
}

/// A wait is lengthened by up to this part of itself.
const JITTER: f64 = 0.25;

impl Schedule {
    pub(crate) fn new(config: &WebhookConfig) -> Schedule {
        Schedule {
            first: Duration::from_millis(config.retry_first_ms),
            longest: Duration::from_millis(config.retry_longest_ms.max(config.retry_first_ms)),
            give_up_after: Duration::from_secs(config.give_up_after_s),
        }
    }

    /// The next try after so many earlier ones and the one that has just failed; none if it would be too late.
    pub(crate) fn next_try(&self, attempts: u32, accepted_at_ms: TimeMs, now_ms: TimeMs) -> Option<TimeMs> {
        let wait = self.first.saturating_mul(2u32.saturating_pow(attempts)).min(self.longest);
        let wait = wait.mul_f64(1.0 + rand::random_range(0.0..JITTER));
        let at_ms = now_ms.saturating_add(wait.as_millis() as u64);
        let too_late_ms = accepted_at_ms.saturating_add(self.give_up_after.as_millis() as u64);
        (at_ms < too_late_ms).then_some(at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimeMs = 1_800_000_000_000;

    fn wait(attempts: u32) -> u64 {
        Schedule::new(&WebhookConfig::default()).next_try(attempts, NOW, NOW).unwrap() - NOW
    }

    #[test]
    fn waits_double_from_a_second_to_five_minutes() {
        for (attempts, ms) in [(0, 1_000), (1, 2_000), (5, 32_000), (9, 300_000), (1_000_000, 300_000)] {
            for _ in 0..100 {
                assert!((ms..ms * 5 / 4).contains(&wait(attempts)), "after {attempts}: {}", wait(attempts));
            }
        }
        let distinct: std::collections::HashSet<_> = (0..100).map(|_| wait(9)).collect();
        assert!(distinct.len() > 10, "they do not all come back at once");
    }

    #[test]
    fn after_a_day_there_is_no_next_try() {
        let schedule = Schedule::new(&WebhookConfig::default());
        let day = 24 * 60 * 60 * 1000;
        assert!(schedule.next_try(20, NOW - day + 600_000, NOW).is_some());
        assert_eq!(schedule.next_try(20, NOW - day + 300_000, NOW), None);
        assert_eq!(schedule.next_try(0, NOW - 10 * day, NOW), None);
    }
}
