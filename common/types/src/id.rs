use std::fmt;
use std::sync::Mutex;

use crate::time::TimeMs;

/// Names a message, uniquely in the cluster and ordered by time.
///
/// From the top: 1 bit zero (so that it fits a signed column), 41 bits of milliseconds since 2025-01-01 UTC, 10 bits number
/// of the node that made it, 12 bits counter within that millisecond. In JSON it is a decimal string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

const EPOCH_MS: TimeMs = 1_735_689_600_000;
const COUNTER_BITS: u32 = 12;
const NODE_BITS: u32 = 10;

impl MessageId {
    /// Node numbers run below this.
    pub const NODES: u32 = 1 << NODE_BITS;

    fn new(at_ms: TimeMs, node: u32, counter: u32) -> MessageId {
        MessageId(
            at_ms.saturating_sub(EPOCH_MS) << (NODE_BITS + COUNTER_BITS)
                | u64::from(node) << COUNTER_BITS
                | u64::from(counter),
        )
    }

    /// The id time it was made at, Unix milliseconds.
    pub fn time_ms(self) -> TimeMs {
        (self.0 >> (NODE_BITS + COUNTER_BITS)) + EPOCH_MS
    }

    /// The node that made it.
    pub fn node(self) -> u32 {
        (self.0 >> COUNTER_BITS) as u32 & (Self::NODES - 1)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for MessageId {
    type Err = std::num::ParseIntError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(MessageId)
    }
}

/// Times at which a node may make ids (I1): given by the keeper, never overlapping for one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdGrant {
    /// Node number that goes into the ids, below [`MessageId::NODES`].
    pub number: u32,
    /// First millisecond, inclusive.
    pub from_ms: TimeMs,
    /// Last millisecond, exclusive.
    pub until_ms: TimeMs,
}

/// The grant is used up or not yet begun, and no later one has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no grant of message ids for this time; the keeper has not renewed it")]
pub struct IdExhausted;

/// Makes ids inside its grants, rising strictly, whatever the clock does.
pub struct IdMaker {
    state: Mutex<State>,
}

struct State {
    grant: IdGrant,
    /// The next grant of the same or another number, used when `grant` ends.
    next: Option<IdGrant>,
    at_ms: TimeMs,
    counter: u32,
}

impl IdMaker {
    /// A maker for this first grant.
    pub fn new(grant: IdGrant) -> IdMaker {
        IdMaker { state: Mutex::new(State { grant, next: None, at_ms: 0, counter: 0 }) }
    }

    /// Adds the grant that follows. One with another number (a new incarnation) replaces everything at once.
    pub fn extend(&self, grant: IdGrant) {
        let mut state = self.lock();
        if grant.number != state.grant.number {
            *state = State { grant, next: None, at_ms: state.at_ms, counter: state.counter };
            return;
        }
        let last_until_ms = state.next.map_or(state.grant.until_ms, |n| n.until_ms);
        if grant.from_ms == last_until_ms {
            // It only makes the last one longer, so that a node that makes no ids for hours skips none of their times.
            let State { grant: first, next, .. } = &mut *state;
            next.as_mut().unwrap_or(first).until_ms = grant.until_ms.max(last_until_ms);
        } else if grant.from_ms > last_until_ms {
            state.next = Some(grant);
        }
    }

    /// Last millisecond (exclusive) of all grants held.
    pub fn until_ms(&self) -> TimeMs {
        let state = self.lock();
        state.next.map_or(state.grant.until_ms, |n| n.until_ms)
    }

    /// The next id at the given wall time. Ids never go back: if the clock did, or a millisecond is full, the id time runs
    /// ahead of the wall time, inside the grant.
    pub fn make(&self, now_ms: TimeMs) -> Result<MessageId, IdExhausted> {
        let mut state = self.lock();
        let mut at_ms = now_ms.max(state.at_ms).max(state.grant.from_ms);
        let mut counter = if at_ms == state.at_ms { state.counter + 1 } else { 0 };
        if counter >= 1 << COUNTER_BITS {
            (at_ms, counter) = (at_ms + 1, 0);
        }
        if at_ms >= state.grant.until_ms {
            let next = state.next.take().filter(|n| at_ms < n.until_ms).ok_or(IdExhausted)?;
            at_ms = at_ms.max(next.from_ms);
            state.grant = next;
        }
        (state.at_ms, state.counter) = (at_ms, counter);
        Ok(MessageId::new(at_ms, state.grant.number, counter))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TimeMs = EPOCH_MS + 1_000_000;

    fn grant(number: u32, from_ms: TimeMs, until_ms: TimeMs) -> IdGrant {
        IdGrant { number, from_ms, until_ms }
    }

    #[test]
    fn ids_rise_strictly_even_if_the_clock_goes_back_i1() {
        let maker = IdMaker::new(grant(5, T, T + 1000));
        let mut last = MessageId(0);
        for i in 0..10_000u64 {
            let id = maker.make(T + (i % 3)).unwrap();
            assert!(id > last);
            assert_eq!(id.node(), 5);
            last = id;
        }
        assert!(last.time_ms() < T + 10, "4,096 ids a millisecond");
    }

    #[test]
    fn no_id_is_made_outside_the_grants_i1() {
        let maker = IdMaker::new(grant(5, T, T + 2));
        assert_eq!(maker.make(T - 50).unwrap().time_ms(), T, "never before the grant");
        assert_eq!(maker.make(T + 2), Err(IdExhausted));
        maker.extend(grant(5, T + 2, T + 4));
        assert_eq!(maker.make(T + 2).unwrap().time_ms(), T + 2);
        assert_eq!(maker.make(T + 4), Err(IdExhausted));
    }

    #[test]
    fn grants_that_touch_are_one_however_many_came_while_idle_i1() {
        let maker = IdMaker::new(grant(5, T, T + 10));
        for from in [T + 10, T + 20, T + 30] {
            maker.extend(grant(5, from, from + 10));
        }
        assert_eq!(maker.make(T + 12).unwrap().time_ms(), T + 12);
        maker.extend(grant(5, T + 60, T + 70));
        maker.extend(grant(5, T + 70, T + 80));
        assert_eq!(maker.make(T + 39).unwrap().time_ms(), T + 39);
        assert_eq!(maker.make(T + 40).unwrap().time_ms(), T + 60, "nothing was granted before");
        assert_eq!(maker.make(T + 79).unwrap().time_ms(), T + 79);
        assert_eq!(maker.make(T + 80), Err(IdExhausted));
    }

    #[test]
    fn a_new_number_takes_over_at_once_i1() {
        let maker = IdMaker::new(grant(5, T, T + 100));
        let before = maker.make(T).unwrap();
        maker.extend(grant(6, T, T + 100));
        let after = maker.make(T).unwrap();
        assert_eq!(after.node(), 6);
        assert!(after > before);
    }
}
