//! Work on all sessions of a shard, done a slice at a time so that nobody waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::link::{Guide, SlotSet};
use crate::walk::Walk;

/// Connections that all sweeps together look at in one turn.
const SLICE: u32 = 256;
/// Seconds of its rate that a sweep may make up for after a pause.
const CATCH_UP_S: f64 = 0.25;

/// What is done to each session.
pub(crate) enum Job {
    /// Check its binds soon (D2).
    Check,
    /// Make its binds anew (R4).
    Renew,
    /// Assert its routes of these slots (R2).
    Refill { refill: u64, slots: Arc<SlotSet> },
    /// Show it a broadcast.
    Walk(Arc<Walk>),
    /// Ask it to leave: so many sessions a second.
    SendAway { rate: f64, guide: Arc<dyn Guide> },
    /// Close it, but if only `rested` ones are meant not while something of it is under way.
    Close { rested: bool },
}

impl Job {
    /// Whether it asks the cluster something for each session.
    fn asks(&self) -> bool {
        matches!(self, Job::Renew | Job::Refill { .. })
    }
}

/// A job on its way through the places of the shard. Sessions that come later need nothing of it.
pub(crate) struct Sweep {
    pub(crate) job: Job,
    next: u32,
    end: u32,
    /// Sessions that the rate allows now.
    credit: f64,
    credited_ms: u64,
}

impl Sweep {
    fn rate(&self) -> Option<f64> {
        match &self.job {
            Job::Walk(walk) => walk.rate_per_shard,
            Job::SendAway { rate, .. } => Some(*rate),
            _ => None,
        }
    }

    /// Sessions that may be served now; none: as many as there are.
    fn allowance(&mut self, now_ms: u64) -> Option<u64> {
        let rate = self.rate()?;
        let seconds = now_ms.saturating_sub(self.credited_ms) as f64 / 1000.0;
        self.credited_ms = now_ms;
        self.credit = (self.credit + rate * seconds).min((rate * CATCH_UP_S).max(1.0));
        Some(self.credit as u64)
    }
}

/// The sweeps under way.
#[derive(Default)]
pub(crate) struct Sweeps {
    queue: VecDeque<Sweep>,
}

impl Sweeps {
    /// Begins a sweep over places below `end`. One that replaces an unfinished one of its kind starts at the beginning.
    pub(crate) fn begin(&mut self, job: Job, end: u32, now_ms: u64) {
        match job {
            Job::Check => self.cancel(|job| matches!(job, Job::Check)),
            Job::Renew => self.cancel(|job| matches!(job, Job::Renew)),
            Job::SendAway { .. } | Job::Close { .. } => self.call_off_leaving(),
            Job::Refill { .. } | Job::Walk(_) => {}
        }
        self.queue.push_back(Sweep { job, next: 0, end, credit: 1.0, credited_ms: now_ms });
    }

    /// Nobody is sent away or closed any more.
    pub(crate) fn call_off_leaving(&mut self) {
        self.cancel(|job| matches!(job, Job::SendAway { .. } | Job::Close { .. }));
    }

    fn cancel(&mut self, which: impl Fn(&Job) -> bool) {
        self.queue.retain(|sweep| !which(&sweep.job));
    }

    /// Runs one slice: `visit` serves a place and says whether it counts for the rate, `finish` is told what is done. While
    /// `congested`, sweeps that ask the cluster wait.
    pub(crate) fn run(
        &mut self,
        now_ms: u64,
        congested: bool,
        mut visit: impl FnMut(&Job, u32) -> bool,
        mut finish: impl FnMut(Job),
    ) -> Pace {
        let mut left = SLICE;
        let mut pace = Pace::Idle;
        for _ in 0..self.queue.len() {
            let Some(mut sweep) = self.queue.pop_front() else { break };
            let mut allowance = match congested && sweep.job.asks() {
                true => 0,
                false => sweep.allowance(now_ms).unwrap_or(u64::MAX),
            };
            while left > 0 && allowance > 0 && sweep.next < sweep.end {
                let counts = visit(&sweep.job, sweep.next);
                sweep.next += 1;
                left -= 1;
                if counts {
                    allowance -= 1;
                    sweep.credit -= 1.0;
                }
            }
            if sweep.next >= sweep.end {
                finish(sweep.job);
                continue;
            }
            pace = pace.max(if allowance == 0 { Pace::Waiting } else { Pace::Busy });
            self.queue.push_back(sweep);
        }
        pace
    }
}

/// When the sweeps want to go on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Pace {
    /// There are none.
    Idle,
    /// When their rate allows more.
    Waiting,
    /// At once.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sweeps: &mut Sweeps, now_ms: u64) -> (Vec<u32>, usize, Pace) {
        let (mut visited, mut finished) = (Vec::new(), 0);
        let pace = sweeps.run(
            now_ms,
            false,
            |_, place| {
                visited.push(place);
                true
            },
            |_| finished += 1,
        );
        (visited, finished, pace)
    }

    #[test]
    fn a_sweep_visits_every_place_once_in_slices() {
        let mut sweeps = Sweeps::default();
        sweeps.begin(Job::Check, 600, 0);
        let mut all = Vec::new();
        for (count, finished, pace) in [(256, 0, Pace::Busy), (256, 0, Pace::Busy), (88, 1, Pace::Idle)] {
            let (visited, done, next) = run(&mut sweeps, 0);
            assert_eq!((visited.len(), done, next), (count, finished, pace));
            all.extend(visited);
        }
        assert_eq!(all, (0..600).collect::<Vec<_>>());
    }

    #[test]
    fn what_asks_the_cluster_waits_while_it_is_behind() {
        let mut sweeps = Sweeps::default();
        sweeps.begin(Job::Renew, 10, 0);
        sweeps.begin(Job::Check, 10, 0);
        let mut checked = 0;
        let visit = |job: &Job, _| {
            assert!(matches!(job, Job::Check));
            checked += 1;
            true
        };
        assert_eq!(sweeps.run(0, true, visit, |_| {}), Pace::Waiting);
        assert_eq!(checked, 10);
        assert_eq!(run(&mut sweeps, 0).0.len(), 10);
    }

    #[test]
    fn a_second_check_starts_over_instead_of_queueing() {
        let mut sweeps = Sweeps::default();
        sweeps.begin(Job::Check, 600, 0);
        run(&mut sweeps, 0);
        sweeps.begin(Job::Check, 100, 0);
        let (visited, finished, pace) = run(&mut sweeps, 0);
        assert_eq!((visited.len(), finished, pace), (100, 1, Pace::Idle));
    }

    #[test]
    fn a_rate_is_kept_whatever_the_turns_and_pauses_are() {
        let mut sweeps = Sweeps::default();
        let guide = Arc::new(Nowhere);
        sweeps.begin(Job::SendAway { rate: 100.0, guide }, 10_000, 0);
        let mut in_second = |from: u64, steps: &[u64]| {
            let times = steps.iter().scan(from, |at, step| Some(std::mem::replace(at, *at + step)));
            times.map(|at| run(&mut sweeps, at).0.len()).sum::<usize>()
        };
        let first = in_second(0, &[10; 100]);
        assert!((98..=101).contains(&first), "{first}");
        let uneven = in_second(1_000, &[3; 333]);
        assert!((98..=101).contains(&uneven), "{uneven}");
        let paused = in_second(9_000, &[1_000]);
        assert!(paused <= 25, "a pause is made up for by a quarter of a second: {paused}");
    }

    #[derive(Debug)]
    struct Nowhere;

    impl Guide for Nowhere {
        fn way(&self, _: longline_types::Device, _: &[&longline_types::Address]) -> crate::link::Way {
            crate::link::Way::default()
        }
    }

    #[test]
    fn many_sweeps_share_the_slice() {
        let mut sweeps = Sweeps::default();
        for refill in 0..10 {
            let slots = Arc::new(SlotSet::from_iter([]));
            sweeps.begin(Job::Refill { refill, slots }, 100, 0);
        }
        let (visited, finished, pace) = run(&mut sweeps, 0);
        assert_eq!((visited.len(), finished, pace), (256, 2, Pace::Busy));
        let rounds =
            std::iter::from_fn(|| Some(run(&mut sweeps, 0).2)).take_while(|p| *p == Pace::Busy).count();
        assert_eq!(rounds, 2, "all are done in the end");
    }
}
