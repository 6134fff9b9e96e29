//! Which messages a bind has had lately, so that a duplicate is told once.

use std::collections::{HashMap, VecDeque};

/// Most ids kept per bind; the oldest goes first.
const WINDOW: usize = 4096;

/// The last ids of a bind, and whether the application has acknowledged each.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    acked: HashMap<u64, bool>,
    order: VecDeque<u64>,
}

/// Whether an id has come before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sight {
    New,
    Again { acked: bool },
}

impl Seen {
    /// Notes an id.
    pub(crate) fn see(&mut self, id: u64) -> Sight {
        if let Some(&acked) = self.acked.get(&id) {
            return Sight::Again { acked };
        }
        if self.order.len() == WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.acked.remove(&oldest);
        }
        self.order.push_back(id);
        self.acked.insert(id, false);
        Sight::New
    }

    /// Notes that the application has acknowledged an id.
    pub(crate) fn acknowledge(&mut self, id: u64) {
        if let Some(acked) = self.acked.get_mut(&id) {
            *acked = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once_and_remembers_its_ack() {
        let mut seen = Seen::default();
        assert_eq!(seen.see(7), Sight::New);
        assert_eq!(seen.see(7), Sight::Again { acked: false });
        seen.acknowledge(7);
        seen.acknowledge(8);
        assert_eq!(seen.see(7), Sight::Again { acked: true });
        assert_eq!(seen.see(8), Sight::New);
    }

    #[test]
    fn only_the_last_ids_are_kept() {
        let mut seen = Seen::default();
        for id in 0..WINDOW as u64 + 1 {
            assert_eq!(seen.see(id), Sight::New);
        }
        assert_eq!(seen.see(1), Sight::Again { acked: false });
        assert_eq!(seen.see(0), Sight::New);
        assert_eq!((seen.acked.len(), seen.order.len()), (WINDOW, WINDOW));
    }
}
