//! The order in which a user first receives the messages of a sender stream (D7).

use crate::Micros;

/// What was received on the present connection: for each stream, when the latest of its messages was sent. Constant work for a receipt,
/// as long as a user's messages come by few streams.
#[derive(Debug, Default)]
pub(super) struct Order {
    connection: u32,
    latest: Vec<(Stream, Micros)>,
}

/// Messages of one stream and class. Durable and transient ones may overtake each other, where a window is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stream {
    pub(super) number: u16,
    pub(super) transient: bool,
}

impl Order {
    /// A first receipt. Answers when a message was sent that came before it on this connection, though this one had been accepted
    /// before that was sent; `None` if all is in order, or nobody can tell.
    pub(super) fn receive(
        &mut self,
        connection: u32,
        stream: Stream,
        sent: Option<Micros>,
        accepted: Option<Micros>,
    ) -> Option<Micros> {
        if self.connection != connection {
            self.connection = connection;
            self.latest.clear();
        }
        let Some((_, latest)) = self.latest.iter_mut().find(|(other, _)| *other == stream) else {
            self.latest.extend(sent.map(|sent| (stream, sent)));
            return None;
        };
        let before = *latest;
        *latest = before.max(sent.unwrap_or(0));
        accepted.filter(|&accepted| accepted < before).map(|_| before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Stream = Stream { number: 1, transient: false };
    const B: Stream = Stream { number: 2, transient: false };

    #[test]
    fn a_message_behind_one_that_was_sent_after_its_acceptance_is_out_of_order() {
        let mut order = Order::default();
        assert_eq!(order.receive(1, A, Some(20), Some(30)), None);
        assert_eq!(order.receive(1, A, Some(5), Some(10)), Some(20));
        assert_eq!(order.receive(1, A, Some(40), Some(50)), None);
    }

    #[test]
    fn messages_under_way_at_once_have_no_order() {
        let mut order = Order::default();
        order.receive(1, A, Some(20), Some(30));
        assert_eq!(order.receive(1, A, Some(5), Some(20)), None, "accepted when the other was sent");
        assert_eq!(order.receive(1, A, Some(5), None), None, "not answered yet");
    }

    #[test]
    fn order_is_kept_by_stream_class_and_connection() {
        let mut order = Order::default();
        order.receive(1, A, Some(20), Some(30));
        assert_eq!(order.receive(1, B, Some(5), Some(10)), None);
        assert_eq!(order.receive(1, Stream { transient: true, ..A }, Some(5), Some(10)), None);
        assert_eq!(order.receive(2, A, Some(5), Some(10)), None);
    }
}
