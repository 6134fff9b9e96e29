//! An open stream of sends.

use std::time::Duration;

use futures::stream::unfold;
use longline_pb::center::center_client::CenterClient;
use longline_pb::center::{SendReply, SendRequest};
use tokio::sync::mpsc;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};

/// Requests handed to the connection and not yet taken by it; more would only hide how far behind it is.
const AHEAD: usize = 16;
/// Largest reply taken, in bytes.
const LARGEST_REPLY: usize = 1024 * 1024;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For the center to accept the stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Both directions.
pub(super) struct Stream {
    pub(super) requests: mpsc::Sender<SendRequest>,
    pub(super) replies: Streaming<SendReply>,
}

/// How to reach a center at host:port.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE))
}

impl Stream {
    /// Opens one on a connection of its own.
    pub(super) async fn open(
        endpoint: &Endpoint,
        authorization: &AsciiMetadataValue,
    ) -> Result<Stream, Status> {
        let failed = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let channel = endpoint.connect().await.map_err(failed)?;
        let mut center = CenterClient::new(channel).max_decoding_message_size(LARGEST_REPLY);
        let (requests, outgoing) = mpsc::channel(AHEAD);
        let outgoing = unfold(outgoing, |mut outgoing: mpsc::Receiver<SendRequest>| async {
            outgoing.recv().await.map(|request| (request, outgoing))
        });
        let mut opening = Request::new(outgoing);
        opening.metadata_mut().insert("authorization", authorization.clone());
        let opened = tokio::time::timeout(OPEN_TIMEOUT, center.send_stream(opening)).await;
        let replies = opened.map_err(|_| Status::deadline_exceeded("the stream did not open"))??;
        Ok(Stream { requests, replies: replies.into_inner() })
    }
}
