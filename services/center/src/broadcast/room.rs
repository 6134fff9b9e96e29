//! What is asked of one room for a broadcast.

use std::time::Duration;

use longline_pb::room::room_client::RoomClient;
use longline_pb::room::{BroadcastProgress, BroadcastRequest};
use longline_pb::saver::{BroadcastRecord, RoomProgress};
use longline_pb::types::Message;
use longline_rpc::{MAX_MESSAGE, Peers};
use longline_types::Error;

/// Has the room walk its sessions at this rate; a repeat only answers with the progress (S8).
pub(crate) async fn start(
    peers: &Peers,
    node: u32,
    record: &BroadcastRecord,
    rate_per_second: u32,
    timeout: Duration,
) -> Result<BroadcastProgress, Error> {
    let request = BroadcastRequest {
        product: record.product,
        message: record.message.clone(),
        rate_per_second,
        start: true,
    };
    ask(peers, node, request, timeout).await
}

/// How far the room is, if it was told of the broadcast.
pub(crate) async fn progress(
    peers: &Peers,
    node: u32,
    record: &BroadcastRecord,
    timeout: Duration,
) -> Result<BroadcastProgress, Error> {
    // The id and the sequence tell the broadcast; the payload need not travel again.
    let message = record.message.as_ref().map(|m| Message { payload: Default::default(), ..m.clone() });
    let request = BroadcastRequest { product: record.product, message, rate_per_second: 0, start: false };
    ask(peers, node, request, timeout).await
}

/// The stored progress with a later answer of the same room. Figures never go back, even if the room has forgotten.
pub(crate) fn merged(stored: &RoomProgress, live: Option<BroadcastProgress>) -> RoomProgress {
    let live = live.filter(|live| live.known).unwrap_or_default();
    RoomProgress {
        node: stored.node,
        incarnation: stored.incarnation,
        done: stored.done || live.done,
        sessions: stored.sessions.max(live.sessions),
        pushed: stored.pushed.max(live.pushed),
        acked: stored.acked.max(live.acked),
    }
}

async fn ask(
    peers: &Peers,
    node: u32,
    request: BroadcastRequest,
    timeout: Duration,
) -> Result<BroadcastProgress, Error> {
    let call = |channel| async move {
        RoomClient::new(channel).max_encoding_message_size(MAX_MESSAGE).broadcast(request).await
    };
    peers.unary_to(node, timeout, call).await
}
