//! Which hints may go now: an address has one run on its way, and what comes meanwhile waits for its end (D7). No I/O.

use std::collections::{HashMap, VecDeque};

use longline_types::AddressKey;

use super::Hint;

/// How much the queue holds, on the way included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Hints.
    pub(crate) items: usize,
    /// Bytes of payload.
    pub(crate) bytes: usize,
}

/// A slow room holds up the addresses in it and no others, since order is kept by address, not by worker.
pub(crate) struct Queue {
    bounds: Bounds,
    /// What waits behind the run of each address that has one.
    busy: HashMap<AddressKey, VecDeque<Hint>>,
    items: usize,
    bytes: usize,
}

/// A run of one address has at most this many hints, so that it shares few batches with others.
const RUN_ITEMS: usize = 64;
/// And at most this many bytes, but always one hint.
const RUN_BYTES: usize = 128 * 1024;

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Queue {
        Queue { bounds, busy: HashMap::new(), items: 0, bytes: 0 }
    }

    /// Hints held, on the way included.
    pub(crate) fn len(&self) -> usize {
        self.items
    }

    /// Takes what fits. Returns those that may go now (their addresses are busy until released), and how many were dropped.
    pub(crate) fn admit(&mut self, group: Vec<Hint>) -> (Vec<Hint>, usize) {
        let mut run = Vec::new();
        let mut dropped = 0;
        for hint in group {
            let bytes = hint.message.payload.len();
            if self.items >= self.bounds.items || self.bytes.saturating_add(bytes) > self.bounds.bytes {
                dropped += 1;
                continue;
            }
            self.items += 1;
            self.bytes += bytes;
            match self.busy.get_mut(&hint.key) {
                Some(waiting) => waiting.push_back(hint),
                None => {
                    self.busy.insert(hint.key, VecDeque::new());
                    run.push(hint);
                }
            }
        }
        (run, dropped)
    }

    /// The runs that these hints made up have ended. Returns what goes next at their addresses, each address's in order and
    /// together; an address with nothing waiting is free.
    pub(crate) fn release(&mut self, ended: &[Hint]) -> Vec<Hint> {
        let mut next = Vec::new();
        for (index, hint) in ended.iter().enumerate() {
            self.items -= 1;
            self.bytes -= hint.message.payload.len();
            // Hints of one address stand together: the last of them frees it.
            if ended.get(index + 1).is_some_and(|after| after.key == hint.key) {
                continue;
            }
            if !self.take_run(hint.key, &mut next) {
                self.busy.remove(&hint.key);
            }
        }
        next
    }

    fn take_run(&mut self, key: AddressKey, next: &mut Vec<Hint>) -> bool {
        let Some(waiting) = self.busy.get_mut(&key) else { return false };
        let (mut items, mut bytes) = (0, 0);
        while let Some(hint) = waiting.front() {
            bytes += hint.message.payload.len();
            if items > 0 && (items == RUN_ITEMS || bytes > RUN_BYTES) {
                break;
            }
            items += 1;
            next.extend(waiting.pop_front());
        }
        items > 0
    }
}

#[cfg(test)]
mod tests {
    use longline_pb::types::Message;
    use longline_types::Address;

    use super::*;

    fn hint(user: &str, id: u64) -> Hint {
        sized(user, id, 10)
    }

    fn sized(user: &str, id: u64, bytes: usize) -> Hint {
        let message = Message { id, payload: vec![0; bytes].into(), ..Message::default() };
        Hint::new(Address::new(1, user).unwrap(), message)
    }

    fn ids(hints: &[Hint]) -> Vec<u64> {
        hints.iter().map(|h| h.message.id).collect()
    }

    fn queue(items: usize, bytes: usize) -> Queue {
        Queue::new(Bounds { items, bytes })
    }

    #[test]
    fn one_run_of_an_address_at_a_time_in_order_d7() {
        let mut queue = queue(100, 10_000);
        let (first, _) = queue.admit(vec![hint("a", 1), hint("b", 2)]);
        assert_eq!(ids(&first), [1, 2]);
        let (none, _) = queue.admit(vec![hint("a", 3), hint("a", 4)]);
        assert!(none.is_empty(), "a is busy");
        let (other, _) = queue.admit(vec![hint("c", 5)]);
        assert_eq!(ids(&other), [5], "others are not held up");
        let next = queue.release(&first);
        assert_eq!(ids(&next), [3, 4], "both that waited, in order; b has nothing");
        assert_eq!(ids(&queue.admit(vec![hint("b", 6)]).0), [6], "b was free");
        assert!(queue.admit(vec![hint("a", 7)]).0.is_empty(), "a is busy with 3 and 4");
        assert_eq!(ids(&queue.release(&next)), [7]);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_room_comes_back() {
        let mut queue = queue(2, 25);
        let (run, dropped) = queue.admit(vec![hint("a", 1), sized("b", 2, 16), hint("c", 3), hint("d", 4)]);
        assert_eq!((ids(&run), dropped), (vec![1, 3], 2), "2 has too many bytes, 4 is one too many");
        assert!(queue.release(&run).is_empty());
        assert_eq!((queue.len(), queue.bytes, queue.busy.len()), (0, 0, 0));
    }

    #[test]
    fn runs_are_bounded_but_never_empty() {
        let mut queue = queue(1000, 10_000_000);
        let (first, _) = queue.admit(vec![hint("a", 0)]);
        queue.admit((1..=70).map(|id| hint("a", id)).collect());
        queue.admit(vec![sized("a", 71, RUN_BYTES + 1), hint("a", 72)]);
        let second = queue.release(&first);
        assert_eq!(second.len(), RUN_ITEMS);
        let third = queue.release(&second);
        assert_eq!(ids(&third), (65..=70).collect::<Vec<_>>());
        let fourth = queue.release(&third);
        assert_eq!(ids(&fourth), [71]);
        assert_eq!(ids(&queue.release(&fourth)), [72]);
    }
}
