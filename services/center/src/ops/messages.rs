//! What became of a message, and taking it back.

use longline_pb::convert::message_state;
use longline_pb::room::{InspectReply, InspectRequest, room_client::RoomClient};
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{MessageRecord, ReadMessageRequest, RecallRequest};
use longline_products::Product;
use longline_rpc::MAX_MESSAGE;
use longline_types::{Address, Class, ErrorCode, MessageId, MessageState, Role, Route, TimeMs};

use super::Ops;
use crate::Failure;
use crate::routes::Whereabouts;

/// A durable message and its way so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MessageStatus {
    pub(crate) id: MessageId,
    pub(crate) user: String,
    /// stored, written, or how it ended: acked, expired, collapsed, recalled, overflowed, quarantined.
    pub(crate) state: &'static str,
    pub(crate) class: Class,
    pub(crate) expires_at_ms: TimeMs,
    /// Empty: none.
    pub(crate) collapse_key: String,
    pub(crate) history: Vec<Step>,
}

/// A state it reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    /// accepted, stored, routed (while it waits), written, then how it ended.
    pub(crate) state: &'static str,
    pub(crate) at_ms: TimeMs,
    /// Number of the node that did it, where it is known.
    pub(crate) node: Option<u32>,
}

/// What is seen of a waiting message beyond the store.
#[derive(Default)]
struct Live {
    /// The room that holds the user's session, and since when.
    routed: Option<(u32, TimeMs)>,
    /// When that room wrote the message.
    written_at_ms: Option<TimeMs>,
}

impl Ops {
    /// The store's record and, while the message waits, a live look at where its user is connected. NotFound also for
    /// transient messages, which are never stored, and for records past retention.
    pub(crate) async fn message(&self, product: &Product, id: MessageId) -> Result<MessageStatus, Failure> {
        let record = self.read_message(product, id).await?;
        let live = match state(&record) {
            MessageState::Waiting => self.live(&record).await,
            _ => Live::default(),
        };
        Ok(status(record, live))
    }

    /// Takes a message back. Recalling twice is no error; a message that ended in another way is a conflict.
    pub(crate) async fn recall(&self, product: &Product, id: MessageId) -> Result<MessageStatus, Failure> {
        let request = RecallRequest { product: product.id.0, id: id.0 };
        let call = |channel| async move { SaverClient::new(channel).recall(request).await };
        let reply = self
            .shared
            .peers
            .unary(Role::Saver, id.0, self.shared.ask_timeout, call)
            .await
            .map_err(|e| unknown_id(e.into(), id))?;
        match message_state(reply.state).unwrap_or(MessageState::Waiting) {
            MessageState::Recalled => self.message(product, id).await,
            MessageState::Waiting => Err(Failure::new(
                ErrorCode::Unavailable,
                ErrorCode::Unavailable.name(),
                "the message was not recalled yet; send the request again",
            )),
            ended => Err(Failure::new(
                ErrorCode::Conflict,
                "already_ended",
                format!("message {id} has already ended as {}; it cannot be recalled any more", ended.name()),
            )),
        }
    }

    async fn read_message(&self, product: &Product, id: MessageId) -> Result<MessageRecord, Failure> {
        let request = ReadMessageRequest { product: product.id.0, id: id.0 };
        let call = |channel| async move {
            SaverClient::new(channel).max_decoding_message_size(MAX_MESSAGE).read_message(request).await
        };
        let asked = self.shared.peers.unary(Role::Saver, id.0, self.shared.ask_timeout, call).await;
        asked.map_err(|e| unknown_id(e.into(), id))
    }

    async fn live(&self, record: &MessageRecord) -> Live {
        let Some(address) = record.address.as_ref().and_then(|a| Address::try_from(a).ok()) else {
            return Live::default();
        };
        let Whereabouts::At(route) = self.shared.routes.find_one(address.key()).await else {
            return Live::default();
        };
        match self.inspect(&address, route).await {
            Ok(reply) if reply.found => Live {
                routed: Some((route.node, reply.connected_at_ms)),
                written_at_ms: reply.in_flight.iter().find(|m| m.id == record.id).map(|m| m.written_at_ms),
            },
            // A stale route, or a room that does not answer: the store's word stands alone.
            _ => Live::default(),
        }
    }

    /// What the room at the end of this route knows of the address.
    pub(super) async fn inspect(&self, address: &Address, route: Route) -> Result<InspectReply, Failure> {
        let request = InspectRequest { address: Some(address.into()), route: Some(route.into()) };
        let call = |channel| async move {
            RoomClient::new(channel).max_decoding_message_size(MAX_MESSAGE).inspect(request).await
        };
        Ok(self.shared.peers.unary_to(route.node, self.shared.ask_timeout, call).await?)
    }
}

fn unknown_id(failure: Failure, id: MessageId) -> Failure {
    match failure.kind {
        ErrorCode::NotFound => Failure::not_found(format!(
            "the product has no stored message {id}; transient messages and long ended ones are not kept"
        )),
        _ => failure,
    }
}

fn state(record: &MessageRecord) -> MessageState {
    message_state(record.state).unwrap_or(MessageState::Waiting)
}

fn status(record: MessageRecord, live: Live) -> MessageStatus {
    let ended = state(&record);
    let history = history(&record, &live, ended);
    let state = match ended {
        MessageState::Waiting if history.last().is_some_and(|step| step.state == "written") => "written",
        MessageState::Waiting => "stored",
        ended => ended.name(),
    };
    MessageStatus {
        id: MessageId(record.id),
        class: record.class().into(),
        user: record.address.map(|a| a.user).unwrap_or_default(),
        state,
        expires_at_ms: record.expires_at_ms,
        collapse_key: record.collapse_key,
        history,
    }
}

fn history(record: &MessageRecord, live: &Live, ended: MessageState) -> Vec<Step> {
    let step = |state, at_ms, node| (at_ms > 0).then_some(Step { state, at_ms, node });
    let id = MessageId(record.id);
    let written = match live.written_at_ms {
        Some(at_ms) => step("written", at_ms, live.routed.map(|(room, _)| room)),
        None => step("written", record.written_at_ms, Some(record.written_by)),
    };
    // Since both the message and the session were there.
    let routed =
        live.routed.and_then(|(room, since)| step("routed", since.max(record.stored_at_ms), Some(room)));
    let ended = match ended {
        MessageState::Waiting => None,
        MessageState::Acked => {
            step("acked", record.ended_at_ms, (record.written_at_ms > 0).then_some(record.written_by))
        }
        other => step(other.name(), record.ended_at_ms, None),
    };
    let accepted = step("accepted", record.accepted_at_ms, Some(id.node()));
    let stored = step("stored", record.stored_at_ms, Some(record.stored_by));
    [accepted, stored, routed, written, ended].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use longline_pb::types;

    use super::*;

    fn record(state: MessageState) -> MessageRecord {
        MessageRecord {
            address: Some((&Address::new(1, "alice").unwrap()).into()),
            id: (1000 << 22) | (7 << 12),
            state: types::MessageState::from(state).into(),
            class: types::Class::Durable.into(),
            accepted_at_ms: 100,
            stored_at_ms: 110,
            stored_by: 3,
            expires_at_ms: 9_000,
            ..MessageRecord::default()
        }
    }

    fn states(status: &MessageStatus) -> Vec<(&'static str, TimeMs, Option<u32>)> {
        status.history.iter().map(|s| (s.state, s.at_ms, s.node)).collect()
    }

    #[test]
    fn a_waiting_message_is_stored_until_a_room_has_written_it() {
        let stored = status(record(MessageState::Waiting), Live::default());
        assert_eq!(stored.state, "stored");
        assert_eq!(states(&stored), [("accepted", 100, Some(7)), ("stored", 110, Some(3))]);
        let live = Live { routed: Some((5, 50)), written_at_ms: Some(120) };
        let written = status(record(MessageState::Waiting), live);
        assert_eq!(written.state, "written");
        assert_eq!(states(&written)[2..], [("routed", 110, Some(5)), ("written", 120, Some(5))]);
    }

    #[test]
    fn an_ended_message_says_how_and_when() {
        let acked = MessageRecord {
            written_at_ms: 120,
            written_by: 5,
            ended_at_ms: 130,
            ..record(MessageState::Acked)
        };
        let acked = status(acked, Live::default());
        assert_eq!(acked.state, "acked");
        assert_eq!(states(&acked)[2..], [("written", 120, Some(5)), ("acked", 130, Some(5))]);
        let expired = MessageRecord { ended_at_ms: 9_000, ..record(MessageState::Expired) };
        let expired = status(expired, Live::default());
        assert_eq!(expired.state, "expired");
        assert_eq!(states(&expired)[2..], [("expired", 9_000, None)]);
    }
}
