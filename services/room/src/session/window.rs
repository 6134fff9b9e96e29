//! How many loads a shard has under way: as many as the savers answer soon.
//!
//! After a storm, or when a saver is slow, more binds want to load than the savers can serve. Questions that wait there too long are
//! given up and asked again, and a queue of them keeps the savers busy with answers that nobody waits for any more: once behind,
//! always behind. So the window grows while answers come soon and halves when they do not, as TCP's does by losses (RFC 5681),
//! here by the time an answer takes. The binds that wait meanwhile stand in the shard's line, where waiting costs nothing.

/// An answer within this time says that more may be asked.
const SOON_MS: u64 = 500;
/// An answer after this time says that too much was.
const SLOW_MS: u64 = 2_000;
/// Where it begins.
const FIRST: f32 = 16.0;
/// It never falls below this: something has to be asked to learn that the savers are well again.
const FEWEST: f32 = 4.0;

/// The loads of a shard that are under way, and how many may be.
#[derive(Debug)]
pub(crate) struct LoadWindow {
    under_way: u32,
    window: f32,
    most: f32,
    /// It doubles in the time of an answer until it was too wide for the first time.
    starting: bool,
    /// What was asked before this says nothing about the window as it is now.
    narrowed_at: u64,
}

impl LoadWindow {
    /// At most `most` under way, however soon the answers come.
    pub(crate) fn new(most: u32) -> LoadWindow {
        let most = most.max(1) as f32;
        LoadWindow { under_way: 0, window: FIRST.min(most), most, starting: true, narrowed_at: 0 }
    }

    /// Whether another may be sent.
    pub(crate) fn has_space(&self) -> bool {
        (self.under_way as f32) < self.window.floor()
    }

    /// How many are under way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way
    }

    /// One was sent.
    pub(crate) fn sent(&mut self) {
        self.under_way += 1;
    }

    /// One that was sent at `since` was answered, or has failed.
    pub(crate) fn answered(&mut self, since: u64, now: u64, well: bool) {
        self.forgotten();
        let took = now.saturating_sub(since);
        if !well || took > SLOW_MS {
            self.narrow(since, now);
        } else if took <= SOON_MS {
            let step = if self.starting { 1.0 } else { 1.0 / self.window };
            self.window = (self.window + step).min(self.most);
        }
    }

    /// One whose answer matters no more: its session has ended.
    pub(crate) fn forgotten(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Halves it, once for all that were under way together.
    fn narrow(&mut self, since: u64, now: u64) {
        if since >= self.narrowed_at {
            self.window = (self.window / 2.0).max(FEWEST).min(self.most);
            self.narrowed_at = now;
            self.starting = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A saver that serves one load in `each_ms`, in order, asked by `shards` that always have more to ask. Loads served within their
    /// deadline, out of all, over a minute.
    fn served_in_time(shards: usize, each_ms: f64, deadline_ms: u64) -> f64 {
        let mut windows: Vec<LoadWindow> = (0..shards).map(|_| LoadWindow::new(2_048)).collect();
        let mut queue = std::collections::VecDeque::new();
        let (mut free_at, mut in_time, mut all) = (0.0_f64, 0, 0);
        for now in 0..60_000_u64 {
            for (shard, window) in windows.iter_mut().enumerate() {
                while window.has_space() {
                    window.sent();
                    queue.push_back((shard, now));
                }
            }
            while free_at <= now as f64 {
                let Some((shard, since)) = queue.pop_front() else { break };
                free_at = free_at.max(now as f64) + each_ms;
                let well = now - since <= deadline_ms;
                windows[shard].answered(since, now, well);
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
        let mut window = LoadWindow::new(100);
        for now in 0..1_000 {
            window.sent();
            window.answered(now, now + 1, true);
        }
        assert_eq!(window.window, 100.0);
    }

    #[test]
    fn failures_of_one_time_narrow_it_once_and_never_to_nothing() {
        let mut window = LoadWindow::new(2_048);
        for _ in 0..64 {
            window.sent();
        }
        for _ in 0..64 {
            window.answered(10, 20, false);
        }
        assert_eq!((window.window, window.under_way()), (8.0, 0));
        for now in 100..200 {
            window.sent();
            window.answered(now, now, false);
        }
        assert_eq!(window.window, FEWEST);
        assert!(window.has_space());
    }

    #[test]
    fn what_is_forgotten_frees_its_place() {
        let mut window = LoadWindow::new(1);
        window.sent();
        assert!(!window.has_space());
        window.forgotten();
        assert!(window.has_space());
    }
}
