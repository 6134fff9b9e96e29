//! When messages are due in an open loop, whatever becomes of those before them.

use longline_load_truth::Micros;

/// Message `k` is due at `start + k / rate`.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Micros,
    /// Microseconds between messages.
    interval: f64,
    planned: u64,
}

impl Schedule {
    /// From this time on, so many messages a second (above zero).
    pub(crate) fn new(start: Micros, per_second: f64) -> Schedule {
        Schedule { start, interval: 1e6 / per_second.max(f64::MIN_POSITIVE), planned: 0 }
    }

    /// When the next message is due. Counted from the start each time, so that no rounding adds up.
    pub(crate) fn due(&self) -> Micros {
        self.start.saturating_add((self.planned as f64 * self.interval) as u64)
    }

    /// The next `messages` have been planned.
    pub(crate) fn advance(&mut self, messages: usize) {
        self.planned += messages as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_without_drift() {
        let mut schedule = Schedule::new(1_000_000, 3.0);
        let mut due = Vec::new();
        for _ in 0..=180 {
            due.push(schedule.due());
            schedule.advance(1);
        }
        assert_eq!(due[..4], [1_000_000, 1_333_333, 1_666_666, 2_000_000]);
        assert_eq!(due[180], 61_000_000);
    }

    #[test]
    fn a_group_takes_the_time_of_its_messages() {
        let mut schedule = Schedule::new(0, 1000.0);
        schedule.advance(100);
        assert_eq!(schedule.due(), 100_000);
    }

    #[test]
    fn no_rate_overflows() {
        let mut schedule = Schedule::new(u64::MAX - 1, 0.0);
        schedule.advance(1);
        assert_eq!(schedule.due(), u64::MAX);
    }
}
