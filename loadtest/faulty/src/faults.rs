//! What is done wrong, how often, and how often it really was.

/// What is to be done wrong; by default nothing. "One in n" is every n-th of the messages that the fault can befall, counted from the
/// first; only durable ones count. A message has one fault at most: where two fall on one, the second takes the next.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    /// Accepted and never delivered.
    pub drop_one_in: Option<u64>,
    /// Delivered twice on the same connection, without the flag REDELIVERED.
    pub duplicate_one_in: Option<u64>,
    /// Delivered again, with the flag REDELIVERED, on the device's next connection, though it was acknowledged
    /// [`RESURRECT_AFTER_MS`](Faults::RESURRECT_AFTER_MS) or longer before the first one ended.
    pub resurrect_one_in: Option<u64>,
    /// Held back until a later message of the same user, certainly sent after this one was accepted, was delivered. Only for users who
    /// are connected.
    pub reorder_one_in: Option<u64>,
    /// Messages for users who are not connected are accepted and forgotten; and a crash forgets everything.
    pub forget_offline: bool,
    /// Delivered to another user as well.
    pub foreign_one_in: Option<u64>,
    /// Delivered only [`LATE_BY_MS`](Faults::LATE_BY_MS) after it has expired. Only for messages with a time to live of at most 10 s.
    pub late_one_in: Option<u64>,
    /// Deliveries of broadcasts that never happen.
    pub lose_broadcast_one_in: Option<u64>,
    /// The room accepts connections and never answers.
    pub mute: bool,
}

impl Faults {
    /// An acknowledgement this old has reached the server, whatever became of the connection.
    pub const RESURRECT_AFTER_MS: u64 = 3_000;
    /// More than any grace for clocks.
    pub const LATE_BY_MS: u64 = 2_500;
}

/// How often each fault was really committed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Committed {
    /// By [`Faults::drop_one_in`].
    pub dropped: u64,
    /// By [`Faults::duplicate_one_in`].
    pub duplicated: u64,
    /// By [`Faults::resurrect_one_in`].
    pub resurrected: u64,
    /// By [`Faults::reorder_one_in`].
    pub reordered: u64,
    /// By [`Faults::forget_offline`], messages that were never written to a device: certainly lost.
    pub forgotten: u64,
    /// By [`Faults::forget_offline`], messages that a crash found written and not acknowledged: the device has them or not.
    pub forgotten_in_flight: u64,
    /// By [`Faults::foreign_one_in`].
    pub foreign: u64,
    /// By [`Faults::late_one_in`].
    pub late: u64,
    /// By [`Faults::lose_broadcast_one_in`], and broadcasts that a crash forgot before they were written to a device.
    pub broadcasts_lost: u64,
}

/// The fault of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Drop,
    Foreign,
    Reorder,
    Late,
    Duplicate,
    Resurrect,
}

/// Chooses the messages that a fault befalls.
#[derive(Debug)]
pub(crate) struct Chooser {
    faults: [(Mark, Turn); 6],
    broadcast: Turn,
}

/// Comes round once in so many.
#[derive(Clone, Copy, Debug)]
struct Turn {
    one_in: Option<u64>,
    seen: u64,
}

impl Chooser {
    pub(crate) fn new(faults: &Faults) -> Chooser {
        Chooser {
            faults: [
                (Mark::Drop, Turn::new(faults.drop_one_in)),
                (Mark::Foreign, Turn::new(faults.foreign_one_in)),
                (Mark::Reorder, Turn::new(faults.reorder_one_in)),
                (Mark::Late, Turn::new(faults.late_one_in)),
                (Mark::Duplicate, Turn::new(faults.duplicate_one_in)),
                (Mark::Resurrect, Turn::new(faults.resurrect_one_in)),
            ],
            broadcast: Turn::new(faults.lose_broadcast_one_in),
        }
    }

    /// The fault of the next message; `befalls` says which it can have.
    pub(crate) fn next(&mut self, befalls: impl Fn(Mark) -> bool) -> Option<Mark> {
        let able = self.faults.iter_mut().filter(|(mark, _)| befalls(*mark));
        let mut chosen = None;
        for (mark, turn) in able {
            if turn.comes() && chosen.is_none() {
                turn.take();
                chosen = Some(*mark);
            }
        }
        chosen
    }

    /// Whether the next delivery of a broadcast is lost.
    pub(crate) fn loses_broadcast(&mut self) -> bool {
        let comes = self.broadcast.comes();
        if comes {
            self.broadcast.take();
        }
        comes
    }

    /// The fault could not be committed after all: the next message has it.
    pub(crate) fn give_back(&mut self, mark: Mark) {
        for (_, turn) in self.faults.iter_mut().filter(|(other, _)| *other == mark) {
            turn.seen += turn.one_in.unwrap_or(0);
        }
    }
}

impl Turn {
    fn new(one_in: Option<u64>) -> Turn {
        Turn { one_in: one_in.filter(|n| *n > 0), seen: 0 }
    }

    fn comes(&mut self) -> bool {
        self.seen += 1;
        self.one_in.is_some_and(|one_in| self.seen >= one_in)
    }

    fn take(&mut self) {
        self.seen -= self.one_in.unwrap_or(0).min(self.seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_n_is_every_nth() {
        let mut chooser = Chooser::new(&Faults { drop_one_in: Some(3), ..Faults::default() });
        let hits: Vec<u64> = (1..=9).filter(|_| chooser.next(|_| true).is_some()).collect();
        assert_eq!(hits, [3, 6, 9]);
        let mut never = Chooser::new(&Faults::default());
        assert!((0..9).all(|_| never.next(|_| true).is_none() && !never.loses_broadcast()));
    }

    #[test]
    fn two_faults_fall_on_two_messages_and_one_that_was_given_back_on_the_next() {
        let faults = Faults { drop_one_in: Some(2), duplicate_one_in: Some(2), ..Faults::default() };
        let mut chooser = Chooser::new(&faults);
        let mut next = || chooser.next(|_| true);
        assert_eq!([next(), next(), next()], [None, Some(Mark::Drop), Some(Mark::Duplicate)]);
        chooser.give_back(Mark::Duplicate);
        assert_eq!(chooser.next(|mark| mark == Mark::Duplicate), Some(Mark::Duplicate));
    }
}
