//! A coarse timer wheel: at most one timer for each connection, moved without an allocation.

use super::paged::Paged;

/// Milliseconds of a tick; a timer fires up to this much late, never early.
pub(crate) const TICK_MS: u64 = 64;
/// Slots of the wheel: nearly nine minutes. A timer beyond that fires at the end, to be set again.
const SLOTS: u64 = 8192;
const NONE: u32 = u32::MAX;

/// Timers by connection index.
pub(crate) struct Wheel {
    heads: Box<[u32]>,
    links: Paged<Link>,
    /// Everything up to this tick has fired.
    tick: u64,
    set: u32,
}

/// A connection's timer, and its neighbours in the list of its slot.
struct Link {
    previous: u32,
    next: u32,
    /// When it fires; 0: not set.
    tick: u64,
}

impl Default for Link {
    fn default() -> Link {
        Link { previous: NONE, next: NONE, tick: 0 }
    }
}

impl Wheel {
    pub(crate) fn new() -> Wheel {
        Wheel { heads: vec![NONE; SLOTS as usize].into_boxed_slice(), links: Paged::new(), tick: 0, set: 0 }
    }

    /// Sees to it that the timer fires at this time or before.
    pub(crate) fn set(&mut self, index: u32, at_ms: u64) {
        let tick = at_ms.div_ceil(TICK_MS).clamp(self.tick + 1, self.tick + SLOTS - 1);
        let set_for = self.links.at(index).tick;
        if set_for != 0 && set_for <= tick {
            return;
        }
        self.cancel(index);
        let slot = (tick % SLOTS) as usize;
        let next = std::mem::replace(&mut self.heads[slot], index);
        *self.links.at(index) = Link { previous: NONE, next, tick };
        if next != NONE {
            self.links.at(next).previous = index;
        }
        self.set += 1;
    }

    /// Takes the timer away, if it is set.
    pub(crate) fn cancel(&mut self, index: u32) {
        let Link { previous, next, tick } = std::mem::take(self.links.at(index));
        if tick == 0 {
            return;
        }
        match previous {
            NONE => self.heads[(tick % SLOTS) as usize] = next,
            previous => self.links.at(previous).next = next,
        }
        if next != NONE {
            self.links.at(next).previous = previous;
        }
        self.set -= 1;
    }

    /// Appends the timers whose time has come; they are not set any more. `late` is told how many milliseconds late how many of
    /// them are.
    pub(crate) fn advance(&mut self, now_ms: u64, fired: &mut Vec<u32>, mut late: impl FnMut(u64, u64)) {
        let until = now_ms / TICK_MS;
        // After a long pause every slot is due, once.
        let first = (self.tick + 1).max(until.saturating_sub(SLOTS - 1));
        for tick in first..=until {
            if self.set == 0 {
                break;
            }
            let before = fired.len();
            let mut index = std::mem::replace(&mut self.heads[(tick % SLOTS) as usize], NONE);
            while index != NONE {
                fired.push(index);
                self.set -= 1;
                index = std::mem::take(self.links.at(index)).next;
            }
            if fired.len() > before {
                late(now_ms - tick * TICK_MS, (fired.len() - before) as u64);
            }
        }
        self.tick = self.tick.max(until);
    }

    /// How long nothing fires, in milliseconds, as far as `most` ticks ahead.
    pub(crate) fn quiet_ms(&self, now_ms: u64, most: u64) -> u64 {
        let ahead = (1..most).find(|ahead| self.heads[((self.tick + ahead) % SLOTS) as usize] != NONE);
        ((self.tick + ahead.unwrap_or(most)) * TICK_MS).saturating_sub(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn fired(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(now_ms, &mut fired, |_, _| {});
        fired.sort_unstable();
        fired
    }

    #[test]
    fn timers_fire_once_and_only_move_forward() {
        let mut wheel = Wheel::new();
        wheel.set(1, 1000);
        wheel.set(1, 5000);
        wheel.set(2, 5000);
        wheel.set(2, 1000);
        assert_eq!(wheel.quiet_ms(0, 100), 1024);
        assert!(fired(&mut wheel, 999).is_empty());
        assert_eq!(fired(&mut wheel, 1064), [1, 2]);
        assert!(fired(&mut wheel, 9000).is_empty());
    }

    #[test]
    fn a_far_timer_fires_at_the_end_of_the_wheel_and_a_pause_loses_none() {
        let mut wheel = Wheel::new();
        wheel.set(1, u64::MAX / 2);
        wheel.set(2, 70_000);
        assert_eq!(fired(&mut wheel, 1000 * SLOTS * TICK_MS), [1, 2]);
        wheel.set(3, 0);
        assert_eq!(fired(&mut wheel, 1000 * SLOTS * TICK_MS + TICK_MS), [3]);
    }

    #[test]
    fn it_tells_how_late_timers_are() {
        let mut wheel = Wheel::new();
        for (index, at_ms) in [(1, 64), (2, 64), (3, 128)] {
            wheel.set(index, at_ms);
        }
        let (mut fired, mut lags) = (Vec::new(), Vec::new());
        wheel.advance(63, &mut fired, |lag, count| lags.push((lag, count)));
        assert!(lags.is_empty());
        wheel.advance(300, &mut fired, |lag, count| lags.push((lag, count)));
        assert_eq!((fired.len(), lags), (3, vec![(236, 2), (172, 1)]));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_map(
            steps in proptest::collection::vec((0u32..50, 0u64..600_000, 0u8..4), 0..400),
        ) {
            let mut wheel = Wheel::new();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0;
            for (index, ms, what) in steps {
                match what {
                    0 => {
                        wheel.cancel(index);
                        model.remove(&index);
                    }
                    1 => {
                        now += ms / 100;
                        let due: Vec<u32> = fired(&mut wheel, now);
                        for index in &due {
                            let at = model.remove(index);
                            prop_assert!(at.is_some_and(|at| at <= now), "{index} at {at:?}, now {now}");
                        }
                        let late = model.values().filter(|at| **at + TICK_MS <= now).count();
                        prop_assert_eq!(late, 0);
                    }
                    _ => {
                        let at = (now + ms).min(now + (SLOTS - 2) * TICK_MS);
                        wheel.set(index, at);
                        let earliest = model.entry(index).or_insert(at);
                        *earliest = at.min(*earliest);
                    }
                }
                prop_assert_eq!(wheel.set as usize, model.len());
            }
        }
    }
}
