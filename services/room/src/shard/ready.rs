//! The sockets that may have something to read, in the order in which their turn comes.

use std::collections::VecDeque;

/// They are served so many at a time between two looks at the clock.
const STEP: usize = 8;
/// So many are served however late it is, or a machine that is slow altogether would spend its turns on everything else.
const LEAST: usize = 64;

/// Indexes of sockets. Those that have to wait cost a turn nothing, however many they are.
#[derive(Default)]
pub(crate) struct Ready(VecDeque<u32>);

impl Ready {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, index: u32) {
        self.0.push_back(index);
    }

    /// Adds all of these, behind those that are there.
    pub(crate) fn append(&mut self, mut others: Ready) {
        self.0.append(&mut others.0);
    }

    /// Reads from each of them once, so that none keeps the others waiting, while there is time. `read` says whether the socket may
    /// have more; then it waits behind all others. Those for which there is no time are the first the next time.
    pub(crate) fn serve(&mut self, mut in_time: impl FnMut() -> bool, mut read: impl FnMut(u32) -> bool) {
        for served in 0..self.0.len() {
            if served >= LEAST && served % STEP == 0 && !in_time() {
                return;
            }
            let Some(index) = self.0.pop_front() else { return };
            if read(index) {
                self.0.push_back(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(count: u32) -> Ready {
        Ready((0..count).collect())
    }

    fn served(ready: &mut Ready, in_time: impl FnMut() -> bool, more: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut served = Vec::new();
        ready.serve(in_time, |index| {
            served.push(index);
            more(index)
        });
        served
    }

    #[test]
    fn each_is_read_once_and_who_has_more_waits_behind_the_others() {
        let mut ready = ready(100);
        let all: Vec<u32> = (0..100).collect();
        assert_eq!(served(&mut ready, || true, |index| index % 50 == 0), all);
        ready.add(7);
        assert_eq!(served(&mut ready, || true, |_| false), [0, 50, 7]);
        assert!(ready.is_empty());
    }

    #[test]
    fn those_without_time_are_the_first_the_next_time() {
        let mut ready = ready(1_000);
        let mut looks = 0;
        let twice = || {
            looks += 1;
            looks <= 2
        };
        let first = served(&mut ready, twice, |index| index == 3);
        assert_eq!(first, (0..80).collect::<Vec<_>>(), "a look at the clock each 8");
        assert_eq!(served(&mut ready, || true, |_| false), (80..1_000).chain([3]).collect::<Vec<_>>());
    }

    #[test]
    fn a_slow_machine_serves_some_and_a_long_line_is_not_touched() {
        let mut ready = ready(500_000);
        let place = ready.0.as_slices().0.as_ptr();
        assert_eq!(served(&mut ready, || false, |_| true).len(), LEAST);
        let (front, back) = ready.0.as_slices();
        assert_eq!((front.len() + back.len(), front[0]), (500_000, LEAST as u32));
        assert_eq!(front.as_ptr(), place.wrapping_add(LEAST), "not moved");
    }

    #[test]
    fn who_comes_while_others_are_served_is_behind_them() {
        let mut waiting = ready(3);
        waiting.append(Ready([9, 8].into()));
        assert_eq!(served(&mut waiting, || true, |_| false), [0, 1, 2, 9, 8]);
    }
}
