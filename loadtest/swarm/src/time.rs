//! Time inside the swarm: milliseconds for timers, microseconds for measurements.

use longline_load_truth::{Clock, Micros};

/// Milliseconds since the swarm's start plus [`START`].
pub(crate) type Ms = u32;
/// The first stamp. Not 0, so that stamps may lie before the start.
pub(crate) const START: Ms = 2 * 3_600_000;
/// Later than any stamp: seven weeks.
pub(crate) const NEVER: Ms = Ms::MAX;

/// One moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Now {
    pub(crate) ms: Ms,
    pub(crate) at: Micros,
}

/// Where moments come from.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    clock: Clock,
    began: Micros,
}

impl Time {
    pub(crate) fn new(clock: Clock) -> Time {
        Time { clock, began: clock.now() }
    }

    pub(crate) fn now(&self) -> Now {
        self.at(self.clock.now())
    }

    /// Wall time of the start, in milliseconds since the Unix epoch.
    pub(crate) fn began_ms(&self) -> u64 {
        self.began / 1000
    }

    fn at(&self, at: Micros) -> Now {
        let passed = at.saturating_sub(self.began) / 1000;
        Now { ms: START.saturating_add(Ms::try_from(passed).unwrap_or(NEVER)), at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_count_from_the_start() {
        let clock = Clock::new();
        let time = Time { clock, began: 5_000_000 };
        assert_eq!(time.at(5_000_999).ms, START);
        assert_eq!(time.at(5_001_000).ms, START + 1);
        assert_eq!(time.at(0).ms, START);
        assert_eq!(time.at(Micros::MAX).ms, NEVER);
        assert_eq!(time.began_ms(), 5_000);
    }
}
