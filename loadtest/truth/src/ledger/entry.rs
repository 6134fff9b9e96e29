//! One unicast.

use super::Plan;
use super::reception::{Future, Reception};
use super::tick::{NEVER, Rules, SECOND, Tick};
use super::users::User;
use crate::Micros;

/// How long a message is remembered that can come to nothing but a fault: refused, expired, or transient and dropped. If it comes
/// later, it is counted as duplicated.
const REMEMBERED: Tick = 15 * SECOND;

/// How long an acknowledgement that may have died with its connection excuses a further receipt.
const UNCERTAIN: Tick = 600 * SECOND;

/// A time that is not known, as distance from due.
const UNTOLD: u32 = u32::MAX;

/// What is known of one unicast. 48 bytes, of which there are many.
#[derive(Debug)]
pub(super) struct Entry {
    /// As accepted, or else as first received; 0: not known.
    pub(super) id: u64,
    pub(super) due: Micros,
    /// The user's place in the shard.
    pub(super) place: u32,
    sent_after: u32,
    accepted_after: u32,
    pub(super) expires: Tick,
    pub(super) reception: Reception,
    pub(super) stream: u16,
    pub(super) answer: Answer,
    pub(super) transient: bool,
}

/// What the API said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Pending,
    Accepted,
    Refused,
    Unknown,
}

impl Entry {
    pub(super) fn new(plan: &Plan, place: usize, rules: &Rules) -> Entry {
        Entry {
            id: 0,
            due: plan.due,
            place: u32::try_from(place).unwrap_or(u32::MAX),
            sent_after: UNTOLD,
            accepted_after: UNTOLD,
            expires: plan.expires.map_or(NEVER, |at| rules.tick(at)),
            reception: Reception::NONE,
            stream: plan.stream,
            answer: Answer::Pending,
            transient: plan.transient,
        }
    }

    pub(super) fn send(&mut self, at: Micros) {
        self.sent_after = after(self.due, at);
    }

    pub(super) fn accept(&mut self, at: Micros) {
        self.answer = Answer::Accepted;
        self.accepted_after = after(self.due, at);
    }

    pub(super) fn sent(&self) -> Option<Micros> {
        (self.sent_after != UNTOLD).then(|| self.due + Micros::from(self.sent_after))
    }

    pub(super) fn accepted(&self) -> Option<Micros> {
        (self.accepted_after != UNTOLD).then(|| self.due + Micros::from(self.accepted_after))
    }

    /// Accepted to be delivered for certain, and not received.
    pub(super) fn is_owed(&self) -> bool {
        self.answer == Answer::Accepted && !self.transient && !self.reception.received()
    }

    /// Accepted without a promise, and not received.
    pub(super) fn is_dropped(&self) -> bool {
        self.answer == Answer::Accepted && self.transient && !self.reception.received()
    }

    /// A receipt now is after the latest time at which the server can have let it expire. Not known without an answer.
    pub(super) fn is_late(&self, at: Tick, rules: &Rules) -> bool {
        let answered = self.accepted_after / 1_000;
        let latest = self.expires.saturating_add(answered).saturating_add(rules.late);
        self.expires != NEVER && self.accepted_after != UNTOLD && at > latest
    }

    /// Something may still happen to it that the rules have to see. To be asked when it is older than the graces.
    pub(super) fn is_open(&mut self, user: Option<&User>, now: Tick, rules: &Rules) -> bool {
        let remembered = |from: Tick| now <= from.saturating_add(REMEMBERED);
        if self.answer == Answer::Pending {
            return true;
        }
        if self.reception.received() {
            return !self.transient
                && match self.reception.future(user, now, rules.ack) {
                    Future::Open => true,
                    Future::MayComeAgain(acked) => now <= acked.saturating_add(UNCERTAIN),
                    Future::Ended => false,
                };
        }
        match self.answer {
            Answer::Pending | Answer::Unknown => true,
            Answer::Refused => remembered(rules.tick(self.due)),
            Answer::Accepted if self.transient => remembered(rules.tick(self.due)),
            Answer::Accepted => remembered(self.expires),
        }
    }
}

/// How long after due; untold if before (a sender's mistake, which must not become the server's) or hours later.
fn after(due: Micros, at: Micros) -> u32 {
    at.checked_sub(due).and_then(|length| u32::try_from(length).ok()).unwrap_or(UNTOLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, Graces, LedgerOptions};

    #[test]
    fn is_as_small_as_promised() {
        assert_eq!(size_of::<Entry>(), 48);
        assert_eq!(size_of::<Reception>(), 12);
    }

    #[test]
    fn times_that_cannot_be_told_are_not_told() {
        assert_eq!(after(10, 30), 20);
        assert_eq!(after(10, 9), UNTOLD);
        assert_eq!(after(10, 10 + u64::from(u32::MAX) + 1), UNTOLD);
    }

    /// Whether an entry, due and expiring at the second's beginning, is open at these ticks after it.
    fn open_at(change: impl Fn(&mut Entry), ticks: [Tick; 2]) -> [bool; 2] {
        let clock = Clock::new();
        let rules =
            Rules::new(&LedgerOptions { run: 1, agent: 1, users: 0..1, clock, graces: Graces::default() });
        let due = clock.now();
        let plan = Plan { user: 0, due, stream: 0, transient: false, expires: Some(due) };
        ticks.map(|ticks| {
            let mut entry = Entry::new(&plan, 0, &rules);
            change(&mut entry);
            entry.is_open(Some(&User::new()), rules.tick(due) + ticks, &rules)
        })
    }

    #[test]
    fn what_can_only_come_wrongly_is_forgotten_and_the_rest_is_kept() {
        let (soon, later, months) = (REMEMBERED, REMEMBERED + 1, 3_000_000_000);
        let answer = |answer: Answer| move |entry: &mut Entry| entry.answer = answer;
        assert_eq!(open_at(answer(Answer::Refused), [soon, later]), [true, false]);
        assert_eq!(open_at(answer(Answer::Accepted), [soon, later]), [true, false], "expired");
        assert_eq!(open_at(answer(Answer::Unknown), [soon, months]), [true, true]);
        assert_eq!(open_at(answer(Answer::Pending), [soon, months]), [true, true]);
        let owed = |entry: &mut Entry| (entry.answer, entry.expires) = (Answer::Accepted, NEVER);
        assert_eq!(open_at(owed, [soon, months]), [true, true]);
        let dropped = |entry: &mut Entry| (entry.answer, entry.transient) = (Answer::Accepted, true);
        assert_eq!(open_at(dropped, [soon, later]), [true, false]);
    }

    #[test]
    fn what_was_received_is_kept_until_its_acknowledgement_is_safe() {
        let received = |entry: &mut Entry| {
            entry.answer = Answer::Accepted;
            entry.reception.receive(1);
        };
        assert_eq!(open_at(received, [0, 3_000_000_000]), [true, true], "not acknowledged");
        let transient = |entry: &mut Entry| {
            received(entry);
            entry.transient = true;
        };
        assert_eq!(open_at(transient, [0, 5_000]), [false, false]);
        let unanswered = |entry: &mut Entry| entry.reception.receive(1);
        assert_eq!(open_at(unanswered, [0, 3_000_000_000]), [true, true], "the answer is to be compared");
    }
}
