//! The gRPC side: the same operations as over HTTP, with the product's key in the metadata.

mod convert;
mod stream;

use std::sync::Arc;

use longline_pb::center::center_server::{Center, CenterServer};
use longline_pb::center::{
    BroadcastReply, BroadcastRequest, BroadcastStatus, KickReply, KickRequest, MessageStatus,
    ReadBroadcastRequest, ReadMessageRequest, ReadUserRequest, RecallRequest, SendReply, SendRequest,
    UserStatus,
};
use longline_products::Product;
use longline_rpc::MAX_MESSAGE;
use longline_types::MessageId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::metrics::Metrics;
use crate::ops::{NewBroadcast, Ops};
use crate::{Failure, auth};

/// The service over the operations.
pub(crate) struct Grpc {
    ops: Ops,
    shutdown: CancellationToken,
}

impl Grpc {
    /// The service, whose streams end on `shutdown`.
    pub(crate) fn server(ops: Ops, shutdown: CancellationToken) -> CenterServer<Grpc> {
        CenterServer::new(Grpc { ops, shutdown }).max_decoding_message_size(MAX_MESSAGE)
    }

    async fn caller<T>(&self, request: &Request<T>) -> Result<Arc<Product>, Failure> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        auth::product(&self.ops, authorization).await
    }

    /// Lets a call in, finds out who asks, and answers; the counters see every outcome.
    async fn answer<T, R>(
        &self,
        method: &'static str,
        request: Request<T>,
        operation: impl AsyncFnOnce(&Product, T) -> Result<R, Failure>,
    ) -> Result<Response<R>, Status> {
        let _timer = self.metrics().request_seconds.with_label_values(&[method]).start_timer();
        let answer = async {
            let _permit = self.ops.admit()?;
            let product = self.caller(&request).await?;
            operation(&product, request.into_inner()).await
        };
        let result = answer.await;
        self.count(method, &result);
        result.map(Response::new).map_err(convert::status)
    }

    fn count<R>(&self, method: &'static str, result: &Result<R, Failure>) {
        let status = result.as_ref().err().map_or("ok", |failure| failure.kind.name());
        self.metrics().requests.with_label_values(&[method, status]).inc();
    }

    fn metrics(&self) -> &Metrics {
        self.ops.metrics()
    }
}

/// Replies that wait for a client to read them; one that does not read is not read from either.
const REPLIES_AHEAD: usize = 16;

#[tonic::async_trait]
impl Center for Grpc {
    type SendStreamStream = ReceiverStream<Result<SendReply, Status>>;

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendReply>, Status> {
        self.answer("grpc Send", request, async |product, request| {
            Ok(convert::reply(self.ops.send(product, convert::send(request)?).await?))
        })
        .await
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<SendRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        let caller = self.caller(&request).await;
        self.count("grpc SendStream", &caller);
        let product = caller.map_err(convert::status)?;
        let (replies, stream) = mpsc::channel(REPLIES_AHEAD);
        let sending = stream::Sending::new(self.ops.clone(), product.id, replies);
        tokio::spawn(sending.run(request.into_inner(), self.shutdown.clone()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn read_message(
        &self,
        request: Request<ReadMessageRequest>,
    ) -> Result<Response<MessageStatus>, Status> {
        self.answer("grpc ReadMessage", request, async |product, request| {
            Ok(self.ops.message(product, MessageId(request.id)).await?.into())
        })
        .await
    }

    async fn recall(&self, request: Request<RecallRequest>) -> Result<Response<MessageStatus>, Status> {
        self.answer("grpc Recall", request, async |product, request| {
            Ok(self.ops.recall(product, MessageId(request.id)).await?.into())
        })
        .await
    }

    async fn broadcast(
        &self,
        request: Request<BroadcastRequest>,
    ) -> Result<Response<BroadcastReply>, Status> {
        self.answer("grpc Broadcast", request, async |product, request: BroadcastRequest| {
            let broadcast = NewBroadcast {
                payload: request.payload,
                ttl_s: (request.ttl_seconds > 0).then_some(request.ttl_seconds),
                rate_per_second: request.rate_per_second,
                idempotency_key: request.idempotency_key,
            };
            Ok(BroadcastReply { id: self.ops.broadcast(product, broadcast).await?.0 })
        })
        .await
    }

    async fn read_broadcast(
        &self,
        request: Request<ReadBroadcastRequest>,
    ) -> Result<Response<BroadcastStatus>, Status> {
        self.answer("grpc ReadBroadcast", request, async |product, request| {
            Ok(self.ops.broadcast_status(product, MessageId(request.id)).await?.into())
        })
        .await
    }

    async fn read_user(&self, request: Request<ReadUserRequest>) -> Result<Response<UserStatus>, Status> {
        self.answer("grpc ReadUser", request, async |product, request| {
            Ok(self.ops.user(product, &request.user).await?.into())
        })
        .await
    }

    async fn kick(&self, request: Request<KickRequest>) -> Result<Response<KickReply>, Status> {
        self.answer("grpc Kick", request, async |product, request| {
            let kicked = self.ops.kick(product, &request.user, request.detail).await?;
            Ok(KickReply { kicked })
        })
        .await
    }
}
