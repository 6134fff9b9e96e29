//! What was pushed on a bind and is not settled: in flight, to be redelivered, or acknowledged and not yet confirmed.

use longline_types::{MessageId, TimeMs};

/// The window of one bind (D5) and its acknowledgements (D6). Allocated only while something is in it.
#[derive(Default, Debug)]
pub(crate) struct Flight {
    entries: Vec<Entry>,
    /// Entries that are [`State::Written`]: these fill the window.
    written: u16,
    /// The device has not acknowledged in time: nothing is pushed until then.
    stalled_until: Option<u64>,
    /// Stalls in a row, without an acknowledgement in between.
    stalls: u8,
    /// When acks that failed are asked again; only if there are some.
    retry_at: Option<u64>,
    ack_failures: u8,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: MessageId,
    pub(crate) broadcast_seq: u64,
    /// When it was handed to the socket: Unix time, and the shard's.
    pub(crate) written_at_ms: TimeMs,
    written_ms: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Pushed; the device has not acknowledged it.
    Written,
    /// Not acknowledged in time: a load may bring it again; an acknowledgement of it still counts.
    Due,
    /// Acknowledged; the saver was asked to end it.
    Asked,
    /// Acknowledged; the saver could not be reached, and is to be asked again.
    Refused,
}

/// What an acknowledgement by the device means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Acked {
    /// The first of this message: the saver is to be asked.
    First(Entry),
    /// It had been acknowledged before.
    Again,
    /// Nothing with this id was pushed here, or it is settled.
    Foreign,
}

impl Flight {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Messages pushed and not acknowledged.
    pub(crate) fn written(&self) -> u16 {
        self.written
    }

    /// Whether nothing in it is waited for: what the device does not acknowledge in time is not.
    pub(crate) fn is_at_rest(&self) -> bool {
        (self.written == 0 || self.is_stalled()) && self.unconfirmed() == 0
    }

    /// Messages acknowledged and not confirmed.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.entries.iter().filter(|e| matches!(e.state, State::Asked | State::Refused)).count()
    }

    /// Whether a load need not bring it: it is in flight, or acknowledged.
    pub(crate) fn holds(&self, id: MessageId) -> bool {
        self.entries.iter().any(|e| e.id == id && e.state != State::Due)
    }

    /// The ids that a load is to leave out (D4).
    pub(crate) fn except(&self) -> Vec<MessageId> {
        self.entries.iter().filter(|e| e.state != State::Due).map(|e| e.id).collect()
    }

    /// Ids in flight, and when they were written.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (MessageId, TimeMs)> {
        self.entries.iter().filter(|e| e.state == State::Written).map(|e| (e.id, e.written_at_ms))
    }

    /// A message was handed to the socket.
    pub(crate) fn push(&mut self, id: MessageId, broadcast_seq: u64, now_ms: u64, wall_ms: TimeMs) {
        self.entries.retain(|e| e.id != id);
        self.entries.push(Entry {
            id,
            broadcast_seq,
            written_at_ms: wall_ms,
            written_ms: now_ms,
            state: State::Written,
        });
        self.written += 1;
    }

    /// The device acknowledges; any that is not foreign ends a stall.
    pub(crate) fn acknowledge(&mut self, id: MessageId) -> Acked {
        let Some(entry) = self.entries.iter_mut().find(|e| e.id == id) else { return Acked::Foreign };
        match entry.state {
            State::Asked | State::Refused => return Acked::Again,
            State::Written => self.written -= 1,
            State::Due => {}
        }
        entry.state = State::Asked;
        let entry = *entry;
        self.stalls = 0;
        self.stalled_until = None;
        Acked::First(entry)
    }

    /// The saver has confirmed: the message is settled. None if it was not asked about it.
    pub(crate) fn confirm(&mut self, id: MessageId) -> Option<Entry> {
        let place = self.entries.iter().position(|e| e.id == id && e.state == State::Asked)?;
        self.ack_failures = 0;
        Some(self.entries.remove(place))
    }

    /// The saver could not be reached: it is asked again after a wait, which `wait` gives from the failures in a row.
    pub(crate) fn refuse(&mut self, id: MessageId, now_ms: u64, wait: impl FnOnce(u8) -> u64) {
        let asked = self.entries.iter_mut().find(|e| e.id == id && e.state == State::Asked);
        if let Some(entry) = asked {
            entry.state = State::Refused;
            if self.retry_at.is_none() {
                self.ack_failures = self.ack_failures.saturating_add(1);
                self.retry_at = Some(now_ms + wait(self.ack_failures));
            }
        }
    }

    /// Acks to be asked again now (D6).
    pub(crate) fn retries(&mut self, now_ms: u64) -> Vec<Entry> {
        if self.retry_at.is_none_or(|at| at > now_ms) {
            return Vec::new();
        }
        self.retry_at = None;
        let refused = self.entries.iter_mut().filter(|e| e.state == State::Refused);
        refused
            .map(|entry| {
                entry.state = State::Asked;
                *entry
            })
            .collect()
    }

    /// Whether nothing may be pushed since the device does not acknowledge.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled_until.is_some()
    }

    /// Stalls if the oldest message was not acknowledged in time (D5); says whether it does so now. The wait for the
    /// redelivery doubles with each stall in a row.
    pub(crate) fn check_timeout(&mut self, now_ms: u64, timeout_ms: u32, longest_ms: u64) -> bool {
        let overdue = self.oldest_written().is_some_and(|at| at + u64::from(timeout_ms) <= now_ms);
        if !overdue || self.is_stalled() {
            return false;
        }
        let wait = u64::from(timeout_ms) << self.stalls.min(20);
        self.stalls = self.stalls.saturating_add(1);
        self.stalled_until = Some(now_ms + wait.min(longest_ms));
        true
    }

    /// Ends the stall when its time has come; says whether it does so now. What was in flight is to be redelivered.
    pub(crate) fn check_stall(&mut self, now_ms: u64) -> bool {
        if self.stalled_until.is_none_or(|until| until > now_ms) {
            return false;
        }
        self.stalled_until = None;
        self.forget_due();
        for entry in &mut self.entries {
            if entry.state == State::Written {
                entry.state = State::Due;
            }
        }
        self.written = 0;
        true
    }

    /// The connection broke: what was in flight may have arrived or not. Nothing is in flight any more.
    pub(crate) fn interrupt(&mut self) {
        self.stalled_until = None;
        self.stalls = 0;
        self.written = 0;
        for entry in &mut self.entries {
            if entry.state == State::Written {
                entry.state = State::Due;
            }
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn due(&self) -> Vec<MessageId> {
        self.entries.iter().filter(|e| e.state == State::Due).map(|e| e.id).collect()
    }

    /// Whether something is to be redelivered.
    pub(crate) fn has_due(&self) -> bool {
        self.entries.iter().any(|e| e.state == State::Due)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Flight>() + self.entries.capacity() * size_of::<Entry>()
    }

    /// A load has brought all there is: what was due and did not come is in the store no more.
    pub(crate) fn forget_due(&mut self) {
        self.entries.retain(|e| e.state != State::Due);
    }

    /// When something is to be done, if nothing happens before.
    pub(crate) fn deadline(&self, timeout_ms: u32) -> Option<u64> {
        let silence = match self.stalled_until {
            Some(until) => Some(until),
            None => self.oldest_written().map(|at| at + u64::from(timeout_ms)),
        };
        silence.into_iter().chain(self.retry_at).min()
    }

    fn oldest_written(&self) -> Option<u64> {
        self.entries.iter().find(|e| e.state == State::Written).map(|e| e.written_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(ids: &[u64]) -> Flight {
        let mut flight = Flight::default();
        for (at, id) in ids.iter().enumerate() {
            flight.push(MessageId(*id), 0, at as u64, 0);
        }
        flight
    }

    #[test]
    fn a_message_goes_from_written_to_confirmed() {
        let mut flight = flight(&[1, 2]);
        assert!(matches!(flight.acknowledge(MessageId(1)), Acked::First(e) if e.id.0 == 1));
        assert!(matches!(flight.acknowledge(MessageId(1)), Acked::Again));
        assert!(matches!(flight.acknowledge(MessageId(9)), Acked::Foreign));
        assert_eq!((flight.written(), flight.unconfirmed()), (1, 1));
        assert_eq!(flight.except(), [MessageId(1), MessageId(2)], "D4: until it is confirmed");
        assert!(flight.confirm(MessageId(2)).is_none(), "nobody asked");
        assert!(flight.confirm(MessageId(1)).is_some());
        assert_eq!(flight.except(), [MessageId(2)]);
    }

    #[test]
    fn it_is_at_rest_when_nothing_is_waited_for() {
        let mut flight = flight(&[1, 2]);
        assert!(!flight.is_at_rest(), "not acknowledged");
        flight.acknowledge(MessageId(1));
        flight.check_timeout(1_000, 100, 10_000);
        assert!(!flight.is_at_rest(), "not confirmed");
        flight.confirm(MessageId(1));
        assert!(flight.is_at_rest(), "a device that does not acknowledge is not waited for");
        assert!(Flight::default().is_at_rest());
    }

    #[test]
    fn a_failed_ack_is_asked_again_d6() {
        let mut flight = flight(&[1]);
        flight.acknowledge(MessageId(1));
        flight.refuse(MessageId(1), 100, |failures| u64::from(failures) * 10);
        assert!(flight.holds(MessageId(1)));
        assert_eq!(flight.deadline(1000), Some(110));
        assert!(flight.retries(109).is_empty());
        assert_eq!(flight.retries(110).len(), 1);
        assert!(flight.retries(110).is_empty(), "asked once");
        flight.refuse(MessageId(1), 110, |failures| u64::from(failures) * 10);
        assert_eq!(flight.deadline(1000), Some(130), "the wait grows");
    }

    #[test]
    fn a_stall_waits_twice_as_long_each_time_d5() {
        let mut flight = flight(&[1]);
        assert!(!flight.check_timeout(99, 100, 10_000));
        assert!(flight.check_timeout(100, 100, 10_000));
        assert!(flight.is_stalled());
        assert_eq!(flight.deadline(100), Some(200));
        assert!(!flight.check_stall(199));
        assert!(flight.check_stall(200));
        assert!(!flight.holds(MessageId(1)), "a load may bring it again");
        flight.push(MessageId(1), 0, 200, 0);
        assert!(flight.check_timeout(300, 100, 10_000));
        assert_eq!(flight.deadline(100), Some(500));
        assert!(matches!(flight.acknowledge(MessageId(1)), Acked::First(_)));
        assert!(!flight.is_stalled(), "an acknowledgement ends it");
    }

    #[test]
    fn what_was_in_flight_when_the_connection_broke_is_due_d8() {
        let mut flight = flight(&[1, 2, 3]);
        flight.acknowledge(MessageId(1));
        flight.check_timeout(1000, 100, 10_000);
        flight.interrupt();
        assert_eq!((flight.written(), flight.is_stalled(), flight.deadline(100)), (0, false, None));
        assert_eq!(flight.except(), [MessageId(1)], "a load may bring the others again");
        assert!(
            matches!(flight.acknowledge(MessageId(2)), Acked::First(_)),
            "the device says that it has it"
        );
        assert!(flight.has_due());
        flight.acknowledge(MessageId(3));
        assert!(!flight.has_due());
    }

    #[test]
    fn a_late_acknowledgement_of_what_is_due_counts() {
        let mut flight = flight(&[1, 2]);
        flight.check_timeout(1000, 100, 10_000);
        flight.check_stall(5000);
        assert!(matches!(flight.acknowledge(MessageId(1)), Acked::First(_)));
        flight.forget_due();
        assert_eq!(flight.except(), [MessageId(1)]);
    }
}
