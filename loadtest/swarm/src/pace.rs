//! Open-loop pacing: events are due at their times, whatever became of those before.

use longline_load_truth::Micros;

/// Events at a rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start: Micros,
    per_second: f64,
    taken: u64,
}

impl Pace {
    /// `per_second` events from `start` on, the first after `phase` (0 to 1) of an interval. A rate that is no number above 0
    /// has no events; infinitely many are all due at the start.
    pub(crate) fn new(per_second: f64, start: Micros, phase: f64) -> Pace {
        let shift = if per_second > 0.0 { (phase / per_second * 1e6) as Micros } else { 0 };
        Pace { start: start.saturating_add(shift), per_second, taken: 0 }
    }

    /// Takes the next event if its time has come; says when that was.
    pub(crate) fn take(&mut self, now: Micros) -> Option<Micros> {
        let due = self.next()?;
        if due > now {
            return None;
        }
        self.taken += 1;
        Some(due)
    }

    /// When the next event is due; none if there never is one.
    pub(crate) fn next(&self) -> Option<Micros> {
        if self.per_second.is_nan() || self.per_second <= 0.0 {
            return None;
        }
        Some(self.start.saturating_add((self.taken as f64 / self.per_second * 1e6) as Micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pace: &mut Pace, now: Micros) -> Vec<Micros> {
        std::iter::from_fn(|| pace.take(now)).take(1000).collect()
    }

    #[test]
    fn events_are_due_at_their_times_however_late_they_are_taken() {
        let mut pace = Pace::new(1000.0, 5_000_000, 0.0);
        assert!(taken(&mut pace, 4_999_999).is_empty());
        assert_eq!(taken(&mut pace, 5_002_500), [5_000_000, 5_001_000, 5_002_000]);
        assert_eq!(pace.next(), Some(5_003_000));
        assert_eq!(taken(&mut pace, 6_000_000).len(), 998);
    }

    #[test]
    fn threads_take_turns_by_their_phase() {
        let mut second = Pace::new(100.0, 0, 0.5);
        assert_eq!(taken(&mut second, 15_000), [5_000, 15_000]);
    }

    #[test]
    fn no_rate_has_no_events_and_at_once_is_at_once() {
        for rate in [0.0, -1.0, f64::NAN] {
            assert_eq!(Pace::new(rate, 0, 0.5).next(), None);
        }
        assert_eq!(taken(&mut Pace::new(f64::INFINITY, 7, 0.5), 7), [7; 1000]);
    }
}
