//! The departure of a shard's sessions: who is asked when, and from when on they are closed. Pure; time is passed in.

use crate::link::Drain;

/// How long those that were closed first are looked at again while something of theirs is under way.
const LOOK_AGAIN_MS: u64 = 20;

/// A departure under way.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) drain: Drain,
    begun_ms: u64,
    /// Sessions there were when it began.
    sessions: u64,
    /// Those that were closed, not counting the ones that went by themselves.
    closed: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Sessions are being asked.
    Asking,
    /// All were asked; they have until then to go.
    Leaving { until: u64 },
    /// Sessions are closed as soon as nothing of theirs is under way, and all of them at the time; looked at next then.
    Closing { all_at: u64, look_at: u64 },
    /// Nobody is left.
    Over,
}

/// What is to be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// Nobody is asked any more, and nothing more is pushed: the sessions are to come to rest.
    Settle,
    /// Close the sessions that are at rest.
    CloseRested,
    /// Close all that are left.
    CloseAll,
}

impl Departure {
    pub(crate) fn new(drain: Drain, sessions: u64, now_ms: u64) -> Departure {
        Departure { drain, begun_ms: now_ms, sessions, closed: 0, phase: Phase::Asking }
    }

    /// Sessions that are asked in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.sessions as f64 / self.drain.spread.as_secs_f64().max(0.001)
    }

    /// Every session was asked.
    pub(crate) fn all_asked(&mut self, now_ms: u64) {
        if self.phase == Phase::Asking {
            self.phase = Phase::Leaving { until: now_ms + self.drain.leave.as_millis() as u64 };
        }
    }

    /// Nobody is asked: there is nowhere to go, or nobody to be asked.
    pub(crate) fn nobody_is_asked(&mut self, now_ms: u64) {
        self.phase = Phase::Leaving { until: now_ms };
    }

    /// What the time asks for.
    pub(crate) fn step(&mut self, now_ms: u64) -> Step {
        let end = self.begun_ms + self.drain.deadline.as_millis() as u64;
        let grace = self.drain.grace.as_millis() as u64;
        // The grace is within the deadline, however many could not be asked by then.
        let latest = end.saturating_sub(grace);
        let settles = match self.phase {
            Phase::Asking => latest <= now_ms,
            Phase::Leaving { until } => until.min(latest) <= now_ms,
            Phase::Closing { .. } | Phase::Over => false,
        };
        if settles {
            self.phase = Phase::Closing { all_at: (now_ms + grace).min(end).max(now_ms), look_at: now_ms };
            return Step::Settle;
        }
        match &mut self.phase {
            Phase::Closing { all_at, .. } if *all_at <= now_ms => {
                self.phase = Phase::Over;
                Step::CloseAll
            }
            Phase::Closing { look_at, .. } if *look_at <= now_ms => {
                *look_at = now_ms + LOOK_AGAIN_MS;
                Step::CloseRested
            }
            _ => Step::Wait,
        }
    }

    /// Whether [`Departure::step`] will ask for something yet.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The wait to be told to the next session that is closed. They are spread over as long as it takes to ask all: a device waits
    /// that long and a random part as long again, so that with waits at even steps up to S fewer than ln 2 of the sessions that
    /// are asked in a second return in one.
    pub(crate) fn wait_ms(&mut self) -> u32 {
        let spread = self.drain.spread.as_millis() as u64;
        let wait = spread.saturating_mul(self.closed.min(self.sessions)) / self.sessions.max(1);
        self.closed += 1;
        u32::try_from(wait).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longline_types::CloseReason;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn departure(sessions: u64, seconds: [u32; 4]) -> Departure {
        let [spread, leave, grace, deadline] = seconds.map(|s| SECOND * s);
        let drain = Drain { reason: CloseReason::GoingAway, guide: None, spread, leave, grace, deadline };
        Departure::new(drain, sessions, 1_000)
    }

    #[test]
    fn those_that_were_asked_have_time_to_go_and_those_at_work_some_more() {
        let mut departure = departure(50, [10, 2, 3, 60]);
        assert_eq!(departure.rate(), 5.0);
        assert_eq!(departure.step(11_000), Step::Wait);
        departure.all_asked(11_000);
        assert_eq!(departure.step(12_999), Step::Wait);
        assert_eq!(departure.step(13_000), Step::Settle);
        assert_eq!(departure.step(13_000), Step::CloseRested);
        assert_eq!(departure.step(13_000), Step::Wait, "not again in the same turn");
        assert_eq!(departure.step(13_020), Step::CloseRested);
        assert_eq!(departure.step(16_000), Step::CloseAll);
        assert_eq!(departure.step(99_000), Step::Wait);
        assert!(departure.is_over());
    }

    #[test]
    fn the_deadline_counts_though_not_all_could_be_asked() {
        let mut departure = departure(50, [100, 2, 3, 60]);
        assert_eq!(departure.step(57_999), Step::Wait);
        assert_eq!(departure.step(58_000), Step::Settle);
        assert_eq!(departure.step(61_000), Step::CloseAll);
    }

    #[test]
    fn a_deadline_shorter_than_the_grace_closes_at_the_deadline() {
        let mut departure = departure(50, [10, 2, 30, 4]);
        assert_eq!(departure.step(1_000), Step::Settle);
        assert_eq!(departure.step(4_999), Step::CloseRested);
        assert_eq!(departure.step(5_000), Step::CloseAll);
    }

    #[test]
    fn those_that_are_closed_come_back_spread_over_the_same_time() {
        let mut departure = departure(4, [10, 2, 3, 60]);
        let waits: Vec<u32> = (0..6).map(|_| departure.wait_ms()).collect();
        assert_eq!(waits, [0, 2_500, 5_000, 7_500, 10_000, 10_000]);
        assert_eq!(super::Departure::wait_ms(&mut self::departure(0, [10, 0, 0, 1])), 0);
    }

    #[test]
    fn the_returns_of_the_closed_stay_below_the_rate() {
        let mut departure = departure(10_000, [100, 0, 0, 1]);
        let rate = departure.rate();
        // Evenly over each device's choice instead of at random.
        let mut by_second = vec![0u32; 201];
        for n in 0..10_000u64 {
            let wait = f64::from(departure.wait_ms()) / 1000.0;
            let chance = (n * 7919 % 10_000) as f64 / 10_000.0;
            by_second[(wait * (1.0 + chance)) as usize] += 1;
        }
        let most = by_second.iter().copied().max().unwrap();
        assert!(f64::from(most) < rate * 0.8, "{most} of {rate} a second");
    }
}
