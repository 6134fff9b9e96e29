//! The rules for the receipt of a unicast.

use super::entry::{Answer, Entry};
use super::order::Stream;
use super::tick::Rules;
use super::users::User;
use crate::{Fault, Micros};

/// A receipt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) connection: u32,
    pub(super) id: u64,
    /// It carries the flag REDELIVERED.
    pub(super) marked: bool,
    pub(super) at: Micros,
}

/// A fault, with the kinds of foreign told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wrong {
    Duplicated,
    Reordered,
    Late,
    Foreign,
    Unreadable,
    OtherId,
    Unexpected,
}

impl Wrong {
    pub(super) fn fault(self) -> Fault {
        match self {
            Wrong::Duplicated => Fault::Duplicated,
            Wrong::Reordered => Fault::Reordered,
            Wrong::Late => Fault::Late,
            Wrong::Foreign | Wrong::Unreadable | Wrong::OtherId | Wrong::Unexpected => Fault::Foreign,
        }
    }
}

/// What a receipt is.
#[derive(Debug)]
pub(super) struct Judgement {
    /// The message was not received before.
    pub(super) first: bool,
    /// It was, and comes again as it may.
    pub(super) redelivered: bool,
    /// What is wrong, in words. Mostly empty, and then without memory.
    pub(super) wrongs: Vec<(Wrong, String)>,
}

impl Entry {
    /// Judges a receipt by the message's user, and takes it down.
    pub(super) fn receive(&mut self, user: &mut User, arrival: &Arrival, rules: &Rules) -> Judgement {
        let tick = rules.tick(arrival.at);
        let first = !self.reception.received();
        let mut wrongs = Vec::new();
        let mut redelivered = false;
        if self.id != 0 && self.id != arrival.id {
            wrongs.push((Wrong::OtherId, format!("received as {}, known as {}", arrival.id, self.id)));
        } else if !first {
            redelivered =
                self.reception.may_come_again(user, arrival.connection, arrival.marked, tick, rules.ack);
            if !redelivered {
                wrongs.push((
                    Wrong::Duplicated,
                    format!("received again on connection {}", arrival.connection),
                ));
            }
        }
        if self.id == 0 {
            self.id = arrival.id;
        }
        if first && self.answer == Answer::Refused {
            wrongs.push((Wrong::Unexpected, String::from("received though the API had refused it")));
        }
        if (first || redelivered) && self.is_late(tick, rules) {
            let late = tick - self.expires;
            wrongs.push((Wrong::Late, format!("received {late} ms after expiry")));
        }
        if first && !arrival.marked {
            wrongs.extend(self.order(user, arrival).map(|text| (Wrong::Reordered, text)));
        }
        self.reception.receive(arrival.connection);
        Judgement { first, redelivered, wrongs }
    }

    fn order(&self, user: &mut User, arrival: &Arrival) -> Option<String> {
        let stream = Stream { number: self.stream, transient: self.transient };
        let accepted = self.accepted();
        let behind = user.order.receive(arrival.connection, stream, self.sent(), accepted)?;
        let gap = behind - accepted?;
        Some(format!(
            "received after one of stream {} that was sent {gap} µs after this one's acceptance",
            stream.number
        ))
    }
}
