//! Many sends over one stream: stored side by side, hinted and answered in the order of the requests (D7).

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use longline_pb::center::{SendReply, SendRequest};
use longline_types::{Error, ProductId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::convert;
use crate::ops::{Ops, Prepared, Stored};
use crate::{Failure, auth};

/// Messages of a stream being stored at once (one per user and request); beyond that the stream is not read.
const IN_FLIGHT: usize = 2048;
/// And bytes of their payloads.
const IN_FLIGHT_BYTES: usize = 4 * 1024 * 1024;

/// One stream's sends.
pub(super) struct Sending {
    ops: Ops,
    product: ProductId,
    replies: mpsc::Sender<Result<SendReply, Status>>,
    in_flight: Weight,
}

/// How much of the bounds something takes.
#[derive(Clone, Copy, Default)]
struct Weight {
    messages: usize,
    bytes: usize,
}

/// A request on its way through storage.
type Storing = (Weight, Result<Stored, Failure>);

impl Sending {
    pub(super) fn new(
        ops: Ops,
        product: ProductId,
        replies: mpsc::Sender<Result<SendReply, Status>>,
    ) -> Sending {
        Sending { ops, product, replies, in_flight: Weight::default() }
    }

    /// Takes requests until the client ends its side, goes away, or `shutdown`; then finishes what is in flight.
    pub(super) async fn run(mut self, mut requests: Streaming<SendRequest>, shutdown: CancellationToken) {
        let mut storing = FuturesOrdered::new();
        let mut open = true;
        while open || !storing.is_empty() {
            let has_room = self.in_flight.messages < IN_FLIGHT && self.in_flight.bytes < IN_FLIGHT_BYTES;
            tokio::select! {
                biased;
                Some(stored) = storing.next() => {
                    let (weight, stored): Storing = stored;
                    self.in_flight.messages -= weight.messages;
                    self.in_flight.bytes -= weight.bytes;
                    self.finish(stored).await;
                }
                () = self.replies.closed(), if open => open = false,
                () = shutdown.cancelled(), if open => open = false,
                request = requests.message(), if open && has_room => match request {
                    Ok(Some(request)) => {
                        let weight = Weight::of(&request);
                        self.in_flight.messages += weight.messages;
                        self.in_flight.bytes += weight.bytes;
                        let prepared = self.prepare(request);
                        storing.push_back(self.store(weight, prepared));
                    }
                    Ok(None) => open = false,
                    Err(status) => {
                        tracing::debug!(%status, "a stream of sends broke");
                        open = false;
                    }
                },
            }
        }
    }

    /// In the order of the requests, so that ids rise with it. The product is looked at anew: it may have been disabled.
    fn prepare(&self, request: SendRequest) -> Result<Prepared, Failure> {
        let product = self.ops.products().get(self.product);
        let product = product.ok_or_else(|| Error::unavailable("the product is not known here just now"))?;
        auth::enabled(&product)?;
        self.ops.prepare(&product, convert::send(request)?)
    }

    /// In a task, so that it goes on while a reply waits for the client to read.
    fn store(
        &self,
        weight: Weight,
        prepared: Result<Prepared, Failure>,
    ) -> impl Future<Output = Storing> + use<> {
        let storing = prepared.map(|prepared| self.ops.spawn_store(prepared));
        async move {
            match storing {
                Ok(storing) => (weight, storing.await),
                Err(failure) => (weight, Err(failure)),
            }
        }
    }

    /// Hints and answers. What was stored is hinted even if the client has gone.
    async fn finish(&self, stored: Result<Stored, Failure>) {
        let sent = stored.and_then(|stored| self.ops.hint(stored));
        let reply = sent.map_or_else(convert::refusal, convert::reply);
        // Nobody is there to hear it.
        let _ = self.replies.send(Ok(reply)).await;
    }
}

impl Weight {
    fn of(request: &SendRequest) -> Weight {
        let messages = request.users.len().max(1);
        Weight { messages, bytes: messages.saturating_mul(request.payload.len()) }
    }
}
