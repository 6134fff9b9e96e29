//! Which of a shard's messages share a payload.

use std::collections::VecDeque;
use std::ops::Range;

/// The batches of a ledger, each with the numbers of its messages in this shard. One that has ended is forgotten once those
/// before it have.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// The number of the first one kept.
    oldest: u64,
    kept: VecDeque<Range<u64>>,
    /// A message of a batch that was forgotten.
    ended: Option<u64>,
}

/// Where to look for a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Among {
    These(Range<u64>),
    /// It has ended, as this one has.
    Ended(u64),
    /// There is no such batch.
    None,
}

impl Batches {
    /// The next batch, in each shard the same: it has these messages here, perhaps none.
    pub(super) fn push(&mut self, messages: Range<u64>) {
        self.kept.push_back(messages);
    }

    pub(super) fn find(&self, batch: u64) -> Among {
        let kept = |place: u64| self.kept.get(usize::try_from(place).ok()?).cloned();
        match batch.checked_sub(self.oldest) {
            Some(place) => kept(place).map_or(Among::None, Among::These),
            None => self.ended.map_or(Among::None, Among::Ended),
        }
    }

    /// Forgets the oldest, as far as all their messages have ended.
    pub(super) fn sweep(&mut self, has_ended: impl Fn(u64) -> bool) {
        while let Some(messages) = self.kept.pop_front_if(|messages| messages.clone().all(&has_ended)) {
            self.oldest += 1;
            self.ended = messages.last().or(self.ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_forgotten_in_order_once_they_have_ended() {
        let mut batches = Batches::default();
        for messages in [0..0, 0..5, 5..7, 7..9] {
            batches.push(messages);
        }
        assert_eq!(batches.find(2), Among::These(5..7));
        assert_eq!(batches.find(4), Among::None);
        batches.sweep(|number| number != 6);
        assert_eq!(batches.find(1), Among::Ended(4));
        assert_eq!((batches.find(2), batches.find(3)), (Among::These(5..7), Among::These(7..9)));
        batches.sweep(|_| true);
        assert_eq!((batches.find(3), batches.find(4)), (Among::Ended(8), Among::None));
        batches.push(9..10);
        assert_eq!(batches.find(4), Among::These(9..10));
    }
}
