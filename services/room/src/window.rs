//! How many questions to the savers are under way: as many as they answer soon.
//!
//! After a storm or a broadcast, or when a saver is slow, more is to be asked than the savers can answer. Questions that wait there too
//! long are given up and asked again, and a queue of them keeps the savers busy with answers that nobody waits for any more: once
//! behind, always behind. So the window grows while answers come soon and halves when they do not, as TCP's does by losses (RFC 5681),
//! here by the time an answer takes. What waits meanwhile stands in line in the room, where waiting costs nothing.

/// An answer within this time says that more may be asked.
const SOON_MS: u64 = 500;
/// An answer after this time says that too much was.
const SLOW_MS: u64 = 2_000;

/// The questions of one kind that are under way, and how many may be.
#[derive(Debug)]
pub(crate) struct Window {
    under_way: usize,
    size: f32,
    fewest: f32,
    most: f32,
    /// It doubles in the time of an answer until it was too wide for the first time.
    starting: bool,
    /// What was asked before this says nothing about the window as it is now.
    narrowed_at: u64,
}

impl Window {
    /// Begins with `first` and never allows more than `most`, however soon the answers come, nor fewer than `fewest`: something has to be
    /// asked to learn that the savers are well again.
    pub(crate) fn new(first: u32, fewest: u32, most: u32) -> Window {
        let most = most.max(1);
        Window {
            under_way: 0,
            size: first.min(most) as f32,
            fewest: fewest.clamp(1, most) as f32,
            most: most as f32,
            starting: true,
            narrowed_at: 0,
        }
    }

    /// Whether more may be sent.
    pub(crate) fn has_space(&self) -> bool {
        self.under_way < self.size as usize
    }

    /// How many are under way.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn under_way(&self) -> usize {
        self.under_way
    }

    /// So many were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.under_way += count;
    }

    /// So many that were sent at `since` were answered, or have failed.
    pub(crate) fn answered(&mut self, count: usize, since: u64, now: u64, well: bool) {
        self.forgotten(count);
        let took = now.saturating_sub(since);
        if !well || took > SLOW_MS {
            self.narrow(since, now);
        } else if took <= SOON_MS {
            let step = if self.starting { count as f32 } else { count as f32 / self.size };
            self.size = (self.size + step).min(self.most);
        }
    }

    /// So many whose answers matter no more.
    pub(crate) fn forgotten(&mut self, count: usize) {
        self.under_way = self.under_way.saturating_sub(count);
    }

    /// Halves it, once for all that were under way together.
    fn narrow(&mut self, since: u64, now: u64) {
        if since >= self.narrowed_at {
            self.size = (self.size / 2.0).max(self.fewest);
            self.narrowed_at = now;
            self.starting = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A saver that answers one question in `each_ms`, in order, asked by `shards` that always have more to ask. The share answered within the
    /// deadline, over a minute.
    fn served_in_time(shards: usize, each_ms: f64, deadline_ms: u64) -> f64 {
        let mut windows: Vec<Window> = (0..shards).map(|_| Window::new(16, 4, 2_048)).collect();
        let mut queue = std::collections::VecDeque::new();
        let (mut free_at, mut in_time, mut all) = (0.0_f64, 0, 0);
        for now in 0..60_000_u64 {
            for (shard, window) in windows.iter_mut().enumerate() {
                while window.has_space() {
                    window.sent(1);
                    queue.push_back((shard, now));
                }
            }
            while free_at <= now as f64 {
                let Some((shard, since)) = queue.pop_front() else { break };
                free_at = free_at.max(now as f64) + each_ms;
                let well = now - since <= deadline_ms;
                windows[shard].answered(1, since, now, well);
                (in_time, all) = (in_time + u64::from(well), all + 1);
            }
        }
        in_time as f64 / f64::from(all)
    }

    #[test]
    fn many_shards_do_not_drown_a_slow_saver() {
        let share = served_in_time(54, 0.5, 10_000);
        assert!(share > 0.99, "{share}");
    }

    #[test]
    fn a_very_slow_saver_is_asked_little() {
        let share = served_in_time(54, 5.0, 10_000);
        assert!(share > 0.9, "{share}");
    }

    #[test]
    fn soon_answers_widen_it_to_the_most() {
        let mut window = Window::new(16, 4, 100);
        for now in 0..1_000 {
            window.sent(1);
            window.answered(1, now, now + 1, true);
        }
        assert_eq!(window.size, 100.0);
    }

    #[test]
    fn failures_of_one_time_narrow_it_once_and_never_to_nothing() {
        let mut window = Window::new(16, 4, 2_048);
        for _ in 0..64 {
            window.sent(1);
        }
        for _ in 0..64 {
            window.answered(1, 10, 20, false);
        }
        assert_eq!((window.size, window.under_way()), (8.0, 0));
        for now in 100..200 {
            window.sent(1);
            window.answered(1, now, now, false);
        }
        assert_eq!(window.size, 4.0);
        assert!(window.has_space());
    }

    #[test]
    fn what_is_forgotten_frees_its_place() {
        let mut window = Window::new(16, 4, 1);
        window.sent(1);
        assert!(!window.has_space());
        window.forgotten(1);
        assert!(window.has_space());
    }
}
