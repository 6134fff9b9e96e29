//! A coarse timer wheel: at most one timer for each device, set and moved without an allocation.

use crate::time::{Ms, START};

/// Milliseconds of a tick; a timer fires up to this much late, never early. Much finer than heartbeats need, so that devices that come
/// back after a storm's short waits do not come in lumps, for which the messages behind them would wait.
pub(crate) const TICK_MS: Ms = 4;
/// Slots of the wheel: nearly nine minutes. A timer beyond that fires at the end, to be set again.
const SLOTS: u32 = 131_072;
const NONE: u32 = u32::MAX;

/// Timers by device.
pub(crate) struct Wheel {
    heads: Box<[u32]>,
    links: Box<[Link]>,
    /// Everything up to this tick has fired.
    tick: u32,
    set: u32,
}

/// A device's timer, and its neighbours in the list of its slot.
#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    /// When it fires; 0: not set.
    tick: u32,
}

const UNSET: Link = Link { previous: NONE, next: NONE, tick: 0 };

impl Wheel {
    /// A wheel for this many devices.
    pub(crate) fn new(devices: usize) -> Wheel {
        let heads = vec![NONE; SLOTS as usize].into_boxed_slice();
        Wheel { heads, links: vec![UNSET; devices].into_boxed_slice(), tick: START / TICK_MS, set: 0 }
    }

    /// Sees to it that the timer fires at this time or before.
    pub(crate) fn set(&mut self, index: u32, at: Ms) {
        let tick = at.div_ceil(TICK_MS).clamp(self.tick + 1, self.tick + SLOTS - 1);
        let set_for = self.links[index as usize].tick;
        if set_for != 0 && set_for <= tick {
            return;
        }
        self.cancel(index);
        let slot = (tick % SLOTS) as usize;
        let next = std::mem::replace(&mut self.heads[slot], index);
        self.links[index as usize] = Link { previous: NONE, next, tick };
        if next != NONE {
            self.links[next as usize].previous = index;
        }
        self.set += 1;
    }

    /// Takes the timer away, if it is set.
    fn cancel(&mut self, index: u32) {
        let Link { previous, next, tick } = std::mem::replace(&mut self.links[index as usize], UNSET);
        if tick == 0 {
            return;
        }
        match previous {
            NONE => self.heads[(tick % SLOTS) as usize] = next,
            previous => self.links[previous as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.set -= 1;
    }

    /// Appends the devices whose time has come; their timers are not set any more.
    pub(crate) fn advance(&mut self, now: Ms, fired: &mut Vec<u32>) {
        let until = now / TICK_MS;
        // After a long pause every slot is due, once.
        let first = (self.tick + 1).max(until.saturating_sub(SLOTS - 1));
        for tick in first..=until {
            if self.set == 0 {
                break;
            }
            let mut index = std::mem::replace(&mut self.heads[(tick % SLOTS) as usize], NONE);
            while index != NONE {
                fired.push(index);
                self.set -= 1;
                index = std::mem::replace(&mut self.links[index as usize], UNSET).next;
            }
        }
        self.tick = self.tick.max(until);
    }

    /// How long nothing fires, in milliseconds, as far as `most` ticks ahead.
    pub(crate) fn quiet_ms(&self, now: Ms, most: u32) -> Ms {
        let ahead = (1..most).find(|ahead| self.heads[((self.tick + ahead) % SLOTS) as usize] != NONE);
        ((self.tick + ahead.unwrap_or(most)) * TICK_MS).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::chance::Chance;

    fn fired(wheel: &mut Wheel, now: Ms) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(now, &mut fired);
        fired.sort_unstable();
        fired
    }

    #[test]
    fn timers_fire_once_and_only_move_forward() {
        let mut wheel = Wheel::new(3);
        wheel.set(1, START + 1000);
        wheel.set(1, START + 5000);
        wheel.set(2, START + 5000);
        wheel.set(2, START + 1000);
        assert!(fired(&mut wheel, START + 999).is_empty());
        assert!(wheel.quiet_ms(START + 999, 100) <= TICK_MS);
        assert_eq!(fired(&mut wheel, START + 1000 + TICK_MS), [1, 2]);
        assert!(fired(&mut wheel, START + 9000).is_empty());
        assert!((3 * TICK_MS..=4 * TICK_MS).contains(&wheel.quiet_ms(START + 9000, 4)));
    }

    #[test]
    fn a_far_timer_fires_at_the_end_of_the_wheel_and_a_pause_loses_none() {
        let mut wheel = Wheel::new(4);
        wheel.set(1, Ms::MAX);
        wheel.set(2, START + 70_000);
        let late = START + 3 * SLOTS * TICK_MS;
        assert_eq!(fired(&mut wheel, late), [1, 2]);
        wheel.set(3, 0);
        assert_eq!(fired(&mut wheel, late + TICK_MS), [3]);
    }

    #[test]
    fn it_agrees_with_a_sorted_map() {
        for seed in 0..50 {
            let (mut chance, mut wheel, mut now) = (Chance::new(seed), Wheel::new(50), START);
            let mut model: BTreeMap<u32, Ms> = BTreeMap::new();
            for _ in 0..400 {
                if chance.happens(0.3) {
                    now += chance.between(0, 6_000);
                    for index in fired(&mut wheel, now) {
                        let at = model.remove(&index);
                        assert!(at.is_some_and(|at| at <= now), "{index} at {at:?}, now {now}");
                    }
                    assert!(model.values().all(|at| *at + TICK_MS > now), "seed {seed}: one is late");
                } else {
                    let (index, at) = (chance.below(50) as u32, now + chance.between(0, 500_000));
                    wheel.set(index, at);
                    let earliest = model.entry(index).or_insert(at);
                    *earliest = at.min(*earliest);
                }
                assert_eq!(wheel.set as usize, model.len());
            }
        }
    }
}
