//! How long to wait before the next try.

use std::time::Duration;

/// No room can make a device wait longer than this before it tries again.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The longest wait before a session is resumed: enough that devices that lost a room together do not return in one instant.
const LONGEST_PROMPT: Duration = Duration::from_millis(100);

/// Doubles from `min` to `max`, with the upper half of each wait left to chance, so that devices that lost the same room do
/// not come back together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    step: u32,
    prompted: bool,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max: max.max(min), step: 0, prompted: false }
    }

    /// The next wait: between half and the whole of the step.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.min.saturating_mul(1 << self.step.min(20)).min(self.max);
        self.step = self.step.saturating_add(1);
        between(whole / 2, whole)
    }

    /// The next wait if a room asked for `asked`: that long, then a random part as long again.
    pub(crate) fn next_or(&mut self, asked: Option<Duration>) -> Duration {
        let own = self.next();
        match asked.filter(|wait| !wait.is_zero()) {
            Some(asked) => {
                let asked = asked.min(LONGEST_ASKED);
                between(asked, asked * 2)
            }
            None => own,
        }
    }

    /// The wait before a session is resumed: hardly any, once. If that was of no use, or did not last, it is a wait like any other.
    pub(crate) fn prompt(&mut self) -> Duration {
        if std::mem::replace(&mut self.prompted, true) {
            return self.next();
        }
        between(Duration::ZERO, LONGEST_PROMPT.min(self.min))
    }

    /// Begins anew: the last connection was good.
    pub(crate) fn reset(&mut self) {
        self.step = 0;
        self.prompted = false;
    }
}

/// A random wait within these.
pub(crate) fn between(from: Duration, to: Duration) -> Duration {
    from + (to.saturating_sub(from)).mul_f64(rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(SECOND, 10 * SECOND);
        for whole in [1, 2, 4, 8, 10, 10] {
            let wait = backoff.next();
            assert!(wait >= SECOND * whole / 2 && wait <= SECOND * whole, "{wait:?} of {whole} s");
        }
        (0..100).for_each(|_| assert!(backoff.next() <= 10 * SECOND));
        backoff.reset();
        assert!(backoff.next() <= SECOND);
    }

    #[test]
    fn a_session_is_resumed_at_once_but_not_again_and_again() {
        let mut backoff = Backoff::new(SECOND, 10 * SECOND);
        assert!(backoff.prompt() <= LONGEST_PROMPT);
        for whole in [1, 2, 4] {
            let wait = backoff.prompt();
            assert!(wait >= SECOND * whole / 2 && wait <= SECOND * whole, "{wait:?} of {whole} s");
        }
        backoff.reset();
        assert!(backoff.prompt() <= LONGEST_PROMPT);
    }

    #[test]
    fn a_room_is_obeyed_within_reason() {
        let mut backoff = Backoff::new(SECOND, 10 * SECOND);
        let wait = backoff.next_or(Some(100 * SECOND));
        assert!((100 * SECOND..=200 * SECOND).contains(&wait), "{wait:?}");
        assert!(backoff.next_or(Some(Duration::MAX)) <= 2 * LONGEST_ASKED);
        assert!(backoff.next_or(Some(Duration::ZERO)) <= 4 * SECOND);
    }

    #[test]
    fn waits_differ() {
        let waits: std::collections::HashSet<_> =
            (0..20).map(|_| Backoff::new(SECOND, SECOND).next()).collect();
        assert!(waits.len() > 15, "{waits:?}");
    }
}
