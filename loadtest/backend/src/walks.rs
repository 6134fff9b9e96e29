//! Broadcasts: every room walks its sessions.

use std::time::Duration;

use longline_pb::room::room_client::RoomClient;
use longline_pb::room::{BroadcastProgress, BroadcastRequest};
use longline_pb::types::Message;
use longline_rpc::{MAX_MESSAGE, Peers};
use longline_types::{Error, Role};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Broadcasts that wait for the one under way.
pub(crate) const QUEUE: usize = 16;
/// For a room to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two questions how far a room is.
const PAUSE: Duration = Duration::from_millis(100);
/// For a room to come any further. Who is missed finds the broadcast with the next load.
const STANDSTILL: Duration = Duration::from_secs(60);

/// How every broadcast is walked.
pub(crate) struct Walks {
    pub(crate) product: u32,
    /// Sessions a second; 0: as fast as the rooms can.
    pub(crate) per_second: u32,
    pub(crate) peers: Peers,
}

/// Has every broadcast of the queue walked, until `stop`.
pub(crate) async fn run(mut queue: mpsc::Receiver<Message>, walks: Walks, stop: CancellationToken) {
    let walking = async {
        while let Some(message) = queue.recv().await {
            for room in walks.peers.view().live(Role::Room).map(|node| node.number) {
                if !walks.walk(room, &message).await {
                    tracing::warn!(room, id = message.id, "a room does not walk its sessions");
                }
            }
        }
    };
    stop.run_until_cancelled(walking).await;
}

impl Walks {
    /// Starts the walk, again if the room was not reached or has forgotten it, and waits for its end. Whether it came.
    async fn walk(&self, room: u32, message: &Message) -> bool {
        let (mut start, mut walked, mut since) = (true, 0, Instant::now());
        while since.elapsed() < STANDSTILL {
            match self.ask(room, message, start).await {
                Ok(progress) if progress.done => return true,
                Ok(progress) => {
                    start = !progress.known;
                    if progress.sessions != walked {
                        (walked, since) = (progress.sessions, Instant::now());
                    }
                }
                Err(error) => {
                    tracing::warn!(room, %error, "a room was not asked for its part of a broadcast")
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }

    async fn ask(&self, room: u32, message: &Message, start: bool) -> Result<BroadcastProgress, Error> {
        let (product, rate_per_second) = (self.product, self.per_second);
        let request = BroadcastRequest { product, message: Some(message.clone()), rate_per_second, start };
        let asked = self.peers.unary_to(room, DEADLINE, |channel| async move {
            let client = RoomClient::new(channel).max_encoding_message_size(MAX_MESSAGE);
            let mut client = client.max_decoding_message_size(MAX_MESSAGE);
            client.broadcast(request).await
        });
        asked.await
    }
}
