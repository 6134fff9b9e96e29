//! Broadcasts: every room walks its sessions.

use std::time::Duration;

use longline_pb::room::BroadcastRequest;
use longline_pb::room::room_client::RoomClient;
use longline_pb::types::Message;
use longline_rpc::{MAX_MESSAGE, Peers};
use longline_types::Role;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Broadcasts that wait for the one under way.
pub(crate) const QUEUE: usize = 16;
/// For a room to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two questions how far a room is.
const PAUSE: Duration = Duration::from_millis(100);
/// For a room to walk all its sessions. Who is missed finds the broadcast with the next load.
const WALK: Duration = Duration::from_secs(60);

/// Has every broadcast of the queue walked, until `stop`.
pub(crate) async fn run(
    mut queue: mpsc::Receiver<Message>,
    product: u32,
    peers: Peers,
    stop: CancellationToken,
) {
    let walking = async {
        while let Some(message) = queue.recv().await {
            for room in peers.view().live(Role::Room).map(|node| node.number) {
                let walked = tokio::time::timeout(WALK, walk(&peers, room, product, &message)).await;
                if walked.is_err() {
                    tracing::warn!(room, id = message.id, "a room has not walked its sessions in time");
                }
            }
        }
    };
    stop.run_until_cancelled(walking).await;
}

/// Starts the walk, again if the room was not reached or has forgotten it, and waits for its end.
async fn walk(peers: &Peers, room: u32, product: u32, message: &Message) {
    let mut start = true;
    loop {
        let message = Some(message.clone());
        let request = BroadcastRequest { product, message, rate_per_second: 0, start };
        let asked = peers.unary_to(room, DEADLINE, |channel| async move {
            let client = RoomClient::new(channel).max_encoding_message_size(MAX_MESSAGE);
            let mut client = client.max_decoding_message_size(MAX_MESSAGE);
            client.broadcast(request).await
        });
        match asked.await {
            Ok(progress) if progress.done => return,
            Ok(progress) => start = !progress.known,
            Err(error) => tracing::warn!(room, %error, "a room was not asked for its part of a broadcast"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
