//! The answering side of a pipeline.

use std::future::Future;

use futures::stream::{FuturesUnordered, StreamExt};
use longline_types::limits;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, Streaming};

use crate::Method;

/// The response stream of a pipelined method: `type PutStream = PipelineStream<SaverPut>;`.
pub type PipelineStream<M> = ReceiverStream<Result<<M as Method>::Replies, Status>>;

/// How a pipelined method is answered.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Batches of one stream handled at once; 1 keeps their order.
    pub concurrency: usize,
}

/// Reply batches that wait for the connection; a caller that does not read holds up its own stream only.
const REPLIES_AHEAD: usize = 4;
/// Replies are cut into batches of about this many bytes, far below what a receiver takes.
const REPLY_BYTES: usize = 16 * limits::BATCH_BYTES;

/// Answers a stream of batches: each goes whole to the handler, which returns a reply for each request in their order. Ends when
/// the caller does, or after what is in flight once `shutdown` is set.
pub fn serve<M, F, Fut>(
    inbound: Streaming<M::Requests>,
    options: ServeOptions,
    shutdown: &CancellationToken,
    handler: F,
) -> Response<PipelineStream<M>>
where
    M: Method,
    F: Fn(Vec<M::Request>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<M::Reply>> + Send + 'static,
{
    let (replies, stream) = mpsc::channel(REPLIES_AHEAD);
    tokio::spawn(run::<M, F, Fut>(inbound, options, shutdown.clone(), handler, replies));
    Response::new(ReceiverStream::new(stream))
}

async fn run<M, F, Fut>(
    mut inbound: Streaming<M::Requests>,
    options: ServeOptions,
    shutdown: CancellationToken,
    handler: F,
    replies: mpsc::Sender<Result<M::Replies, Status>>,
) where
    M: Method,
    F: Fn(Vec<M::Request>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<M::Reply>> + Send + 'static,
{
    let mut handling = FuturesUnordered::new();
    let mut open = true;
    while open || !handling.is_empty() {
        tokio::select! {
            biased;
            () = replies.closed() => return,
            Some((numbers, items)) = handling.next() => {
                if !send::<M>(&replies, numbers, items).await {
                    return;
                }
            }
            () = shutdown.cancelled(), if open => open = false,
            batch = inbound.next(), if open && handling.len() < options.concurrency.max(1) => match batch {
                Some(Ok(batch)) => {
                    let (first, requests) = M::split_requests(batch);
                    let numbers: Vec<u64> = (0..requests.len() as u64).map(|i| first.wrapping_add(i)).collect();
                    let handled = handler(requests);
                    handling.push(async move { (numbers, handled.await) });
                }
                Some(Err(status)) => {
                    tracing::debug!(method = M::NAME, %status, "a caller's pipeline broke");
                    open = false;
                }
                None => open = false,
            },
        }
    }
}

/// Sends replies in as many batches as their size asks for; false if the caller has gone.
async fn send<M: Method>(
    replies: &mpsc::Sender<Result<M::Replies, Status>>,
    numbers: Vec<u64>,
    items: Vec<M::Reply>,
) -> bool {
    debug_assert_eq!(numbers.len(), items.len(), "a handler answers every request of {}", M::NAME);
    let (mut some_numbers, mut some_items, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (number, item) in numbers.into_iter().zip(items) {
        let size = item.encoded_len();
        if bytes + size > REPLY_BYTES && !some_items.is_empty() {
            let batch = M::replies(std::mem::take(&mut some_numbers), std::mem::take(&mut some_items));
            if replies.send(Ok(batch)).await.is_err() {
                return false;
            }
            bytes = 0;
        }
        bytes += size;
        some_numbers.push(number);
        some_items.push(item);
    }
    some_items.is_empty() || replies.send(Ok(M::replies(some_numbers, some_items))).await.is_ok()
}
