//! The messages that wait for one user.

use std::collections::VecDeque;

use longline_pb::types::Message;

use crate::injectors::Serial;

/// Messages in the order of their ids.
#[derive(Default)]
pub(crate) struct Inbox(VecDeque<Waiting>);

/// A message that nobody has acknowledged, and who sent it.
pub(crate) struct Waiting {
    pub(crate) message: Message,
    pub(crate) from: Serial,
}

impl Inbox {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes a message in; false if it is there already.
    pub(crate) fn put(&mut self, waiting: Waiting) -> bool {
        let id = waiting.message.id;
        // Ids of a sender rise, so it is nearly always the last one.
        match self.0.back() {
            Some(last) if last.message.id >= id => match self.place(id) {
                Ok(_) => return false,
                Err(place) => self.0.insert(place, waiting),
            },
            _ => self.0.push_back(waiting),
        }
        true
    }

    /// Removes the message with this id.
    pub(crate) fn take(&mut self, id: u64) -> Option<Waiting> {
        // Most are acknowledged in their order.
        if self.0.front()?.message.id == id {
            return self.0.pop_front();
        }
        self.0.remove(self.place(id).ok()?)
    }

    /// The messages, lowest id first.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.0.iter().map(|waiting| &waiting.message)
    }

    fn place(&self, id: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |waiting| waiting.message.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stand_by_their_ids_and_each_is_there_once() {
        let mut inbox = Inbox::default();
        let waiting = |id| Waiting { message: Message { id, ..Message::default() }, from: Serial::NONE };
        for id in [5, 9, 7, 3] {
            assert!(inbox.put(waiting(id)));
        }
        assert!(!inbox.put(waiting(7)) && !inbox.put(waiting(9)));
        assert!(inbox.messages().map(|message| message.id).eq([3, 5, 7, 9]));
        assert_eq!(inbox.take(7).map(|waiting| waiting.message.id), Some(7));
        assert_eq!(inbox.take(3).map(|waiting| waiting.message.id), Some(3));
        assert!(inbox.take(7).is_none() && inbox.take(4).is_none());
        assert_eq!(inbox.len(), 2);
    }
}
