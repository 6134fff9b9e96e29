//! Broadcasts: one payload for every user of a product. Accepted and looked at here; driven by [`crate::broadcast`].

use bytes::Bytes;
use futures::future::join_all;
use longline_pb::room::BroadcastProgress;
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{BroadcastRecord, PutBroadcastRequest, ReadBroadcastRequest, RoomProgress};
use longline_pb::types::{self, Message};
use longline_products::Product;
use longline_rpc::MAX_MESSAGE;
use longline_types::{Class, ErrorCode, MessageId, Role, TimeMs, limits, now_ms};
use xxhash_rust::xxh3::Xxh3;

use super::Ops;
use super::send::{check_key, check_payload, ttl_s};
use crate::Failure;
use crate::broadcast::room;

/// A broadcast as the business asked.
#[derive(Clone, Debug)]
pub(crate) struct NewBroadcast {
    pub(crate) payload: Bytes,
    /// Seconds; none: the product's default.
    pub(crate) ttl_s: Option<u32>,
    /// Online users a second over the whole cluster; 0: no limit.
    pub(crate) rate_per_second: u32,
    /// Empty: none.
    pub(crate) idempotency_key: String,
}

/// How far a broadcast is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BroadcastStatus {
    pub(crate) id: MessageId,
    /// Every room has walked its sessions.
    pub(crate) done: bool,
    /// Users found online.
    pub(crate) online: u64,
    /// Of these, acknowledged.
    pub(crate) online_reached: u64,
    /// Acknowledged by users who bound later.
    pub(crate) offline_reached: u64,
    pub(crate) rooms: u32,
    pub(crate) rooms_done: u32,
    pub(crate) created_at_ms: TimeMs,
    pub(crate) expires_at_ms: TimeMs,
}

impl Ops {
    /// Stores a broadcast and has it driven at once.
    pub(crate) async fn broadcast(
        &self,
        product: &Product,
        broadcast: NewBroadcast,
    ) -> Result<MessageId, Failure> {
        check_payload(&broadcast.payload)?;
        check_key("the idempotency key", &broadcast.idempotency_key, limits::IDEMPOTENCY_KEY)?;
        let sent_at_ms = now_ms();
        let ttl_ms = u64::from(ttl_s(product, broadcast.ttl_s)?) * 1000;
        let digest = digest(&broadcast);
        let message = Message {
            id: self.shared.ids.make(sent_at_ms)?.0,
            payload: broadcast.payload,
            sent_at_ms,
            expires_at_ms: sent_at_ms + ttl_ms,
            class: types::Class::from(Class::Durable).into(),
            ..Message::default()
        };
        let request = PutBroadcastRequest {
            product: product.id.0,
            message: Some(message),
            rate_per_second: broadcast.rate_per_second,
            idempotency_key: broadcast.idempotency_key,
            digest,
        };
        let call = |channel| {
            let request = request.clone();
            async move { SaverClient::new(channel).put_broadcast(request).await }
        };
        let key = u64::from(product.id.0);
        let put = self.shared.peers.unary(Role::Saver, key, self.shared.put_timeout, call).await;
        let reply = put.map_err(|e| match e.code {
            ErrorCode::Conflict => Failure::new(e.code, "idempotency_conflict", e.message),
            _ => e.into(),
        })?;
        if !reply.repeated_request {
            self.shared.metrics.broadcasts.with_label_values(&["accepted"]).inc();
        }
        self.shared.driver.notify_one();
        Ok(MessageId(reply.id))
    }

    /// The stored progress, with what the rooms say now.
    pub(crate) async fn broadcast_status(
        &self,
        product: &Product,
        id: MessageId,
    ) -> Result<BroadcastStatus, Failure> {
        let request = ReadBroadcastRequest { product: product.id.0, id: id.0 };
        let call = |channel| async move {
            SaverClient::new(channel).max_decoding_message_size(MAX_MESSAGE).read_broadcast(request).await
        };
        let key = u64::from(product.id.0);
        let read = self.shared.peers.unary(Role::Saver, key, self.shared.ask_timeout, call).await;
        let record = read.map_err(|e| match e.code {
            ErrorCode::NotFound => Failure::not_found(format!("the product has no broadcast {id}")),
            _ => e.into(),
        })?;
        let live = self.live_progress(&record).await;
        Ok(status(record, live))
    }

    /// What the rooms that were told of it say now; a room that has gone or does not answer says nothing.
    async fn live_progress(&self, record: &BroadcastRecord) -> Vec<Option<BroadcastProgress>> {
        let view = self.shared.peers.view();
        let asked = record.rooms.iter().map(|room_| {
            let lives = view.node(room_.node).is_some_and(|node| node.incarnation == room_.incarnation);
            async move {
                if !lives {
                    return None;
                }
                room::progress(&self.shared.peers, room_.node, record, self.shared.ask_timeout).await.ok()
            }
        });
        join_all(asked).await
    }
}

fn digest(broadcast: &NewBroadcast) -> Vec<u8> {
    let mut hash = Xxh3::new();
    hash.update(&broadcast.ttl_s.unwrap_or(0).to_le_bytes());
    hash.update(&broadcast.rate_per_second.to_le_bytes());
    hash.update(&broadcast.payload);
    hash.digest128().to_le_bytes().to_vec()
}

fn status(record: BroadcastRecord, live: Vec<Option<BroadcastProgress>>) -> BroadcastStatus {
    let rooms: Vec<RoomProgress> =
        record.rooms.iter().zip(live).map(|(stored, live)| room::merged(stored, live)).collect();
    let sum = |of: fn(&RoomProgress) -> u64| rooms.iter().map(of).fold(0u64, u64::saturating_add);
    let online_reached = sum(|room| room.acked);
    let message = record.message.unwrap_or_default();
    BroadcastStatus {
        id: MessageId(message.id),
        done: record.finished,
        online: sum(|room| room.sessions),
        online_reached,
        offline_reached: record.acked.saturating_sub(online_reached),
        rooms: rooms.len() as u32,
        rooms_done: rooms.iter().filter(|room| room.done).count() as u32,
        created_at_ms: record.created_at_ms,
        expires_at_ms: message.expires_at_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_figures_complete_the_stored_ones() {
        let room = |node, sessions, acked, done| RoomProgress {
            node,
            incarnation: 1,
            done,
            sessions,
            pushed: sessions,
            acked,
        };
        let record = BroadcastRecord {
            message: Some(Message { id: 9, expires_at_ms: 77, ..Message::default() }),
            rooms: vec![room(1, 10, 2, true), room(2, 5, 5, true)],
            finished: true,
            acked: 20,
            created_at_ms: 66,
            ..BroadcastRecord::default()
        };
        let live = BroadcastProgress { known: true, done: true, sessions: 10, pushed: 10, acked: 9 };
        let status = status(record, vec![Some(live), None]);
        assert_eq!((status.online, status.online_reached, status.offline_reached), (15, 14, 6));
        assert_eq!((status.rooms, status.rooms_done, status.done), (2, 2, true));
    }
}
