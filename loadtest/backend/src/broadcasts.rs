//! Broadcasts: kept for those who have not acknowledged them, as the store does (S8).

use std::collections::VecDeque;

use bytes::Bytes;
use longline_pb::types::{Class, Message};

use crate::injectors::Serial;
use crate::users::User;

/// The last broadcasts; earlier ones are forgotten.
const KEPT: usize = 256;

/// The last broadcasts, by their sequence.
#[derive(Default)]
pub(crate) struct Broadcasts {
    kept: VecDeque<(Message, Serial)>,
    /// The highest sequence.
    last: u64,
}

impl Broadcasts {
    /// A new one, with the next sequence.
    pub(crate) fn add(
        &mut self,
        id: u64,
        payload: Bytes,
        from: Serial,
        now_ms: u64,
        expires_at_ms: u64,
    ) -> Message {
        self.last += 1;
        let (class, broadcast_seq) = (Class::Durable.into(), self.last);
        let message = Message {
            id,
            payload,
            sent_at_ms: now_ms,
            expires_at_ms,
            class,
            broadcast_seq,
            redelivered: false,
        };
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((message.clone(), from));
        message
    }

    /// What the user has not acknowledged, in its order. The first time there is nothing, and only later ones are the user's.
    pub(crate) fn waiting<'a>(
        &'a self,
        user: &'a mut User,
        seen: u64,
    ) -> impl Iterator<Item = &'a Message> + 'a {
        let floor = user.floor.unwrap_or(self.last).max(seen.min(self.last));
        user.floor = Some(floor);
        let acked = &user.acked_broadcasts;
        let messages = self.kept.iter().map(|(message, _)| message);
        messages.filter(move |m| m.broadcast_seq > floor && !acked.contains(&m.broadcast_seq))
    }

    /// The user has acknowledged it. Who sent it, if this is the first time and it is still known.
    pub(crate) fn ack(&self, user: &mut User, id: u64, sequence: u64) -> Option<Serial> {
        let first = self.kept.front()?.0.broadcast_seq;
        let (message, from) = self.kept.get(usize::try_from(sequence.checked_sub(first)?).ok()?)?;
        let is_new = message.id == id
            && user.floor.is_none_or(|floor| sequence > floor)
            && !user.acked_broadcasts.contains(&sequence);
        if !is_new {
            return None;
        }
        user.acked_broadcasts.retain(|acked| *acked >= first);
        user.acked_broadcasts.push(sequence);
        Some(*from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(broadcasts: &mut Broadcasts, id: u64) -> u64 {
        broadcasts.add(id, Bytes::new(), Serial::NONE, 1, 2).broadcast_seq
    }

    fn waiting(broadcasts: &Broadcasts, user: &mut User, seen: u64) -> Vec<u64> {
        broadcasts.waiting(user, seen).map(|message| message.id).collect()
    }

    #[test]
    fn a_user_is_owed_what_came_after_the_first_load_and_is_not_acknowledged_s8() {
        let (mut broadcasts, mut user) = (Broadcasts::default(), User::default());
        add(&mut broadcasts, 10);
        assert!(waiting(&broadcasts, &mut user, 0).is_empty());
        let [second, third] = [11, 12].map(|id| add(&mut broadcasts, id));
        assert_eq!(waiting(&broadcasts, &mut user, 0), [11, 12]);
        assert!(broadcasts.ack(&mut user, 12, second).is_none(), "id and sequence do not fit");
        assert!(broadcasts.ack(&mut user, 12, third).is_some());
        assert!(broadcasts.ack(&mut user, 12, third).is_none(), "the second time");
        assert_eq!(waiting(&broadcasts, &mut user, 0), [11]);
        assert!(waiting(&broadcasts, &mut user, second).is_empty(), "the device has seen it");
    }

    #[test]
    fn only_the_last_ones_are_kept() {
        let (mut broadcasts, mut user) = (Broadcasts::default(), User::default());
        assert!(waiting(&broadcasts, &mut user, 0).is_empty());
        for id in 0..=KEPT as u64 {
            add(&mut broadcasts, id);
        }
        assert_eq!(waiting(&broadcasts, &mut user, 0).len(), KEPT);
        assert!(broadcasts.ack(&mut user, 0, 1).is_none());
        assert!(broadcasts.ack(&mut user, 1, 2).is_some());
    }
}
