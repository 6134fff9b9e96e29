use std::future::Future;
use std::pin::Pin;

use longline_types::Role;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// The stream of replies, once the callee has taken the call.
pub type Opening<R> = Pin<Box<dyn Future<Output = Result<Streaming<R>, Status>> + Send>>;

/// A pipelined method: a bidirectional stream that carries batches of numbered requests one way and batches of replies, in any
/// order, the other. Implemented in [`methods`](crate::methods) by a line each.
pub trait Method: Send + Sync + 'static {
    /// One request.
    type Request: prost::Message + Clone + 'static;
    /// Its reply.
    type Reply: prost::Message + 'static;
    /// A batch of requests on the wire.
    type Requests: prost::Message + Default + 'static;
    /// A batch of replies on the wire.
    type Replies: prost::Message + Default + 'static;

    /// Its name in metrics: `role.method`.
    const NAME: &'static str;
    /// Who answers it.
    const ROLE: Role;
    /// Whether a request whose outcome is unknown may be sent again, also to another node.
    const IDEMPOTENT: bool;

    /// A batch whose first request has this number; the others follow.
    fn requests(first: u64, items: Vec<Self::Request>) -> Self::Requests;
    /// The number of the first request, and the requests.
    fn split_requests(batch: Self::Requests) -> (u64, Vec<Self::Request>);
    /// A batch of replies to the requests with these numbers.
    fn replies(numbers: Vec<u64>, items: Vec<Self::Reply>) -> Self::Replies;
    /// The numbers, and the replies parallel to them.
    fn split_replies(batch: Self::Replies) -> (Vec<u64>, Vec<Self::Reply>);
    /// Opens the stream.
    fn open(channel: Channel, batches: ReceiverStream<Self::Requests>) -> Opening<Self::Replies>;
}
