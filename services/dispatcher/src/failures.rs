//! What clients say they could not use.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use longline_types::subscriber;

/// Reports fade by half in this time.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// One client counts once for a room in this time.
const ONCE_IN: Duration = Duration::from_secs(60);
/// Pairs of client and room remembered for that; when there are more, reports do not count.
const MOST_REPORTS: usize = 16_384;

/// A score per room from reports of distinct clients, fading with time. It lowers a room's weight in few steps, and never to nothing:
/// reports may be lies, and a room that everybody reports may still be the best there is.
#[derive(Default)]
pub(crate) struct Failures(Mutex<State>);

#[derive(Default)]
struct State {
    /// By incarnation: a room that restarts is forgiven.
    scores: HashMap<u64, Score>,
    counted: HashMap<(IpAddr, u64), Instant>,
}

#[derive(Clone, Copy)]
struct Score {
    value: f64,
    at: Instant,
}

/// What became of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// It counts.
    Counted,
    /// The same client has reported the room a moment ago.
    Repeated,
    /// There are too many reports to tell repeated ones.
    TooMany,
}

impl Failures {
    /// A client says it could not use the room with this incarnation.
    pub(crate) fn report(&self, client: IpAddr, room: u64, now: Instant) -> Report {
        let client = subscriber(client);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: &Instant| now.saturating_duration_since(*at) < ONCE_IN;
        if state.counted.get(&(client, room)).is_some_and(recent) {
            return Report::Repeated;
        }
        if state.counted.len() >= MOST_REPORTS {
            return Report::TooMany;
        }
        state.counted.insert((client, room), now);
        let value = state.scores.get(&room).map_or(0.0, |score| score.now(now)) + 1.0;
        state.scores.insert(room, Score { value, at: now });
        Report::Counted
    }

    /// By how much the weights of these rooms are lowered, in their order: 1 is not at all.
    pub(crate) fn factors(&self, rooms: impl Iterator<Item = u64>, now: Instant) -> Vec<f64> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.map(|room| state.scores.get(&room).map_or(1.0, |score| factor(score.now(now)))).collect()
    }

    /// Drops what has faded, and rooms that are gone. To be called now and then.
    pub(crate) fn forget(&self, is_live: impl Fn(u64) -> bool, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.counted.retain(|_, at| now.saturating_duration_since(*at) < ONCE_IN);
        state.scores.retain(|room, score| is_live(*room) && score.now(now) > 0.1);
    }
}

impl Score {
    fn now(self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.value * (-passed / HALF_LIFE.as_secs_f64()).exp2()
    }
}

/// Few steps, so that a report more or less moves nobody; the first few reports say nothing.
fn factor(score: f64) -> f64 {
    match score {
        score if score < 3.0 => 1.0,
        score if score < 10.0 => 0.5,
        score if score < 30.0 => 0.25,
        _ => 0.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn factor_of(failures: &Failures, room: u64, now: Instant) -> f64 {
        failures.factors([room].into_iter(), now)[0]
    }

    #[test]
    fn distinct_clients_lower_a_room_and_time_forgives() {
        let (failures, start) = (Failures::default(), Instant::now());
        for n in 0..12 {
            assert_eq!(failures.report(ip(n), 7, start), Report::Counted);
        }
        assert_eq!(factor_of(&failures, 7, start), 0.25);
        assert_eq!(factor_of(&failures, 8, start), 1.0, "others are not concerned");
        assert_eq!(factor_of(&failures, 7, start + HALF_LIFE), 0.5);
        assert_eq!(factor_of(&failures, 7, start + HALF_LIFE * 3), 1.0);
    }

    #[test]
    fn one_client_counts_once() {
        let (failures, start) = (Failures::default(), Instant::now());
        assert_eq!(failures.report(ip(1), 7, start), Report::Counted);
        for _ in 0..100 {
            assert_eq!(failures.report(ip(1), 7, start), Report::Repeated);
        }
        assert_eq!(factor_of(&failures, 7, start), 1.0);
        assert_eq!(failures.report(ip(1), 8, start), Report::Counted);
        assert_eq!(failures.report(ip(1), 7, start + ONCE_IN), Report::Counted);
    }

    #[test]
    fn no_number_of_reports_takes_a_room_out_or_memory_without_bound() {
        let (failures, start) = (Failures::default(), Instant::now());
        let counted = (0..50_000).filter(|n| failures.report(ip(*n), 7, start) == Report::Counted).count();
        assert_eq!(counted, MOST_REPORTS);
        assert_eq!(factor_of(&failures, 7, start), 0.1);
        let later = start + HALF_LIFE * 30;
        failures.forget(|_| true, later);
        let state = failures.0.lock().unwrap();
        assert_eq!((state.counted.len(), state.scores.len()), (0, 0));
    }

    #[test]
    fn rooms_that_are_gone_are_forgotten() {
        let (failures, start) = (Failures::default(), Instant::now());
        failures.report(ip(1), 7, start);
        failures.report(ip(1), 8, start);
        failures.forget(|room| room == 8, start);
        assert!(failures.0.lock().unwrap().scores.keys().eq([&8]));
    }
}
